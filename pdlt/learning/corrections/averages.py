"""Averages of trained networks at order 1/n as sums over diagrams: which events, and how they act on rows."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pdlt.learning.corrections.chains import Decay
from pdlt.learning.corrections.diagrams import TRAINING, Diagram, Placed, diagrams
from pdlt.learning.corrections.events import (
    Event,
    Weight,
    first_order,
    hidden_kernel_change,
    kernel_change,
    leading,
    second_order,
)

#: The letter of the points onto which a row is carried.
_POINT = {"I": "p", "J": "q"}


@dataclass(frozen=True)
class Factor:
    """What one row of a result contributes to the weight of a diagram.

    Attributes:
        row: "I" or "J"; "" for kernels, whose rows do not move.
        weight: see `pdlt.learning.corrections.events.Weight`.
        labels: the labels of the diagram (not of the event) whose rates it depends on.
        names: the event's name of each of them.
    """

    row: str
    weight: Weight
    labels: str
    names: tuple[tuple[str, str], ...]

    def table(self, decay: Decay, rates: np.ndarray) -> np.ndarray:
        """Return the weight, one axis per label, in front of them for a row: rates of the row's chain, at last none.

        A row of the result is a point: what happens to it directly has the rate 0 of a function that nothing damps;
        what happens to training points, with their rates, moves it through Theta.
        """
        depth = len(self.labels)
        named = {
            name: rates.reshape([-1 if d == self.labels.index(label) else 1 for d in range(depth)])
            for label, name in self.names
            if label in self.labels
        }
        shape = (len(rates),) * depth
        zero = np.zeros(())
        own = np.broadcast_to(self.weight(decay, (zero,), named), shape)
        if not self.row:
            return own
        through = self.weight(decay, (zero, rates.reshape((-1,) + (1,) * depth)), named)
        return np.concatenate([np.broadcast_to(through, (len(rates), *shape)), own[None]])


@dataclass(frozen=True)
class Contribution:
    """One diagram of an average: coefficient, diagram, the factors of its weight, and the part it belongs to."""

    coefficient: int
    diagram: Diagram
    factors: tuple[Factor, ...]
    part: str


@lru_cache(maxsize=8)
def mean() -> tuple[Contribution, ...]:
    """Return the diagrams of E z_I(t)."""
    return tuple(
        _contribution(placed, event.part, ("I", event))
        for event in second_order("I")
        for placed in diagrams(event.jets, event.residuals)
    )


@lru_cache(maxsize=8)
def covariance() -> tuple[Contribution, ...]:
    """Return the diagrams of Cov(z_I(t), z_J(t)) in which only I is moved by fluctuations: to be symmetrised."""
    return tuple(
        _contribution(placed, event.part, ("I", event), ("J", leading()))
        for event in (first_order("I", "a"), *second_order("I"))
        for placed in diagrams(event.jets, event.residuals, "J")
    )


@lru_cache(maxsize=8)
def covariance_of_moves() -> tuple[Contribution, ...]:
    """Return the diagrams of Cov(z_I(t), z_J(t)) in which fluctuations of H move both."""
    first, second = first_order("I", "a"), first_order("J", "b")
    return tuple(
        _contribution(placed, first.part, ("I", first), ("J", second))
        for placed in diagrams(first.jets + second.jets, first.residuals + second.residuals)
    )


@lru_cache(maxsize=8)
def change_of_kernel() -> tuple[Contribution, ...]:
    """Return the diagrams of E[H_IJ(t) - H_IJ(0)], to be symmetrised."""
    return tuple(
        _contribution(placed, event.part, ("", event))
        for event in kernel_change()
        for placed in diagrams(event.jets, event.residuals)
    )


@lru_cache(maxsize=8)
def change_of_hidden_kernel() -> tuple[Contribution, ...]:
    """Return the diagrams of E[G_IJ(t) - G_IJ(0)] in a hidden layer, to be symmetrised."""
    return tuple(
        _contribution(placed, event.part, ("", event))
        for observed, event in hidden_kernel_change()
        for placed in diagrams(event.jets, event.residuals, observed=observed)
    )


def _contribution(placed: Placed, part: str, *movers: tuple[str, Event]) -> Contribution:
    names = placed.names
    factors = []
    for row, event in movers:
        own = {label for _, label in event.jets if label in TRAINING} | set(event.residuals)
        labels = "".join(label for label, name in sorted(names) if name in own)
        factors.append(Factor(row, event.weight, labels, names))
    return Contribution(placed.coefficient, placed.diagram, tuple(factors), part)


@dataclass(frozen=True)
class Rows:
    """How rows of amplitudes become rows of results: points of the user.

    Attributes:
        onto: shape (k + 1, P, M): through Theta from training inputs for each representative rate; last, directly.
        rates: shape (k,).
    """

    onto: np.ndarray
    rates: np.ndarray


def weigh(
    contributions: tuple[Contribution, ...],
    amplitudes: dict[Diagram, tuple[np.ndarray, str]],
    rows: Rows,
    decay: Decay,
    outputs: int,
    sizes: bool = False,
) -> dict[str, np.ndarray]:
    """Return the sum over diagrams at one time, by part.

    Args:
        contributions: one of the lists of this module.
        amplitudes: values and letters of all their diagrams, with an axis of replicas ("r") in front.
        rows: of results.
        decay: the time.
        outputs: n_L.
        sizes: add up absolute values instead.

    Returns:
        Arrays with axes: replicas, rows ("I", then "J"), then their outputs ("i", then "j").
    """
    known: dict[Factor, np.ndarray] = {}
    sums: dict[tuple, Any] = {}
    for c in contributions:
        key = (c.part, c.diagram, tuple((f.row, f.labels) for f in c.factors))
        for factor in c.factors:
            if factor not in known:
                known[factor] = factor.table(decay, rows.rates)
        tables = [known[factor] for factor in c.factors]
        if len(tables) == 1:
            sums[key] = sums.get(key, 0.0) + c.coefficient * tables[0]
        else:
            # Only the first factor differs between contributions of one key: the second is leading, or the only one.
            first, second = sums.get(key, (0.0, tables[1]))
            sums[key] = (first + c.coefficient * tables[0], second)
    found: dict[str, Any] = {}
    for (part, diagram, factors), tables in sums.items():
        array, letters = amplitudes[diagram]
        operands = [(np.abs(array) if sizes else array, letters)]
        target = "".join(letter for letter in letters if letter not in TRAINING)
        for k, (row, labels), table in zip("kl", factors, tables if len(factors) > 1 else (tables,), strict=False):
            operands.append((np.abs(table) if sizes else table, (k if row else "") + labels))
            if row:
                operands.append((np.abs(rows.onto) if sizes else rows.onto, k + _POINT[row] + row))
                target = target.replace(row, _POINT[row])
        script = ",".join(names for _, names in operands) + "->" + target
        value = np.einsum(script, *(a for a, _ in operands), optimize="optimal")
        if len(diagram.rows) == 2 and "i" not in letters:
            # The rows share one output, whichever it is.
            value = value[..., None, None] * np.eye(outputs)
        found[part] = found.get(part, 0.0) + value
    return found
