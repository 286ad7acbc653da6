"""Which method integrates which activation: one small class per method, all with the same five members.

A backend turns the kernel into the Gaussian expectations a program asks for. It has `levels`: run at two
neighbouring levels, the difference estimates the error of the coarser one. `statistical` backends have independent
replicates instead, whose scatter is the error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import sympy

from pdlt.activations import Activation, z
from pdlt.errors import PdltError
from pdlt.numerics import error_function, piecewise_linear, quadrature, rules, trigonometric

#: Data handed to compiled code: nodes and weights by dimension.
Data = dict[int, tuple[np.ndarray, np.ndarray]]

METHODS = ("auto", "closed", "quadrature", "qmc")

#: Above this many subsets of inputs, integrating each on a grid costs more than it is worth.
MAX_SUBSETS = 100

MAX_GRID_DIMENSION = 4


class Backend(Protocol):
    """What `predict` needs of a method.

    Attributes:
        name: shown to the user.
        levels: number of levels (or replicates).
        statistical: whether levels are independent replicates.
    """

    @property
    def name(self) -> str: ...

    @property
    def levels(self) -> int: ...

    @property
    def statistical(self) -> bool: ...

    def data(self, level: int, inputs: int, wanted: Sequence[tuple]) -> Data:
        """Return the arrays that `averages` needs at a level; equal shapes share compiled code."""
        ...

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        """Return the expectations under `kernel` (N, N), one axis of length N per label."""
        ...


@dataclass(frozen=True)
class Quadrature:
    """Trapezoidal rule: exponentially accurate for analytic activations.

    The largest dimension has the fewest levels; lower ones, where nodes are cheap, use their finest as many, so that
    every level is finer than the one before in all of them.
    """

    activation: Activation
    levels: int
    name: str = "quadrature"
    statistical: bool = False

    def data(self, level: int, inputs: int, wanted: Sequence[tuple]) -> Data:
        result = {}
        for d in quadrature.dimensions(wanted, inputs, joint=False):
            first = len(rules.TRAPEZOID_POINTS[d]) - self.levels
            rule = rules.trapezoid(d, first + level)
            if level == 0:
                rule = rules.padded(rule, len(rules.trapezoid(d, first + 1).weights))
            result[d] = (rule.nodes, rule.weights)
        return result

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        return quadrature.averages(self.activation.jax, kernel, wanted, data)


@dataclass(frozen=True)
class Polynomial:
    """Gauss-Hermite quadrature of sufficient degree, which is exact for polynomial activations."""

    activation: Activation
    name: str = "closed"
    levels: int = 1
    statistical: bool = False

    def data(self, level: int, inputs: int, wanted: Sequence[tuple]) -> Data:
        factors = max(sum(len(ks) for _, ks in average) for average in wanted)
        degree = factors * (self.activation.polynomial_degree or 0)
        exact = {d: rules.hermite(d, degree) for d in quadrature.dimensions(wanted, inputs, joint=False)}
        return {d: (rule.nodes, rule.weights) for d, rule in exact.items()}

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        return quadrature.averages(self.activation.jax, kernel, wanted, data)


@dataclass(frozen=True)
class Trigonometric:
    """Exact for sin (phase 0) and cos (phase 1)."""

    phase: int
    name: str = "closed"
    levels: int = 1
    statistical: bool = False

    def data(self, level: int, inputs: int, wanted: Sequence[tuple]) -> Data:
        return {}

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        return trigonometric.averages(self.phase, kernel, wanted)


@dataclass(frozen=True)
class _Orthant:
    """Shared by the closed forms with one remaining integral: its Gauss-Legendre nodes grow with the level."""

    name: str = "closed"
    levels: int = 3
    statistical: bool = False

    def data(self, level: int, inputs: int, wanted: Sequence[tuple]) -> Data:
        return {0: rules.legendre(level)}


@dataclass(frozen=True)
class ErrorFunction(_Orthant):
    """Arcsine-type closed forms for erf."""

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        return error_function.averages(kernel, wanted, data[0])


@dataclass(frozen=True)
class PiecewiseLinear(_Orthant):
    """Arc-cosine-type closed forms for ReLU and its relatives, Dirac atoms included."""

    slopes: tuple[float, float] = (0.0, 1.0)
    pointwise: bool = False

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        return piecewise_linear.averages(self.slopes, self.pointwise, kernel, wanted, data[0])


@dataclass(frozen=True)
class QuasiMonteCarlo:
    """Scrambled Sobol' points over all inputs at once, for what grids cannot afford."""

    activation: Activation
    log2_points: int = 14
    name: str = "qmc"
    levels: int = 8
    statistical: bool = True

    def data(self, level: int, inputs: int, wanted: Sequence[tuple]) -> Data:
        rule = rules.sobol(inputs, self.log2_points, level)
        return {inputs: (rule.nodes, rule.weights)}

    def averages(self, kernel: jax.Array, wanted: Sequence[tuple], data: Any) -> tuple[jax.Array, ...]:
        return quadrature.averages(self.activation.jax, kernel, wanted, data, joint=True)


#: Closed forms by the activation's expression; a new one is a row here and a module beside this one.
CLOSED_FORMS: dict[sympy.Expr, Backend] = {
    sympy.sin(z): Trigonometric(0),
    sympy.cos(z): Trigonometric(1),
    sympy.erf(z): ErrorFunction(),
}


def choose(
    activation: Activation, inputs: int, wanted: Sequence[tuple], method: str = "auto", pointwise: bool = False
) -> Backend:
    """Return the backend for an activation, a number of distinct inputs and the expectations wanted.

    Args:
        method: "auto" takes a closed form where there is one, else quadrature while a grid over up to four inputs
            at a time is affordable, else quasi-Monte Carlo. "closed", "quadrature" and "qmc" insist.
        pointwise: for kinked activations, see `pdlt.numerics.piecewise_linear`.

    Raises:
        PdltError: for an unknown method, or one that does not apply.
    """
    if method not in METHODS:
        raise PdltError(f"Argument `method` must be one of {', '.join(METHODS)}, but got {method!r}.")
    closed = _closed(activation, inputs, wanted, pointwise)
    if activation.slopes is not None and (method in ("quadrature", "qmc") or closed is None):
        raise PdltError(
            f"Argument `method`: {activation.name} has a kink, so its expectations are evaluated in closed form, which "
            f"exists for expectations of up to four distinct inputs; method {method!r} cannot see the Dirac atoms."
        )
    if closed and method in ("auto", "closed"):
        return closed
    if method == "closed":
        raise PdltError(f"Argument `method`: no closed form is known for {activation.name}; use 'auto'.")
    dimensions = quadrature.dimensions(wanted, inputs, joint=False)
    affordable = max(dimensions) <= MAX_GRID_DIMENSION and (
        max(dimensions) <= 2 or comb(inputs, max(dimensions)) <= MAX_SUBSETS
    )
    if method == "quadrature" and max(dimensions) > MAX_GRID_DIMENSION:
        raise PdltError(
            f"Argument `method`: quadrature over {max(dimensions)} inputs at once is not affordable; use 'qmc'."
        )
    if method == "quadrature" or (method == "auto" and affordable):
        return Quadrature(activation, levels=min(len(rules.TRAPEZOID_POINTS[d]) for d in dimensions))
    return QuasiMonteCarlo(activation)


def _closed(activation: Activation, inputs: int, wanted: Sequence[tuple], pointwise: bool) -> Backend | None:
    labels = max(len(average) for average in wanted)
    if activation.slopes is not None:
        minus, plus = (float(s) for s in activation.slopes)
        return PiecewiseLinear(slopes=(minus, plus), pointwise=pointwise) if min(labels, inputs) <= 4 else None
    if activation.polynomial_degree is not None:
        return Polynomial(activation) if min(labels, inputs) <= MAX_GRID_DIMENSION else None
    known = CLOSED_FORMS.get(activation.expr)
    factors = max(sum(len(ks) for _, ks in average) for average in wanted)
    if isinstance(known, ErrorFunction) and factors > 4:
        return None
    return known


def evaluate(
    backend: Backend, kernel: Any, wanted: Sequence[tuple], rtol: float = 1e-8
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return expectations and error estimates for one kernel, refining until `rtol` or the last level is reached.

    Args:
        backend: from `choose`.
        kernel: covariance of the N distinct inputs, shape (N, N).
        wanted: expectations as in `pdlt.codegen.program.Average`.
        rtol: relative to the largest entry of each expectation.
    """
    kernel = jnp.asarray(kernel)

    def at(level: int) -> list[np.ndarray]:
        data = backend.data(level, kernel.shape[0], wanted)
        return [np.asarray(a) for a in backend.averages(kernel, wanted, data)]

    return refine(at, backend, rtol)


def refine(
    at: Callable[[int], list[np.ndarray]], backend: Backend, rtol: float, layered: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Run levels of a backend until successive results agree; return the finest results and their errors.

    Args:
        at: level -> list of arrays.
        backend: supplies `levels` and `statistical`.
        rtol: agreement wanted, in the sense of `relative_error`.
        layered: whether the first axis of the arrays is the layer.
    """
    if backend.statistical:
        stack = [at(level) for level in range(backend.levels)]
        arrays = [np.stack(arrays) for arrays in zip(*stack, strict=True)]
        return [a.mean(0) for a in arrays], [a.std(0, ddof=1) / np.sqrt(len(a)) for a in arrays]
    values = at(0)
    errors = [np.abs(v) * np.finfo(float).eps for v in values]
    for level in range(1, backend.levels):
        finer = at(level)
        with np.errstate(invalid="ignore"):  # an overflow is reported by the caller, who knows the layer
            coarser, errors = errors, [np.abs(f - v) for f, v in zip(finer, values, strict=True)]
        values = finer
        if all(relative_error(v, e, layered) <= rtol for v, e in zip(values, errors, strict=True)):
            return values, errors
    if backend.levels > 2:
        # No level is left to show the error of this one; differences shrink at least geometrically.
        errors = [e * _shrinkage(e, c) for e, c in zip(errors, coarser, strict=True)]
    return values, errors


def _shrinkage(error: np.ndarray, coarser: np.ndarray) -> float:
    now, before = (float(np.nan_to_num(e, posinf=0.0).max()) for e in (error, coarser))
    return min(1.0, now / before) if before > 0 else 1.0


def relative_error(value: np.ndarray, error: np.ndarray, layered: bool = False) -> float:
    """Return the largest error relative to the largest entry, of the array or (the worst) of its layers.

    Undefined entries (nan) do not count; an array that is zero has its error taken as it is.
    """
    finite = np.isfinite(value) & np.isfinite(error)
    axes = tuple(range(1 if layered else 0, value.ndim))
    largest = np.abs(np.where(finite, value, 0.0)).max(axis=axes)
    wrong = np.where(finite, error, 0.0).max(axis=axes)
    return float((wrong / np.where(largest > 0, largest, 1.0)).max())
