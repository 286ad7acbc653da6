"""Equations arranged for reading: terms collected under common prefactors, summation indices numbered.

The printers for LaTeX and for plain text share this arrangement and differ only in how they spell it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from pdlt.equations import Equation, Tensor, Term, frame

#: Encodes "bound to expectation e" in a way that sorts e = 0 first; far below any data label.
_BOUND = -(10**6)


@dataclass(frozen=True)
class Bracket:
    """<d_b1 d_b2 ... prod sigma^(k)(z_label)>: sorted (label, k) pairs and the numbers of the indices that act."""

    sigmas: tuple[tuple[int, int], ...]
    derivatives: tuple[int, ...]


#: A product of expectations and its coefficient.
Weighted = tuple[Fraction, tuple[Bracket, ...]]


@dataclass(frozen=True)
class Item:
    """Tensors times a combination of products of expectations.

    Attributes:
        free: tensors whose arguments are all data labels.
        bound: tensors with at least one summation index; index beta_b is the argument -b.
        indices: the number of summation indices.
        combination: (weight, expectations) pairs; the weights have no common factor.
    """

    free: tuple[Tensor, ...]
    bound: tuple[Tensor, ...]
    indices: int
    combination: tuple[Weighted, ...]


@dataclass(frozen=True)
class Group:
    """coefficient * C_b^. lambda_b^. C_W^. lambda_W^. rho^. * sum of items."""

    coefficient: Fraction
    powers: tuple[int, ...]
    items: tuple[Item, ...]


def arrange(equation: Equation) -> tuple[Group, ...]:
    """Return the right-hand side of an equation as groups of terms with one prefactor each."""
    collected: dict[tuple, list[Weighted]] = {}
    for term in equation.terms:
        free, bound, indices, brackets = _numbered(term)
        collected.setdefault((term.powers, free, bound, indices), []).append((term.coefficient, brackets))
    groups: dict[tuple, list[Item]] = {}
    for (powers, free, bound, indices), combination in collected.items():
        combination.sort(key=lambda entry: len(entry[1]))
        common, reduced = _reduced(combination)
        groups.setdefault((powers, common), []).append(Item(free, bound, indices, reduced))
    return tuple(Group(common, powers, tuple(items)) for (powers, common), items in groups.items())


def _numbered(term: Term) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], int, tuple[Bracket, ...]]:
    derivatives: list[list[int]] = [[] for _ in term.expectations]
    free: list[Tensor] = []
    bound: list[Tensor] = []
    index = 0
    for tensor in map(_first_expectation_first, term.tensors):
        args = []
        for arg in tensor.args:
            if arg < 0:
                index += 1
                derivatives[-1 - arg].append(index)
                arg = -index
            args.append(arg)
        (bound if min(args) < 0 else free).append(Tensor(tensor.name, tensor.order, tuple(args)))
    brackets = tuple(Bracket(s, tuple(d)) for s, d in zip(term.expectations, derivatives, strict=True))
    # Theta is a factor like a number: it reads best in front of the tensor that the recursion is about.
    free.sort(key=lambda t: t.name != "Theta")
    return tuple(free), tuple(bound), index, brackets


def _first_expectation_first(tensor: Tensor) -> Tensor:
    """Use the tensor's symmetries to let its first summation indices act in the first expectation."""
    coded = frame(tensor.name).canonical(tuple(_BOUND - a if a < 0 else a for a in tensor.args))
    # _BOUND - a with a = -1 - e is _BOUND + 1 + e: increasing in e.
    return Tensor(tensor.name, tensor.order, tuple(_BOUND - a if a < 0 else a for a in coded))


def _reduced(combination: Sequence[Weighted]) -> tuple[Fraction, tuple[Weighted, ...]]:
    """Return the common factor of the weights, with the sign of the first, and what is left of them."""
    weights = [weight for weight, _ in combination]
    common = Fraction(gcd(*(w.numerator for w in weights)), lcm(*(w.denominator for w in weights)))
    common = -common if weights[0] < 0 else common
    return common, tuple((weight / common, brackets) for weight, brackets in combination)


def divided(
    group: Group, product_width: Callable[[Weighted], float], item_width: Callable[[Item], float]
) -> list[Group]:
    """Divide a group into groups that fit on a line each, as far as that is possible.

    Args:
        group: the group.
        product_width: the width of one product of expectations, as a fraction of the room that an item has for them.
        item_width: the width of an item, as a fraction of the room on a line.
    """
    lines: list[Group] = []
    for item in group.items:
        for run in _packed(item.combination, product_width):
            common, reduced = _reduced(run)
            part = Item(item.free, item.bound, item.indices, reduced)
            lines.append(Group(group.coefficient * common, group.powers, (part,)))
    merged: list[Group] = []
    for line in lines:
        if merged and merged[-1].coefficient == line.coefficient:
            items = merged[-1].items + line.items
            if sum(map(item_width, items)) <= 1:
                merged[-1] = Group(line.coefficient, line.powers, items)
                continue
        merged.append(line)
    return merged


def _packed(pieces: Sequence[Weighted], width: Callable[[Weighted], float]) -> list[list[Weighted]]:
    """Divide pieces into runs whose widths add up to at most 1; a longer piece is a run of its own."""
    runs: list[list[Weighted]] = []
    used = 0.0
    for piece in pieces:
        size = width(piece)
        if not runs or used + size > 1:
            runs.append([])
            used = 0.0
        runs[-1].append(piece)
        used += size
    return runs


def powers_of(tensors: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    """Return equal free tensors once, with their multiplicity."""
    return list(Counter(tensors).items())
