"""The Taylor series of training: how residuals, the tangent kernel and its differentials move outputs and kernels.

One network, exactly, for small steps of theta along -lambda grad (a, b, c training points with their outputs, summed;
e residuals; every training point twice in a product):

    z_I  -> z_I  - eta H_Ia e_a + (eta^2/2) dH_Iab e_a e_b - (eta^3/6) ddI_Iabc e_a e_b e_c
    H_IJ -> H_IJ - eta (dH_IJa + dH_JIa) e_a + (eta^2/2) (ddI_IJab + ddI_JIab + 2 ddII_IJab) e_a e_b
    dH_IJK -> dH_IJK - eta (ddI_IJKa + ddII_IJKa + ddII_IKJa) e_a

and what is left out has no mean at order 1/n. Summed over steps, with the leading decay between events, each event of
H, dH, ddI or ddII contributes a chain (`chains`); eta = 0 in the weights is gradient flow. Derived and compared with
exact descent on polynomial models in derivations/16_training_at_finite_width.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pdlt.learning.corrections.chains import Decay

#: What corrections are counted as.
PARTS = ("NTK mean", "NTK fluctuations", "dNTK", "ddNTK")

#: (directions, label): a jet of an output on a row ("I", "J") or a training point ("a", "b", "c").
Jet = tuple[str, str]

#: Weight of an event for the decay, the rates of the row's chain, and the rates of the training points by label.
Weight = Callable[[Decay, tuple[np.ndarray, ...], Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Event:
    """A term of the series: a product of jets (to be averaged over their directions), residuals, and its weight.

    Attributes:
        part: what it is counted as: "NTK fluctuations", "dNTK" or "ddNTK".
        jets: derivatives of outputs.
        residuals: training points whose initial residuals it carries.
        weight: see `Weight`.
    """

    part: str
    jets: tuple[Jet, ...]
    residuals: str
    weight: Weight


def ntk(first: str, second: str, direction: str) -> tuple[Jet, ...]:
    """Return the jets of H."""
    return ((direction, first), (direction, second))


def dntk(zero: str, one: str, two: str) -> tuple[Jet, ...]:
    """Return the jets of dH."""
    return (("ab", zero), ("a", one), ("b", two))


def ddntk_one(zero: str, one: str, two: str, three: str) -> tuple[Jet, ...]:
    """Return the jets of the first ddNTK."""
    return (("abc", zero), ("a", one), ("b", two), ("c", three))


def ddntk_two(one: str, two: str, three: str, four: str) -> tuple[Jet, ...]:
    """Return the jets of the second ddNTK."""
    return (("ab", one), ("ac", two), ("b", three), ("c", four))


def _once(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    return decay.chain(*row, *x.values())


def _never(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    return decay.chain(*row)


def _twice(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    return decay.chain(*row, x["a"], x["b"])


def _ordered(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    """H moves with b, the row with a later."""
    return _left(decay, x["a"]) * decay.chain(*row, x["a"], decay.joint(x["a"], x["b"]))


def _same_step(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    """The row moves with a and b in one step."""
    return -decay.learning_rate / 2 * decay.chain(*row, decay.joint(x["a"], x["b"]))


def _left(decay: Decay, rate: np.ndarray) -> np.ndarray:
    """What a step leaves of a residual."""
    return 1.0 - decay.learning_rate * rate


def _three_steps(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    """DH moves with c, H with b, the row with a, one after the other."""
    ab, abc = decay.joint(x["a"], x["b"]), decay.joint(x["a"], x["b"], x["c"])
    return _left(decay, x["a"]) ** 2 * _left(decay, x["b"]) * decay.chain(*row, x["a"], ab, abc)


def _first_two(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    """H moves with b and c in one step, the row with a later."""
    abc = decay.joint(x["a"], x["b"], x["c"])
    return -decay.learning_rate / 2 * _left(decay, x["a"]) * decay.chain(*row, x["a"], abc)


def _last_two(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    """DH moves with c, the row with a and b later, in one step."""
    ab, abc = decay.joint(x["a"], x["b"]), decay.joint(x["a"], x["b"], x["c"])
    return -decay.learning_rate / 2 * _left(decay, x["a"]) * _left(decay, x["b"]) * decay.chain(*row, ab, abc)


def _all_three(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
    """The row moves with a, b and c in one step."""
    return decay.learning_rate**2 / 6 * decay.chain(*row, decay.joint(x["a"], x["b"], x["c"]))


def _sum(*weights: tuple[float, Weight]) -> Weight:
    def total(decay: Decay, row: tuple, x: Mapping) -> np.ndarray:
        # At learning rate 0 only what happens at different times is left.
        kept = weights if decay.learning_rate else weights[:1]
        return np.asarray(sum(factor * weight(decay, row, x) for factor, weight in kept))

    return total


def leading() -> Event:
    """Return no event: what the leading decay leaves of the initial output of a row."""
    return Event("NTK mean", (), "", _never)


def first_order(row: str, label: str) -> Event:
    """Return the event of one fluctuation of H, which moves the row `row` by the residual of a training point."""
    return Event("NTK fluctuations", ntk(row, label, label), label, _once)


def second_order(row: str) -> tuple[Event, ...]:
    """Return the events that move a row by products whose mean is of order 1/n without another factor of z."""
    I = row  # noqa: E741
    fluctuations = (Event("NTK fluctuations", ntk(I, "a", "a") + ntk("a", "b", "b"), "b", _twice),)
    differential = (
        Event("dNTK", dntk(I, "a", "b"), "ab", _sum((1, _ordered), (1, _same_step))),
        Event("dNTK", dntk("a", I, "b"), "ab", _ordered),
    )
    one, two = ddntk_one, ddntk_two
    whole = _sum((1, _three_steps), (1, _first_two), (1, _last_two), (1, _all_three))
    second = (
        Event("ddNTK", one(I, "a", "b", "c"), "abc", whole),
        Event("ddNTK", one("a", I, "b", "c"), "abc", _sum((1, _three_steps), (1, _first_two))),
        Event("ddNTK", two(I, "a", "b", "c"), "abc", _sum((1, _three_steps), (2, _first_two), (1, _last_two))),
        Event("ddNTK", two(I, "b", "a", "c"), "abc", _sum((1, _three_steps), (1, _last_two))),
        Event("ddNTK", two("a", I, "b", "c"), "abc", _three_steps),
        Event("ddNTK", two("a", "b", I, "c"), "abc", _three_steps),
    )
    return fluctuations + differential + second


def kernel_change() -> tuple[Event, ...]:
    """Return the events that change H_IJ, to be symmetrised in I and J; their chain's row has rate 0."""
    one, two = ddntk_one, ddntk_two
    return (
        Event("dNTK", dntk("I", "J", "a"), "a", _once),
        Event("ddNTK", one("I", "J", "a", "b"), "ab", _sum((1, _ordered), (1, _same_step))),
        Event("ddNTK", two("I", "J", "a", "b"), "ab", _sum((1, _ordered), (1, _same_step))),
        Event("ddNTK", two("I", "a", "J", "b"), "ab", _ordered),
    )


def hidden_kernel_change() -> tuple[tuple[tuple[Jet, Jet], Event], ...]:
    """Return what changes the kernel G_IJ of a hidden layer, to be symmetrised: a component of G's jet, and an event.

    Along directions S the jet of G is the sum of components (S_1, I), (S_2, J) over the ways to share out S. G changes
    by -G_a z_a e in a step, to second order by G_ab z_a z_b e e / 2, and z_a moves along b.
    """
    first, second = ("a", "a"), ("b", "b")
    once, twice = _once, _sum((1, _ordered), (1, _same_step))
    return (
        ((("a", "I"), ("", "J")), Event("dNTK", (first,), "a", once)),
        ((("ab", "I"), ("", "J")), Event("ddNTK", (first, second), "ab", twice)),
        ((("a", "I"), ("b", "J")), Event("ddNTK", (first, second), "ab", twice)),
        ((("a", "I"), ("", "J")), Event("ddNTK", (("ab", "a"), second), "ab", _ordered)),
    )
