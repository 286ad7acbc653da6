"""What a derivation will cost, before it is started: lower orders are counted, higher ones follow a growth law.

The number of terms at order k is found by deriving orders 0, 1, ... as long as they are small, and continued by a law
of growth. An order multiplies the terms of the preactivation sector by 3 + 3.3 k (6, 9, 12, 16 for k = 1 ... 4: one
more component and one more pair of derivatives find that many more places). Every direction adds ways to contract; that
shows in the first orders, and fades to the same law. Time per term grows slowly with their number, and doubles with
each derivative beyond the first. The constants are measured (docs/orders.md); `benchmarks/orders.py` repeats it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from pdlt.observables import Observable, Slots, identify, observable, vanishes
from pdlt.symbolic.recursion import close, requests

#: Orders with more terms than this are not derived for an estimate: all that is smaller takes a tenth of a second.
_SMALL = 1500
#: Where the law ends: nobody waits for this many terms.
_HOPELESS = 10**15

#: CPU seconds per term at 5000 terms.
_SECONDS_PER_TERM = 8e-5
_BYTES_PER_TERM = 3000


@dataclass(frozen=True)
class Cost:
    """Estimated cost of a derivation, within a factor of about three one or two orders beyond what is small.

    Attributes:
        seconds: CPU time on a processor of the 2020s, one process.
        terms: terms of all equations together.
        memory: bytes.
    """

    seconds: float
    terms: int
    memory: float

    def __str__(self) -> str:
        memory = _rounded(self.memory / 2**30)
        return f"{duration(self.seconds)}, {_rounded(self.terms)} terms and {memory} GiB of memory"


def estimate(observables: Sequence[str | Observable], order: int) -> Cost:
    """Return the estimated cost of deriving observables to an order in 1/width; takes about a tenth of a second.

    Beyond 1e15 terms the numbers returned are lower bounds.

    Args:
        observables: names, specs or observables.
        order: as in `pdlt.derive`.

    Raises:
        PdltError: for unknown observables.
    """
    items = [observable(item) for item in observables]
    directions = max(len(set("".join(item.slots))) for item in items)
    complete = max(item.leading_order for item in items)
    terms, growth = _count(items, 0), 0.0
    for k in range(order):
        plain = 3 + 3.3 * k
        # Where no factor is known yet, each direction counts as much as it does in the first step.
        factor = max(plain, 0.8 * growth) if growth else plain + 8 * directions
        if terms * factor < _SMALL:
            counted = _count(items, k + 1)
            terms, growth = counted, counted / terms if k >= complete else 0.0
        else:
            terms, growth = round(terms * factor), factor
        if terms > _HOPELESS:
            break
    derivatives = max(item.derivatives for item in items)
    seconds = _SECONDS_PER_TERM * terms * 2.0 ** max(derivatives - 1, 0) * (terms / 5000) ** 0.15
    return Cost(seconds, terms, float(_BYTES_PER_TERM * terms))


def duration(seconds: float) -> str:
    """Return a time in words: "about 40 seconds", "about 3 hours", "more than a thousand years"."""
    years = 365 * 86400.0
    if seconds > 1000 * years:
        return "more than a thousand years"
    for unit, length in (("year", years), ("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.5 * length:
            return f"about {seconds / length:.2g} {unit}s"
    return f"about {seconds:.2g} seconds"


def _count(items: list[Observable], order: int) -> int:
    """Return the number of terms at an order; observables that appear later are cut down to what appears there."""
    cut = []
    for item in items:
        slots = item.slots if item.leading_order <= order else _shortened(item.slots, order + 1)
        cut.append(identify(slots)[0])
    return sum(len(equation.terms) for equation in close(*requests(cut, order)))


def _shortened(slots: Slots, components: int) -> Slots:
    """Return a part of a cumulant that does not vanish: fewer components, and fewer directions where that is needed."""
    pairs = list(zip(slots[::2], slots[1::2], strict=True))
    for kept in combinations(reversed(pairs), components):
        part = tuple(slot for pair in kept for slot in pair)
        if not vanishes(part):
            return part
    last = max("".join(slots))
    return _shortened(tuple(slot.replace(last, "") for slot in slots), components)


def _rounded(number: float) -> str:
    """Return a number to one digit, as people write it: "2,000,000", "0.3"."""
    digit = float(f"{number:.1g}")
    return f"{digit:,.0f}" if digit >= 1 else f"{digit:g}"
