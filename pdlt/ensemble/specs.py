"""What is measured: joint cumulants of the empirical jet covariance G, written as moments of it.

A *spec* such as "a1 b3 | a2 b4" is the joint cumulant of the components G(a1, b3) and G(a2, b4): letters are
auxiliary Gaussian directions in parameter space (none: the plain preactivation), the integer labels the
input. The table below is typed here on purpose and not imported: the measurement must not share its
definitions with the theory it tests.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import factorial
from typing import Any, TypeVar

from pdlt.errors import PdltError, suggest

#: Direction letters of the two slots of each component, in canonical letters: (("a", "a"), ("b", "b")) for A.
Moment = tuple[tuple[str, str], ...]
T = TypeVar("T")

DIRECTIONS = 6  # of one cumulant; names are matched by trying all permutations


@dataclass(frozen=True)
class Cumulant:
    """A joint cumulant of components of G.

    Attributes:
        name: the variable's name in the results.
        spec: components separated by "|", each of two slots (direction letters, then a data label).
        pairs: the direction letters of the slots, renamed to a, b, c ... in order of appearance.
        axes: the slot that each axis of the result belongs to.
    """

    name: str
    spec: str
    pairs: Moment
    axes: tuple[int, ...]

    @property
    def order(self) -> int:
        """Number k of components; the result is n^(k-1) times the joint cumulant."""
        return len(self.pairs)

    def terms(self) -> Iterator[tuple[float, list[tuple[Moment, tuple[int, ...]]]]]:
        """Yield the cumulant as a sum of products of moments.

        Each term is a coefficient and its factors: a moment and the positions of its slots in this spec.
        Moments in which a direction occurs an odd number of times vanish exactly at any width (flipping the
        sign of a direction is a symmetry of the law of G), so their terms are left out instead of being
        estimated by noise.
        """
        for partition in set_partitions(range(self.order)):
            factors = []
            for block in partition:
                moment = canonical(tuple(self.pairs[k] for k in block))
                slots = tuple(slot for k in block for slot in (2 * k, 2 * k + 1))
                factors.append((moment, slots))
            if not any(_odd(moment) for moment, _ in factors):
                yield (-1.0) ** (len(partition) - 1) * factorial(len(partition) - 1), factors


def set_partitions(items: Sequence[T]) -> Iterator[list[list[T]]]:
    """Yield all set partitions of `items`, each block in the order given."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for partition in set_partitions(rest):
        yield [[first], *partition]
        for k, block in enumerate(partition):
            yield [*partition[:k], [first, *block], *partition[k + 1 :]]


@cache
def canonical(pairs: Moment) -> Moment:
    """Rename the directions to the first letters of the alphabet, in the way that sorts first.

    The law of G does not depend on the names, so equal results mean equal moments.
    """
    letters = sorted(set("".join(slot for pair in pairs for slot in pair)))
    return min(renamings(pairs, "abcdefghijklmnopqrstuvwxyz"[: len(letters)]))


def renamings(pairs: Moment, letters: str) -> list[Moment]:
    """Return the pairs with their directions replaced, in all ways, by distinct ones out of `letters`."""
    own = sorted(set("".join(slot for pair in pairs for slot in pair)))
    tables = [dict(zip(own, chosen, strict=True)) for chosen in itertools.permutations(letters, len(own))]
    return [tuple((_rename(s, names), _rename(t, names)) for s, t in pairs) for names in tables]


def cumulants(observables: Iterable[Any] | None) -> list[Cumulant]:
    """Return the cumulants to measure, given names, specs or objects with an attribute `spec`.

    Raises:
        PdltError: for an unknown name, a malformed spec, or a cumulant that vanishes by symmetry.
    """
    if observables is None:
        return list(NAMED.values())
    if isinstance(observables, str) or not isinstance(observables, Iterable):
        observables = [observables]
    found = {c.name: c for c in (_cumulant(getattr(item, "spec", item)) for item in observables)}
    if not found:
        raise PdltError("Argument `observables` must name at least one observable, but got an empty list.")
    return list(found.values())


def moments(measured: Iterable[Cumulant]) -> tuple[Moment, ...]:
    """Return all moments that the cumulants are made of, in a fixed order."""
    return tuple(sorted({moment for c in measured for _, factors in c.terms() for moment, _ in factors}))


def _rename(slot: str, names: dict[str, str]) -> str:
    return "".join(sorted(names[letter] for letter in slot))


def _odd(pairs: Moment) -> bool:
    letters = "".join(slot for pair in pairs for slot in pair)
    return any(letters.count(letter) % 2 for letter in letters)


def _cumulant(text: Any) -> Cumulant:
    if isinstance(text, str) and text in NAMED:
        return NAMED[text]
    if not isinstance(text, str) or not re.search(r"[\s|]", text.strip()):
        raise PdltError(
            f"Argument `observables`: {text!r} is not known.{suggest(str(text), NAMED)} A run measures "
            f'{", ".join(NAMED)} (each at the actual width, to all orders) and specs such as "a1 a2 | b3 b4".'
        )
    spec, pairs = _parse(text)
    for named in NAMED.values():
        if named.pairs == pairs:
            return named
    if _odd(pairs):
        raise PdltError(
            f"Argument `observables`: the cumulant {text!r} vanishes identically, because a direction occurs "
            "an odd number of times; every direction must occur an even number of times."
        )
    return Cumulant(spec, spec, pairs, tuple(range(2 * len(pairs))))


def _parse(text: str) -> tuple[str, Moment]:
    wanted = 'components of two slots separated by "|", such as "a1 a2 | b3 b4"'
    pairs: list[tuple[str, str]] = []
    labels: list[str] = []
    words: list[str] = []
    if len(text) > 200:
        raise PdltError(f"Argument `observables` must contain {wanted}, but got {text[:60]!r} and more.")
    for component in text.split("|"):
        slots = component.split()
        if len(slots) != 2:
            raise PdltError(
                f"Argument `observables` must contain {wanted}, but {component.strip()!r} in {text!r} is not two slots."
            )
        letters = []
        for slot in slots:
            match = re.fullmatch(r"([a-z]*)([0-9]{1,3})", slot)
            if not match or len(set(match[1])) != len(match[1]):
                raise PdltError(
                    f"Argument `observables` must contain {wanted}, but {slot!r} in {text!r} is not distinct "
                    "direction letters followed by a data label."
                )
            letters.append("".join(sorted(match[1])))
            labels.append(match[2])
            words.append(letters[-1] + match[2])
        pairs.append((letters[0], letters[1]))
    if len(set(map(int, labels))) != len(labels):
        raise PdltError(f"Argument `observables` must name a different data label in every slot, but got {text!r}.")
    if len(set("".join(first + second for first, second in pairs))) > DIRECTIONS:
        raise PdltError(
            f"Argument `observables`: a cumulant may have at most {DIRECTIONS} directions, but got {text!r}."
        )
    spec = " | ".join(f"{first} {second}" for first, second in zip(words[::2], words[1::2], strict=True))
    return spec, canonical(tuple(pairs))


def _named(name: str, spec: str, axes: tuple[int, ...] | None = None) -> Cumulant:
    spec, pairs = _parse(spec)
    return Cumulant(name, spec, pairs, axes or tuple(range(2 * len(pairs))))


#: Definitions: arXiv:2508.11522 (23), (28)-(30) and PDLT chapters 4, 8, 11, in the index order of results.
NAMED = {
    c.name: c
    for c in (
        _named("K", "1 2"),
        _named("Theta", "a1 a2"),
        _named("V", "1 2 | 3 4"),
        _named("D", "1 2 | a3 a4"),
        _named("F", "1 a3 | 2 a4"),
        _named("A", "a1 a2 | b3 b4"),
        _named("B", "a1 b3 | a2 b4"),
        _named("P", "ab0 3 | a1 b2", axes=(0, 2, 3, 1)),  # stored as P_0123
        _named("Q", "ab0 a1 | b2 3"),
        _named("R", "abc0 a1 | b2 c3"),
        _named("S", "ab1 ac2 | b3 c4"),
        _named("T", "ab1 b3 | ac2 c4"),
        _named("U", "ab1 c4 | ac2 b3"),
    )
}
