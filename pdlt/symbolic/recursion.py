"""The engine: from the layer map to a closed system of recursions at any order in 1/width."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod

from pdlt.equations import Equation, Tensor, Term
from pdlt.observables import NAMED, Observable, identify
from pdlt.symbolic.cumulants import (
    Slot,
    Variation,
    outer_cumulants,
    partitions_of,
    single_neuron_cumulant,
    slot_directions,
    tuples_up_to,
    variations,
    wick,
)
from pdlt.symbolic.jets import Jet, Monomial

#: term without its coefficient -> coefficient
_Terms = dict[tuple, Fraction]


def requests(
    observables: Iterable[Observable], order: int
) -> tuple[list[tuple[str, int]], dict[str, Observable]]:
    """Return the coefficients that observables have up to an order, and the observable behind each name.

    The leading kernel is the Gaussian that every expectation refers to, so it is always among them.
    """
    wanted = [("K", 0)]
    frames = dict(NAMED)
    for item in observables:
        base = identify(item.slots)[0]
        frames[base.name] = base
        wanted += [(base.name, j) for j in range(order - item.leading_order + 1)]
    return wanted, frames


def close(
    requested: Iterable[tuple[str, int]], frames: dict[str, Observable], tick: Callable[[str], None] = lambda _: None
) -> tuple[Equation, ...]:
    """Return the equations of the requested coefficients and of everything they need.

    Args:
        requested: (name, order) of coefficients, names being keys of `frames`.
        frames: the observable behind each name; unnamed cumulants found on the way are added.
        tick: called with the key of each equation when it is derived.

    Returns:
        The equations, each once, every equation after those whose coefficients are of lower order in 1/n.
    """
    queue = deque(requested)
    found: dict[tuple[str, int], Equation] = {}
    while queue:
        key = queue.popleft()
        if key in found:
            continue
        equation = derive_equation(frames[key[0]], key[1])
        found[key] = equation
        tick(equation.key)
        for term in equation.terms:
            for tensor in term.tensors:
                if tensor.name not in frames:
                    frames[tensor.name] = _frame_of(tensor.name)
                queue.append((tensor.name, tensor.order))
    return tuple(
        sorted(found.values(), key=lambda e: (frames[e.name].components - 1 + e.order, frames[e.name].components))
    )


def derive_equation(observable: Observable, order: int) -> Equation:
    """Return the recursion of the n^(-order) correction to an observable's leading coefficient.

    The moments' power of 1/n is balanced term by term: a term with |pi| blocks of components carries
    n_l^(|pi| - m), so that the cumulants of layer l in it must together supply n_{l-1}^-(|pi| - 1 + order), each
    power of which brings one ratio rho = n_l / n_{l-1}.
    """
    slots: list[Jet] = list(zip(observable.slots, observable.labels, strict=True))
    components = tuple(zip(slots[::2], slots[1::2], strict=True))
    terms: _Terms = {}
    if order == 0 and len(components) == 1:
        _add_variances(terms, *components[0])
    for partition in partitions_of(len(components)):
        power = len(partition) - 1 + order
        cumulants = [list(single_neuron_cumulant(tuple(components[i] for i in block))) for block in partition]
        for sign, factors in _choices(cumulants):
            _expand(terms, Fraction(sign), factors, len(partition), power)
    return Equation(
        observable.name,
        order,
        observable.axis_labels,
        observable.spec,
        tuple(Term(c, *key) for key, c in sorted(terms.items(), key=_reading_order) if c),
    )


def _choices(cumulants: list[list]) -> Iterator[tuple[int, list[tuple[int, dict[Monomial, Fraction]]]]]:
    """Yield the products over blocks: a sign and the (block, polynomial) expectations that are multiplied."""
    if not cumulants:
        yield 1, []
        return
    *front, last = cumulants
    for sign, factors in _choices(front):
        for more, polynomials in last:
            yield sign * more, factors + [(len(front), polynomial) for polynomial in polynomials]


def _expand(
    terms: _Terms, sign: Fraction, factors: list[tuple[int, dict[Monomial, Fraction]]], blocks: int, power: int
) -> None:
    """Add the part of a product of expectations that is of order n_{l-1}^-power."""
    # A cumulant of c deltas supplies at least max(1, c - 1) >= c / 2 powers of 1/n.
    for counts in tuples_up_to(2 * power, len(factors)):
        if blocks > 1 and len({block for (block, _), count in zip(factors, counts, strict=True) if count}) < blocks:
            continue  # a block that does not fluctuate is linked to no other
        choices = [
            [
                (block, variation, weight * coefficient)
                for monomial, coefficient in polynomial.items()
                for variation, weight in variations(monomial, count).items()
                if _kernels(variation.monomial.jets)
            ]
            for (block, polynomial), count in zip(factors, counts, strict=True)
        ]
        for chosen in product(*choices):
            _collect(terms, sign, chosen, blocks, power)


def _collect(
    terms: _Terms, sign: Fraction, chosen: Sequence[tuple[int, Variation, Fraction]], blocks: int, power: int
) -> None:
    """Add one product of varied expectations, the deltas it carries replaced by their cumulants."""
    # Summed indices are remembered by the factor they act in until the expectations get their final places.
    expectations = sorted(variation.monomial.sigmas for _, variation, _ in chosen)
    deltas = []
    for block, variation, _ in chosen:
        place = expectations.index(variation.monomial.sigmas) if variation.deltas else 0
        for first, second in variation.deltas:
            deltas.append((block, (_bind(first, place), _bind(second, place))))
    corrections = _corrections(tuple(deltas), blocks, power)
    if not corrections:
        return
    cw = sum(variation.monomial.powers[0] for _, variation, _ in chosen)
    lw = sum(variation.monomial.powers[1] for _, variation, _ in chosen)
    weight = prod((factor for _, _, factor in chosen), start=sign)
    # Wick's theorem in every expectation: the leading kernels of the derivative jets left in it.
    contractions = [sum(kernels, ()) for kernels in product(*(_kernels(v.monomial.jets) for _, v, _ in chosen))]
    for tensors, multiplicity in corrections:
        for kernels in contractions:
            key = ((0, 0, cw, lw, power), tuple(expectations), tuple(sorted(tensors + kernels)))
            terms[key] = terms.get(key, Fraction(0)) + weight * multiplicity


@lru_cache(maxsize=1 << 16)
def _corrections(
    deltas: tuple[tuple[int, tuple[Jet, Jet]], ...], blocks: int, power: int
) -> tuple[tuple[tuple[Tensor, ...], int], ...]:
    """Return the products of cumulants that the deltas leave, as tensors, and how often each occurs."""
    return tuple(
        (tuple(_tensor(slot_directions(cell), _arguments(cell), order) for cell, order in cells), multiplicity)
        for cells, multiplicity in outer_cumulants(deltas, blocks, power).items()
    )


@lru_cache(maxsize=1 << 12)
def _kernels(jets: tuple[Jet, ...]) -> tuple[tuple[Tensor, ...], ...]:
    """Return the products of leading kernels that Wick's theorem makes of derivative jets; none if they vanish."""
    return tuple(tuple(_tensor((a[0], b[0]), (a[1], b[1]), 0) for a, b in pairing) for pairing in wick(jets))


def _bind(slot: Slot, place: int) -> Jet:
    """Return the slot with a summed plain input replaced by the argument that points to its expectation."""
    return ("", -1 - place) if slot is None else slot


def _arguments(cell: tuple[tuple[Jet, Jet], ...]) -> tuple[int, ...]:
    return tuple(slot[1] for delta in cell for slot in delta)


@lru_cache(maxsize=1 << 16)
def _tensor(slots: tuple[str, ...], args: tuple[int, ...], order: int) -> Tensor:
    observable, feed = identify(slots)
    return Tensor(observable.name, order, observable.canonical(tuple(args[slot] for slot in feed)))


def _frame_of(name: str) -> Observable:
    from pdlt.equations import frame

    return frame(name)


def _add_variances(terms: _Terms, first: Jet, second: Jet) -> None:
    """Add the biases' contribution to a mean: C_b for plain preactivations, lambda_b for first derivatives."""
    if first[0] == second[0] and len(first[0]) <= 1:
        powers = (1, 0, 0, 0, 0) if not first[0] else (0, 1, 0, 0, 0)
        terms[(powers, (), ())] = Fraction(1)


def _reading_order(item: tuple[tuple, Fraction]) -> tuple:
    """Sort terms as they are read: sources first, then by the tensors they carry; lambda_W before C_W."""
    (powers, expectations, tensors), _ = item
    corrections = [t for t in tensors if t.order or len(t.args) > 2]
    return (powers[4], len(corrections), [(t.name, t.order) for t in corrections], powers[2], expectations, tensors)
