"""The linear recursion of the sampler `path`: moments of tangent components of G, given the forward path.

Given the preactivations z of all neurons, the other jets of a layer are Gaussian and independent between neurons. With
z = F eps, F F^T = G_00, the jet S of neuron j on input a is

    z_{Sa,j} = sum_k e_{Sa,k} eps_{jk} + r_{Sa,j},      e = G_{.0} F^-T,      cov(r) = R = G - e e^T,

and does not depend on later layers. The next layer's G is a mean over neurons of polynomials in jets, so a moment of
its components is a sum over set partitions of them (components in one block share a neuron; a block is the joint
cumulant of what one neuron contributes), and such a cumulant given z is a sum over connected pairings of the jets:
pairs become R, the others e eps. So moments of the next G are linear in moments of (R, e), these in moments of G, and
letters do not grow in number: the recursion closes. It is generated here, for any components and inputs.

A moment is rewritten one factor at a time, and products half rewritten are shared between all moments they occur
in: the number of terms then grows as the number of moments does, not as that of diagrams.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pdlt.ensemble.specs import set_partitions
from pdlt.errors import PdltError

#: Direction letters (none: the plain preactivation) and the input, or for e the component of eps.
Slot = tuple[str, int]
#: Slots of a component of G or R, or the slot of G_.0 or e and one without letters.
Component = tuple[Slot, Slot]

NEXT, WHITENED, GIVEN = range(3)  # components of the next layer's G, of (R, e), of this layer's G
#: A product of components, each with its kind.
Product = tuple[tuple[int, Component], ...]

DIRECTIONS = 4  # of one moment
LIMIT = 700_000  # terms of one layer: ten seconds to generate, a millisecond per sample


class Mean(NamedTuple):
    """Powers of C_W, lambda_W, lambda_b and 1/n times a mean over neurons.

    Attributes:
        powers: the exponents.
        sigma: the mean is of derivatives (order, input) of the activation ...
        eps: ... times these components of eps.
    """

    powers: tuple[int, int, int, int]
    sigma: tuple[tuple[int, int], ...]
    eps: tuple[int, ...]


class Inverse(NamedTuple):
    """The entry (k, input) of F^-1."""

    k: int
    b: int


class Term(NamedTuple):
    """coefficient times factor (1 if None) times the value of a product."""

    coefficient: float
    factor: Mean | Inverse | None
    product: Product


@dataclass(frozen=True, eq=False)
class Recursion:
    """How the moments of the next layer's G follow from those of this layer's.

    Attributes:
        moments: products of components of G; the recursion maps their expectations to those of the next layer.
        levels: products of the other kinds with their terms; those of one level need lower ones and moments only.
    """

    moments: tuple[tuple[Component, ...], ...]
    levels: tuple[dict[Product, list[Term]], ...]


class _Choice(NamedTuple):
    """One term of a component of the next layer's G: powers of the constants, and what a neuron contributes."""

    powers: tuple[int, int, int]
    sigma: tuple[tuple[int, int], ...]
    jets: tuple[Slot, ...]


def recursion(wanted: Iterable[tuple[Component, ...]], n_inputs: int) -> Recursion:
    """Return the smallest closed recursion that contains the wanted moments.

    Args:
        wanted: products of components, from `moment`.
        n_inputs: number of inputs N.

    Raises:
        PdltError: if it has more than LIMIT terms.
    """
    moments = dict.fromkeys(sorted(set(wanted)))
    terms: dict[Product, list[Term]] = {}
    level: dict[Product, int] = {}
    waiting = [_of(NEXT, components) for components in moments if components]
    count = 0
    while waiting:
        product = waiting[-1]
        if product not in terms:
            terms[product] = list(_rewritten(product, n_inputs))
            count += len(terms[product])
            _require_short(count, n_inputs)
        below = [term.product for term in terms[product]]
        unknown = [p for p in below if p not in level and not _given(p)]
        if unknown:  # these first
            waiting.extend(unknown)
            continue
        waiting.pop()
        level[product] = 1 + max((level[p] for p in below if not _given(p)), default=-1)
        for components in (tuple(c for _, c in p) for p in below if _given(p)):
            if components and components not in moments:
                moments[components] = None
                waiting.insert(0, _of(NEXT, components))
    moments[()] = None
    levels: list[dict[Product, list[Term]]] = [{} for _ in range(1 + max(level.values(), default=-1))]
    for product, height in level.items():
        levels[height][product] = terms[product]
    return Recursion(tuple(moments), tuple(levels))


def moment(components: Iterable[Component]) -> tuple[Component, ...]:
    """Return the canonical form of a product of components of G: given the path, letters are exchangeable."""
    return tuple(component for _, component in _of(GIVEN, components))


def require_feasible(directions: int, n_inputs: int) -> None:
    """Refuse what has too many terms before any is generated, by a rough lower bound of their number.

    It counts the moments of components G_0a alone: there are N^2 of them for each direction, which occurs twice; a
    moment of d directions has some 5^d terms.

    Raises:
        PdltError: if they are more than LIMIT, or the directions more than DIRECTIONS, whose renamings take too long.
    """
    d = directions
    if d > DIRECTIONS:
        raise PdltError(
            f'Argument `observables`: with the sampler "path" a cumulant may have at most {DIRECTIONS} directions, but '
            f'got {d}; use "jets".'
        )
    _require_short(5.0**d * math.comb(n_inputs**2 + 1, 2) ** d / math.factorial(d), n_inputs)


def _require_short(terms: float, n_inputs: int) -> None:
    if terms > LIMIT:
        raise PdltError(
            f'Argument `sampler`: with {n_inputs} inputs and these observables the recursion of "path" has more than '
            f'{LIMIT} terms; ask for fewer inputs or observables, or use "jets" or "conditioned".'
        )


def _of(kind: int, components: Iterable[Component]) -> Product:
    return _canonical(tuple(sorted((kind, component) for component in components)))


def _given(product: Product) -> bool:
    return all(kind == GIVEN for kind, _ in product)


@cache
def _canonical(product: Product) -> Product:
    """Return the product with ordered slots and components and the letters that sort first."""
    letters = "".join(sorted({letter for _, pair in product for slot in pair for letter in slot[0]}))
    renamed = zip(*(_renamed(pair, letters) for _, pair in product), strict=True) if product else ()
    kinds = [kind for kind, _ in product]
    return min((tuple(sorted(zip(kinds, way, strict=True))) for way in renamed), default=())


@cache
def _renamed(pair: Component, letters: str) -> list[Component]:
    """Return a component with `letters` replaced by the first of the alphabet, in all ways; its slots are ordered."""
    ways: list[Component] = []
    for chosen in itertools.permutations("abcdefghijklmnopqrstuvwxyz"[: len(letters)]):
        names = str.maketrans(dict(zip(letters, chosen, strict=True)))
        s, t = (("".join(sorted(word.translate(names))), a) for word, a in pair)
        ways.append((s, t) if _order(s) <= _order(t) else (t, s))
    return ways


def _order(slot: Slot) -> tuple[int, str, int]:
    return -len(slot[0]), *slot


def _rewritten(product: Product, n_inputs: int) -> Iterator[Term]:
    """Yield a product with its first component replaced by what it stands for."""
    total: Counter[tuple[Mean | Inverse | None, Product]] = Counter()
    (kind, first), rest = product[0], product[1:]
    if kind == NEXT:
        others = [component for k, component in rest if k == NEXT]
        known = tuple(part for part in rest if part[0] != NEXT)
        for size in range(len(others) + 1):
            for chosen in itertools.combinations(range(len(others)), size):
                block = (first, *(others[k] for k in chosen))
                left = tuple((NEXT, other) for k, other in enumerate(others) if k not in chosen)
                for (mean, components), count in _neuron(block, n_inputs).items():
                    total[mean, _canonical(left + tuple((WHITENED, c) for c in components) + known)] += count
    else:
        slot, (letters, k) = first
        if letters:  # R = G - e e^T
            total[None, _canonical((*rest, (GIVEN, first)))] += 1
            for i in range(n_inputs):
                both = tuple((WHITENED, (s, ("", i))) for s in first)
                total[None, _canonical((*rest, *both))] -= 1
        else:  # e = F^-1 G_0., where F is lower triangular
            for b in range(k + 1):
                total[Inverse(k, b), _canonical((*rest, (GIVEN, (slot, ("", b)))))] += 1
    yield from (Term(c, factor, part) for (factor, part), c in total.items())


@cache
def _neuron(block: tuple[Component, ...], n_inputs: int) -> Counter[tuple[Mean, tuple[Component, ...]]]:
    """Return the joint cumulant, given z, of components of the next G over the neurons of a layer."""
    found: Counter[tuple[Mean, tuple[Component, ...]]] = Counter()
    for choice in itertools.product(*map(_choices, block)):
        if len(block) > 1 and not all(part.jets for part in choice):
            continue  # what is certain given z
        C_W, lambda_W, lambda_b = map(sum, zip(*(part.powers for part in choice), strict=True))
        powers = C_W, lambda_W, lambda_b, len(block) - 1
        sigma = tuple(sorted(part for own in choice for part in own.sigma))
        jets = [(slot, k) for k, own in enumerate(choice) for slot in own.jets]
        for pairs, single in _pairings(jets):
            if _joined(len(block), [(s[1], t[1]) for s, t in pairs]):
                edges = tuple((s[0], t[0]) for s, t in pairs)
                for k in itertools.product(range(n_inputs), repeat=len(single)):
                    legs = tuple((slot, ("", i)) for (slot, _), i in zip(single, k, strict=True))
                    found[Mean(powers, sigma, tuple(sorted(k))), edges + legs] += 1
    return found


def _choices(component: Component) -> Iterator[_Choice]:
    """Yield the terms of G'_(Sa)(Tb), summed over the set partitions of Faa di Bruno."""
    (S, a), (T, b) = component
    if S == T and len(S) == 1:
        yield _Choice((0, 0, 1), (), ())
    removed = [((1, 0, 0), S, T)]
    removed += [((0, 1, 0), S.replace(s, ""), T.replace(s, "")) for s in S if s in T]
    for powers, left, right in removed:
        for first, second in itertools.product(set_partitions(left), set_partitions(right)):
            jets = [("".join(part), a) for part in first] + [("".join(part), b) for part in second]
            yield _Choice(powers, ((len(first), a), (len(second), b)), tuple(jets))


Jet = tuple[Slot, int]


def _pairings(jets: list[Jet]) -> Iterator[tuple[list[tuple[Jet, Jet]], list[Jet]]]:
    """Yield all ways to pair some of the jets: the pairs and what is left."""
    if not jets:
        yield [], []
        return
    first, rest = jets[0], jets[1:]
    for pairs, single in _pairings(rest):
        yield pairs, [first, *single]
    for k, other in enumerate(rest):
        for pairs, single in _pairings(rest[:k] + rest[k + 1 :]):
            yield [(first, other), *pairs], single


def _joined(count: int, edges: list[tuple[int, int]]) -> bool:
    """Return whether the edges connect all of `count` vertices."""
    reached = {0}
    for _ in range(count):
        reached |= {t for s, t in edges if s in reached} | {s for s, t in edges if t in reached}
    return len(reached) == count
