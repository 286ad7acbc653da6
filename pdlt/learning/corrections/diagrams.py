"""Averages of events over initialisations, by Wick's theorem: which cumulants, labels and kernels they are made of.

Given the jet covariance G of the last layer, jets of different outputs are independent Gaussians. At order 1/n an
average is therefore a sum over the ways to pair four jets into two components of G, each with the joint cumulant of
the two (`pdlt.observables`), times the leading average of the residuals that are left: g - y with g ~ N(0, K).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

from pdlt.learning.corrections.events import Jet
from pdlt.observables import NAMED, identify

#: Labels of training points; all others are rows of the result.
TRAINING = "abc"


@dataclass(frozen=True, order=True)
class Diagram:
    """A cumulant with labels on its slots, labels y, and kernels K between labels.

    Every training label occurs twice, every row once. A pair of slots, a kernel and a training label all carry one
    output; outputs of closed loops are summed over.

    Attributes:
        slots: directions of the four jets; slots 0, 1 and 2, 3 are components of G.
        points: the labels of the slots.
        targets: training labels that carry a label y.
        kernels: pairs of labels joined by a kernel.
    """

    slots: tuple[str, ...]
    points: tuple[str, ...]
    targets: tuple[str, ...]
    kernels: tuple[tuple[str, str], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The training labels, in alphabetical order."""
        return tuple(sorted({p for p in self._ends if p in TRAINING}))

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows, in alphabetical order."""
        return tuple(sorted({p for p in self._ends if p not in TRAINING}))

    @property
    def _ends(self) -> tuple[str, ...]:
        return self.points + self.targets + tuple(end for kernel in self.kernels for end in kernel)

    @property
    def lines(self) -> tuple[frozenset[str], ...]:
        """The sets of labels that share an output."""
        found: list[frozenset[str]] = []
        for edge in (self.points[:2], self.points[2:], *self.kernels):
            line = frozenset(edge)
            for other in [other for other in found if other & line]:
                found.remove(other)
                line |= other
            found.append(line)
        return tuple(sorted(found, key=sorted))


@dataclass(frozen=True)
class Placed:
    """A diagram as it occurs in an average: with its coefficient, and the event's label of each of its labels."""

    coefficient: int
    diagram: Diagram
    names: tuple[tuple[str, str], ...]


def diagrams(jets: tuple[Jet, ...], residuals: str, rows: str = "", observed: tuple[Jet, ...] = ()) -> list[Placed]:
    """Return the diagrams of the average of jets, residuals and, if given, initial outputs on rows.

    Args:
        jets: at most four, with those of `observed`.
        residuals: training labels of g - y.
        rows: rows of g, to be correlated with the rest.
        observed: a pair of jets of an earlier layer, which is one of the two components.
    """
    found = []
    legs = tuple(residuals + rows)
    for chosen in combinations(range(len(legs)), 4 - len(jets) - len(observed)):
        four = jets + tuple(("", legs[i]) for i in chosen)
        rest = tuple(leg for i, leg in enumerate(legs) if i not in chosen)
        for first, second in _components(four, observed):
            if _vanishes(first, second):
                continue
            for sign, targets, kernels in _gaussian(rest):
                found.append(_placed(sign, (*first, *second), targets, kernels, bool(observed)))
    return found


def _components(jets: tuple[Jet, ...], observed: tuple[Jet, ...]) -> Iterator[tuple[tuple[Jet, ...], tuple[Jet, ...]]]:
    """Yield the ways to make two components of four jets."""
    if observed:
        yield observed, jets
        return
    head, rest = jets[0], jets[1:]
    for i, partner in enumerate(rest):
        yield (head, partner), rest[:i] + rest[i + 1 :]


def _vanishes(first: tuple[Jet, ...], second: tuple[Jet, ...]) -> bool:
    """Return whether some direction occurs an odd number of times (never, for tangent kernels and differentials)."""
    letters = "".join(directions for directions, _ in (*first, *second))
    return any(letters.count(letter) % 2 for letter in letters)


def _gaussian(legs: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...], tuple[tuple[str, str], ...]]]:
    """Yield the terms of the mean of a product of g - y (training labels) and g (rows): sign, labels y, kernels."""
    if not legs:
        yield 1, (), ()
        return
    head, rest = legs[0], legs[1:]
    if head in TRAINING:
        for sign, targets, kernels in _gaussian(rest):
            yield -sign, (head, *targets), kernels
    for i, other in enumerate(rest):
        for sign, targets, kernels in _gaussian(rest[:i] + rest[i + 1 :]):
            yield sign, targets, ((head, other), *kernels)


def _placed(
    sign: int, four: tuple[Jet, ...], targets: tuple[str, ...], kernels: tuple[tuple[str, str], ...], observed: bool
) -> Placed:
    """Return a diagram with the smallest of its equivalent forms, in which equal ones are recognised."""
    slots, points = tuple(d for d, _ in four), tuple(p for _, p in four)
    used = sorted({p for p in (*points, *targets, *(end for kernel in kernels for end in kernel)) if p in TRAINING})
    candidates = []
    for new in permutations(TRAINING[: len(used)]):
        rename = dict(zip(used, new, strict=True))
        there = tuple(rename.get(p, p) for p in points)
        form = (slots, there) if observed else _canonical(slots, there)
        ends = tuple(sorted(rename.get(p, p) for p in targets))
        joined = tuple(sorted(_in_order(rename.get(one, one), rename.get(two, two)) for one, two in kernels))
        candidates.append((Diagram(*form, ends, joined), tuple((rename[p], p) for p in used)))
    diagram, names = min(candidates)
    return Placed(sign, diagram, names)


def _canonical(slots: tuple[str, ...], points: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return slots and points of the named tensor, the arguments the smallest that its symmetries allow."""
    observable, feed = identify(slots)
    # The table of observables knows labels as integers.
    numbers = observable.canonical(tuple(ord(points[slot]) for slot in feed))
    by_slot = dict(zip(observable.axes, numbers, strict=True))
    return observable.slots, tuple(chr(by_slot[slot]) for slot in range(4))


def _in_order(one: str, two: str) -> tuple[str, str]:
    return (one, two) if one <= two else (two, one)


def tensor_of(diagram: Diagram) -> tuple[str, tuple[int, ...]]:
    """Return the name of a diagram's tensor and the slots in the order of the tensor's axes."""
    for observable in NAMED.values():
        if observable.slots == diagram.slots:
            return observable.name, observable.axes
    raise KeyError(diagram.slots)
