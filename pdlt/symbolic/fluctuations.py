"""Order 1/n one component at a time: how fluctuations of the jet covariance arise in a layer and are passed on.

To leading order a fluctuation of G'(S1, T2) is a sum over the neurons of layer l, plus a linear function of
fluctuations of G on the *same two inputs*:

    delta G'(S1, T2) = (1/n_l) sum_j (Phi(u_j) - <Phi>) + sum of  c C_W^. lambda_W^. <prod sigma^(k)> Theta^. delta G.

The neurons of different layers are independent, so every joint cumulant of two components is a sum over layers of
E[X X'], X being what one neuron adds to each of them: the tensors with four indices are sums of products of matrices.
Both parts are what `recursion` is made of, the layer map and its first variation; nothing is transcribed.

In a cumulant of two components every direction occurs twice. If it does so in one of them, its Gaussians (and those of
jets along two directions) are averaged in there by Wick's theorem. What is left depends on the plain preactivation and,
linearly each, on the derivatives along the other directions, called free.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, permutations, product

from pdlt.errors import PdltError
from pdlt.observables import NAMED, Observable
from pdlt.symbolic.cumulants import Slot, variations, wick
from pdlt.symbolic.jets import Jet, Monomial, layer_map

#: The directions of the two jets of a component, the longer word first; free directions come first in the alphabet.
Pair = tuple[str, str]

#: Two of the labels 1 and 2, the inputs of the component that is asked for.
Labels = tuple[int, int]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, order=True)
class Coefficient:
    """C_W^powers[0] lambda_W^powers[1] * prod sigma^(k)(z_label) * prod Theta(labels)."""

    powers: tuple[int, int]
    sigmas: tuple[tuple[int, int], ...]  # (label, k)
    kernels: tuple[Labels, ...]


@dataclass(frozen=True, order=True)
class Source:
    """A term of what one neuron adds to a component: the coefficient, not averaged, times derivatives z_(a, label).

    `jets` lists the free directions, each once, with their labels.
    """

    coefficient: Coefficient
    jets: tuple[Jet, ...]


@dataclass(frozen=True, order=True)
class Response:
    """A term of the linear response: the averaged coefficient times the fluctuation of `pair` on `labels`."""

    coefficient: Coefficient
    pair: Pair
    labels: Labels


@dataclass(frozen=True)
class Factor:
    """One component of a cumulant: X[pair] with its rows and columns along these axes of the cumulant's array."""

    pair: Pair
    axes: tuple[int, int]


def factors(observable: Observable) -> tuple[Factor, Factor]:
    """Return the two components of a cumulant, directions renamed so that equal ones have equal names.

    The shared directions become a, b, ... in both, in the order whose words come first in the alphabet; one that occurs
    twice in a component takes the next letter.

    Raises:
        PdltError: if there are not two components, or jets along the same two directions occur twice.
    """
    words = observable.slots
    together = Counter(two for word in words for two in combinations(word, 2))
    letters = Counter("".join(words))
    if len(words) != 4 or any(n != 2 for n in letters.values()) or any(n > 1 for n in together.values()):
        raise PdltError(
            f"Argument `observables`: {observable.name!r} is not a cumulant of two components with every direction "
            "twice and every two directions at most once in a jet; accepted are "
            f"{', '.join(name for name, item in NAMED.items() if item.components == 2)}."
        )
    shared = sorted(set("".join(words[:2])) & set("".join(words[2:])))
    axis = {slot: place for place, slot in enumerate(observable.axes)}
    names = []
    for order in permutations(shared):
        first, second = (
            Factor(*_longer_first(_renamed((words[i], words[i + 1]), order), (axis[i], axis[i + 1]))) for i in (0, 2)
        )
        names.append((first, second))
    return min(names, key=lambda found: [factor.pair for factor in found])


@lru_cache(maxsize=256)
def sources(pair: Pair) -> tuple[tuple[Source, Fraction], ...]:
    """Return Phi of a component on the labels 1 and 2, with the directions that occur twice in it averaged."""
    free = _free(pair)
    found: dict[Source, Fraction] = {}
    for monomial, weight in layer_map((pair[0], 1), (pair[1], 2)):
        kept = tuple(jet for jet in monomial.jets if jet[0] in free)
        averaged = tuple(jet for jet in monomial.jets if jet[0] not in free)
        for pairing in wick(averaged):
            coefficient = Coefficient(monomial.powers, monomial.sigmas, _kernels(pairing))
            source = Source(coefficient, kept)
            found[source] = found.get(source, Fraction(0)) + weight
    return tuple(sorted(found.items()))


@lru_cache(maxsize=256)
def responses(pair: Pair) -> tuple[tuple[Response, Fraction], ...]:
    """Return the linear response of a component on the labels 1 and 2 to fluctuations of the layer before."""
    free = _free(pair)
    found: dict[Response, Fraction] = {}
    for monomial, weight in layer_map((pair[0], 1), (pair[1], 2)):
        for variation, share in variations(monomial, 1).items():
            ((first, second),) = variation.deltas
            for pairing in wick(variation.monomial.jets):
                kernels = _kernels(pairing)
                for sigmas, slots in _bound(variation.monomial, (first, second)):
                    moved, labels = _named(slots, free)
                    response = Response(Coefficient(monomial.powers, sigmas, kernels), moved, labels)
                    found[response] = found.get(response, Fraction(0)) + weight * share
    return tuple(sorted((response, weight) for response, weight in found.items() if weight))


def close(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs and all that they respond to, sorted."""
    waiting, found = list(pairs), set()
    while waiting:
        pair = waiting.pop()
        if pair not in found:
            found.add(pair)
            waiting += [response.pair for response, _ in responses(pair)]
    return tuple(sorted(found, key=lambda pair: (len(pair[0] + pair[1]), pair)))


def free_directions(pair: Pair) -> str:
    """Return the directions that occur once in a component, sorted."""
    return "".join(sorted(_free(pair)))


def _free(pair: Pair) -> set[str]:
    return set(pair[0]) ^ set(pair[1])


def _bound(monomial: Monomial, slots: tuple[Slot, Slot]) -> Iterator[tuple[tuple[tuple[int, int], ...], list[Jet]]]:
    """Yield the terms of the sums over plain inputs: derivatives moved into the average, and the slots with labels."""
    options = [[("", label) for label, _ in monomial.sigmas] if slot is None else [slot] for slot in slots]
    for chosen in product(*options):
        extra = Counter(jet[1] for slot, jet in zip(slots, chosen, strict=True) if slot is None)
        yield tuple((label, k + extra[label]) for label, k in monomial.sigmas), list(chosen)


def _kernels(pairing: tuple[tuple[Jet, Jet], ...]) -> tuple[Labels, ...]:
    if any(len(first[0]) != 1 for first, _ in pairing):
        raise PdltError("Fluctuations of components that share a jet along two directions are not implemented.")
    return tuple(sorted((min(a[1], b[1]), max(a[1], b[1])) for a, b in pairing))


def _named(slots: list[Jet], free: set[str]) -> tuple[Pair, Labels]:
    (first, second) = slots
    pair, labels = _longer_first(_renamed((first[0], second[0]), sorted(free)), (first[1], second[1]))
    if pair[0] == pair[1] and labels[0] > labels[1]:
        labels = labels[1], labels[0]  # both slots are alike
    return pair, labels


def _renamed(words: Pair, free: Iterable[str]) -> Pair:
    """Return the words with `free` renamed to a, b, ... and all other directions to the letters that follow."""
    first = list(free)
    others = sorted(set(words[0] + words[1]) - set(first))
    table = dict(zip([*first, *others], _ALPHABET, strict=False))
    return "".join(sorted(table[c] for c in words[0])), "".join(sorted(table[c] for c in words[1]))


def _longer_first(pair: Pair, places: tuple[int, int]) -> tuple[Pair, tuple[int, int]]:
    if (-len(pair[0]), pair[0]) <= (-len(pair[1]), pair[1]):
        return pair, places
    return (pair[1], pair[0]), (places[1], places[0])
