"""The table of named observables, and the combinatorics that recognises a joint cumulant of jets.

Every tensor of the theory is a joint cumulant of components of the empirical jet covariance: a *spec* like
"a1 b3 | a2 b4" means the cumulant of the two components G(a1, b3) and G(a2, b4), where letters are auxiliary
Gaussian directions in parameter space (none: the plain preactivation) and the integer is a data label.
The table below is the only place where a tensor of the literature is named.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from pdlt.errors import PdltError, suggest

#: Symmetries are found by trying all renamings of directions and reorderings of the components that carry them.
MAX_DIRECTIONS = 4
MAX_DIRECTED_COMPONENTS = 6
MAX_COMPONENTS = 12

#: One string of direction letters per slot; consecutive slots 2k, 2k+1 form a component.
Slots = tuple[str, ...]


@dataclass(frozen=True)
class Observable:
    """A joint cumulant of jet-covariance components with an order of its data axes.

    Attributes:
        name: the name in the literature, or the spec itself for an unnamed cumulant.
        slots: direction letters of each slot; slots 2k and 2k+1 form the k-th component.
        labels: the data label of each slot, as written in the spec (used for printing).
        axes: the slot that each axis of the stored array belongs to.
        latex: how the tensor's letter is typeset.
        reference: where it is defined.
    """

    name: str
    slots: Slots
    labels: tuple[int, ...]
    axes: tuple[int, ...]
    latex: str = ""
    reference: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def components(self) -> int:
        """Number m of components; the cumulant is of order n^(1-m)."""
        return len(self.slots) // 2

    @property
    def leading_order(self) -> int:
        """The power of 1/n at which the observable first appears among the moments of the covariance."""
        return self.components - 1

    @property
    def spec(self) -> str:
        """The spec, e.g. "a1 b3 | a2 b4"."""
        return format_spec(self.slots, self.labels)

    @property
    def axis_labels(self) -> tuple[int, ...]:
        """The data labels in the order of the axes of the stored array (P: 0, 1, 2, 3)."""
        return tuple(self.labels[slot] for slot in self.axes)

    @property
    def derivatives(self) -> int:
        """Largest number of derivatives of one preactivation (0 plain, 1 NTK, 2 dNTK, 3 ddNTK)."""
        return max(len(slot) for slot in self.slots)

    def canonical(self, args: tuple[int, ...]) -> tuple[int, ...]:
        """Return the smallest of the argument tuples that the tensor's index symmetries make equal to `args`."""
        plain, directed, symmetries = _symmetries(self.slots, self.axes)
        # Components without directions permute among themselves; the two sets of axes are independent.
        pairs = sorted((args[i], args[j]) if args[i] <= args[j] else (args[j], args[i]) for i, j in plain)
        smallest = min(tuple(args[i] for i in symmetry) for symmetry in symmetries)
        result = list(args)
        for (i, j), (first, second) in zip(plain, pairs, strict=True):
            result[i], result[j] = first, second
        for i, value in zip(directed, smallest, strict=True):
            result[i] = value
        return tuple(result)


def cumulant(spec: str) -> Observable:
    """Return the joint cumulant written as a spec, under its name in the literature if it has one.

    Args:
        spec: components separated by "|", each of two slots such as "ab0" (direction letters, then a data
            label). All labels differ. `cumulant("a1 a2 | b3 b4")` is A, `cumulant("1 2 | 3 4")` is V.

    Returns:
        The observable; its array has one axis per slot, in the order written, except for named tensors, whose
        axes follow the literature (P: 0, 1, 2, 3).

    Raises:
        PdltError: if the text is not a spec, or the cumulant vanishes identically because a direction occurs an
            odd number of times (flipping that direction's sign is a symmetry).
    """
    slots, labels = _parse(spec)
    for letter in sorted(set("".join(slots))):
        if sum(letter in slot for slot in slots) % 2:
            raise PdltError(
                f"Argument `spec`: the cumulant {spec!r} vanishes identically, because direction {letter!r} occurs "
                "an odd number of times; every direction must occur an even number of times."
            )
    for observable in NAMED.values():
        if _isomorphisms(slots, observable.slots) and _same_axes(slots, observable):
            return observable
    return Observable(format_spec(slots, labels), slots, labels, tuple(range(len(slots))))


def observable(name: "str | Observable") -> Observable:
    """Return an observable given itself, its name ("V") or a spec ("a1 a2 | b3 b4").

    Raises:
        PdltError: for an unknown name (with the nearest known one) or a malformed spec.
    """
    if isinstance(name, Observable):
        return name
    if isinstance(name, str) and name in NAMED:
        return NAMED[name]
    if not isinstance(name, str) or not re.search(r"[\s|]", name.strip()):
        known = ", ".join(NAMED)
        raise PdltError(
            f"Argument `observables`: {name!r} is not known.{suggest(str(name), NAMED)} Accepted are {known} "
            'and specs of joint cumulants such as "a1 a2 | b3 b4".'
        )
    return cumulant(name)


def identify(slots: Slots) -> tuple[Observable, tuple[int, ...]]:
    """Return the observable that a cumulant with these slots is, and the slot that feeds each of its axes.

    The caller makes the argument tuple unique with `Observable.canonical`.
    """
    return _identify(slots)


def vanishes(slots: Slots) -> bool:
    """Return whether the cumulant is zero by symmetry: some direction occurs an odd number of times."""
    letters = "".join(slots)
    return any(letters.count(letter) % 2 for letter in set(letters))


def format_spec(slots: Slots, labels: tuple[int, ...]) -> str:
    """Return the text of a spec: slots and their labels, components separated by "|"."""
    words = [f"{slot}{label}" for slot, label in zip(slots, labels, strict=True)]
    return " | ".join(f"{first} {second}" for first, second in zip(words[::2], words[1::2], strict=True))


def _parse(spec: str) -> tuple[Slots, tuple[int, ...]]:
    wanted = 'components of two slots separated by "|", e.g. "a1 a2 | b3 b4"'
    if not isinstance(spec, str) or len(spec) > 200:
        raise PdltError(f"Argument `spec` must be {wanted}, but got {str(spec)[:60]!r}.")
    slots: list[str] = []
    labels: list[int] = []
    for component in spec.split("|"):
        words = component.split()
        if len(words) != 2:
            raise PdltError(
                f"Argument `spec` must be {wanted}, but {component.strip()!r} in {spec!r} is not two slots."
            )
        for word in words:
            match = re.fullmatch(r"([a-z]*)([0-9]{1,3})", word)
            if not match or len(set(match[1])) != len(match[1]):
                raise PdltError(
                    f"Argument `spec` must be {wanted}, but {word!r} is not distinct direction letters and a label."
                )
            slots.append("".join(sorted(match[1])))
            labels.append(int(match[2]))
    directed = len(_split(tuple(slots))[1])
    if (
        len(set("".join(slots))) > MAX_DIRECTIONS
        or len(slots) > 2 * MAX_COMPONENTS
        or directed > 2 * MAX_DIRECTED_COMPONENTS
    ):
        raise PdltError(
            f"Argument `spec` may have at most {MAX_DIRECTIONS} directions and {MAX_COMPONENTS} components, "
            f"{MAX_DIRECTED_COMPONENTS} of them with directions, but got {spec!r}."
        )
    if len(set(labels)) != len(labels):
        raise PdltError(f"Argument `spec` must name a different data label in every slot, but got {spec!r}.")
    return tuple(slots), tuple(labels)


@cache
def _isomorphisms(source: Slots, target: Slots) -> tuple[tuple[int, ...], ...]:
    """Return all ways to feed the target's slots from the source's: source slot of each target slot."""
    if len(source) != len(target) or sorted(map(len, source)) != sorted(map(len, target)):
        return ()
    pairs = [(2 * k, 2 * k + 1) for k in range(len(source) // 2)]
    letters = sorted(set("".join(source)))
    target_letters = sorted(set("".join(target)))
    if len(letters) != len(target_letters):
        return ()
    renamings = [dict(zip(letters, p, strict=True)) for p in itertools.permutations(target_letters)]
    found = []
    for order in itertools.permutations(pairs):
        for flips in itertools.product((False, True), repeat=len(pairs)):
            feed = tuple(s for pair, flip in zip(order, flips, strict=True) for s in (pair[::-1] if flip else pair))
            if any(len(source[s]) != len(t) for s, t in zip(feed, target, strict=True)):
                continue
            if any(
                all("".join(sorted(renaming[c] for c in source[s])) == t for s, t in zip(feed, target, strict=True))
                for renaming in renamings
            ):
                found.append(feed)
    return tuple(found)


@cache
def _symmetries(
    slots: Slots, axes: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return the index symmetries of a tensor as a product of two groups.

    Returns:
        The pairs of axes of components without directions (any order of the pairs and in a pair is equal), the other
        axes, and the permutations of those under which the tensor is unchanged.
    """
    axis_of_slot = {slot: axis for axis, slot in enumerate(axes)}
    plain, others = _split(slots) if axes == tuple(range(len(slots))) else ((), tuple(range(len(slots))))
    directed = tuple(slots[i] for i in others)
    moved = {axis_of_slot[slot]: k for k, slot in enumerate(others)}
    places = tuple(sorted(moved))
    symmetries = tuple(
        tuple(axis_of_slot[others[feed[moved[axis]]]] for axis in places) for feed in _isomorphisms(directed, directed)
    )
    return tuple(zip(plain[::2], plain[1::2], strict=True)), places, symmetries


def _split(slots: Slots) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the slots of components without directions, and the other slots."""
    plain = tuple(i for i in range(len(slots)) if not slots[i] and not slots[i ^ 1])
    return plain, tuple(i for i in range(len(slots)) if i not in plain)


def _same_axes(slots: Slots, named: Observable) -> bool:
    """Return whether feeding slots in the order written gives the named tensor's own index order."""
    return tuple(range(len(slots))) in _isomorphisms(slots, named.slots)


@cache
def _identify(slots: Slots) -> tuple[Observable, tuple[int, ...]]:
    for named in NAMED.values():
        feeds = _isomorphisms(slots, named.slots)
        if feeds:
            return named, tuple(feeds[0][slot] for slot in named.axes)
    frame = _smallest_frame(slots)
    labels = tuple(range(1, len(slots) + 1))
    generic = Observable(format_spec(frame, labels), frame, labels, tuple(range(len(slots))))
    # In the frame components without directions come first; any order of them will do.
    plain, others = _split(slots)
    feed = _isomorphisms(tuple(slots[i] for i in others), frame[len(plain) :])[0]
    return generic, (*plain, *(others[i] for i in feed))


def _smallest_frame(slots: Slots) -> Slots:
    """Return the representative of all cumulants that renaming and reordering make equal to this one."""
    letters = sorted(set("".join(slots)))
    names = "abcdefghijklmnopqrstuvwxyz"[: len(letters)]
    frames = []
    for renamed in itertools.permutations(names):
        table = dict(zip(letters, renamed, strict=True))
        new = ["".join(sorted(table[c] for c in slot)) for slot in slots]
        pairs = sorted(tuple(sorted(pair)) for pair in zip(new[::2], new[1::2], strict=True))
        frames.append(tuple(slot for pair in pairs for slot in pair))
    return min(frames)


def _row(name: str, spec: str, latex: str, reference: str, axis_labels: str | None = None) -> Observable:
    slots, labels = _parse(spec)
    order = tuple(labels.index(int(digit)) for digit in axis_labels) if axis_labels else tuple(range(len(slots)))
    return Observable(name, slots, labels, order, latex, reference)


_GMG = "arXiv:2508.11522"

NAMED: dict[str, Observable] = {
    row.name: row
    for row in (
        _row("K", "1 2", "K", "PDLT (arXiv:2106.10165) chapter 4"),
        _row("Theta", "a1 a2", r"\Theta", "PDLT chapter 8"),
        _row("V", "1 2 | 3 4", "V", f"{_GMG} (23); PDLT chapter 4"),
        _row("A", "a1 a2 | b3 b4", "A", f"{_GMG} (48)-(55); PDLT chapter 8"),
        _row("B", "a1 b3 | a2 b4", "B", f"{_GMG} (48)-(55); PDLT chapter 8"),
        _row("D", "1 2 | a3 a4", "D", f"{_GMG} (48)-(55); PDLT chapter 8"),
        _row("F", "1 a3 | 2 a4", "F", f"{_GMG} (5), (48)-(55); PDLT chapter 8"),
        _row("P", "ab0 3 | a1 b2", "P", f"{_GMG} (28), (56)-(60); PDLT chapter 11", "0123"),
        _row("Q", "ab0 a1 | b2 3", "Q", f"{_GMG} (28), (56)-(60); PDLT chapter 11"),
        _row("R", "abc0 a1 | b2 c3", "R", f"{_GMG} (29), (61)-(70); PDLT chapter 11"),
        _row("S", "ab1 ac2 | b3 c4", "S", f"{_GMG} (30), (61)-(70); PDLT chapter 11"),
        _row("T", "ab1 b3 | ac2 c4", "T", f"{_GMG} (30), (61)-(70); PDLT chapter 11"),
        _row("U", "ab1 c4 | ac2 b3", "U", f"{_GMG} (30), (61)-(70); PDLT chapter 11"),
    )
}


def requested_observables(observables: Sequence[str | Observable] | str | None, order: int) -> list[Observable]:
    """Return the observables behind names, specs and names of coefficients such as K_1; None: all of this order.

    Raises:
        PdltError: for unknown ones, none at all, or one that first appears at a higher order in 1/n.
    """
    if observables is None:
        return [o for o in NAMED.values() if o.leading_order <= order]
    if isinstance(observables, str | Observable):
        observables = [observables]
    if not isinstance(observables, Iterable):
        raise PdltError(f"Argument `observables` must be names or specs of observables, but got {observables!r}.")
    found = [observable(_without_order(name, order) if isinstance(name, str) else name) for name in observables]
    if not found:
        raise PdltError("Argument `observables` must name at least one observable, but is empty.")
    for item in found:
        if item.leading_order > order:
            raise PdltError(
                f"Argument `observables`: {item.name!r} first appears at order {item.leading_order}, "
                f"but `order` is {order}."
            )
    return list(dict.fromkeys(found))


def _without_order(name: str, order: int) -> str:
    """Return V for V_1: a coefficient is part of its observable at sufficient order."""
    base, _, digits = name.partition("_")
    known = base in NAMED and digits.isdecimal() and len(digits) <= len(str(order)) and 1 <= int(digits) <= order
    return base if known and f"{base}_{int(digits)}" == name else name
