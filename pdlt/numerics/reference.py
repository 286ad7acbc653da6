"""Slow twin of the Gaussian expectations: direct integration at any precision, sharing no rule with the fast methods.

Smooth activations are integrated by composite Gauss-Legendre panels in conditional (Cholesky) coordinates, kinked
ones by `reference_kinked`. The activation's derivatives are evaluated by mpmath. Up to 15 digits mpmath's machine
floats are used, which lose two or three of them to rounding; above, its multiprecision numbers.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import mpmath
import numpy as np

from pdlt.activations import Activation, program
from pdlt.errors import PdltError
from pdlt.numerics.reference_kinked import Block, Kinked

MACHINE_DIGITS = 15
NODES_PER_PANEL = 16
MAX_SMOOTH_INPUTS, MAX_KINKED_INPUTS = 3, 2


def context(digits: int) -> Any:
    """Return the mpmath context for a precision: machine floats up to 15 digits, else multiprecision."""
    return mpmath.fp if digits <= MACHINE_DIGITS else mpmath.mp


def averages(
    activation: Activation, kernel: Any, wanted: Sequence[tuple], digits: int = 15, pointwise: bool = False
) -> list[np.ndarray]:
    """Return Gaussian expectations as arrays, one axis of length N per label.

    Args:
        activation: the activation.
        kernel: covariance of the N inputs, shape (N, N); singular is fine for smooth activations.
        wanted: expectations as in `pdlt.codegen.program.Average`. A derivative outside the product acts on all
            factors of its input; where inputs coincide it is carried by the first of the coinciding axes.
        digits: significant digits of the integration rule.
        pointwise: drop the Dirac atoms of kinked activations inside products.

    Returns:
        Arrays of float64, or of mpmath numbers if `digits` exceeds 15.

    Raises:
        PdltError: for more than three different inputs (two for kinked activations, whose kernel must also be
            regular): the direct integrals would take hours.
    """
    inputs = len(kernel)
    limit = MAX_SMOOTH_INPUTS if activation.is_smooth else MAX_KINKED_INPUTS
    if min(inputs, max(len(average) for average in wanted)) > limit:
        raise PdltError(f"Argument `x` must have at most {limit} inputs for the slow twin, but has {inputs}.")
    if digits > MACHINE_DIGITS:
        with mpmath.workdps(digits + 10):
            return _averages(activation, kernel, wanted, digits, pointwise)
    return _averages(activation, kernel, wanted, digits, pointwise)


def _averages(
    activation: Activation, kernel: Any, wanted: Sequence[tuple], digits: int, pointwise: bool
) -> list[np.ndarray]:
    ctx = context(digits)
    matrix = [[ctx.mpf(entry) for entry in row] for row in kernel]
    value: Any
    if activation.slopes is None:
        value = _Smooth(activation, matrix, wanted, digits)
    else:
        minus, plus = (float(s) for s in activation.slopes)
        value = Kinked((minus, plus), matrix, pointwise)
    known: dict[Any, Any] = {}
    result = []
    for average in wanted:
        array = np.empty((len(matrix),) * len(average), dtype=float if ctx is mpmath.fp else object)
        for entry in np.ndindex(*array.shape):
            blocks = _blocks(entry, average)
            key = None if blocks is None else tuple(sorted(blocks.items()))
            if key not in known:
                known[key] = ctx.mpf(0) if blocks is None else value(blocks)
            array[entry] = known[key]
        result.append(array)
    return result


def _blocks(entry: tuple[int, ...], average: tuple) -> dict[int, Block] | None:
    """Return the factors of each input, or None if a derivative is carried by a later one of coinciding axes."""
    blocks: dict[int, Block] = {}
    for i, (p, ks) in zip(entry, average, strict=True):
        if i in blocks and p:
            return None
        first, orders = blocks.get(i, (p, ()))
        blocks[i] = (first, tuple(sorted(orders + ks)))
    return blocks


class _Smooth:
    """E prod_i d^p_i (prod sigma^(k))(z_i) for a smooth activation, on one grid per set of inputs."""

    def __init__(self, activation: Activation, kernel: list[list[Any]], wanted: Sequence[tuple], digits: int) -> None:
        self._ctx = context(digits)
        self._programs = lru_cache(maxsize=None)(lambda k: program.compile_expression(activation.derivative(k)))
        self._kernel = kernel
        self._digits = digits
        self._values: dict[tuple, np.ndarray] = {}
        self._coordinates: dict[tuple[int, ...], list[np.ndarray]] = {}
        self._line, self._weights = self._resolve(wanted)

    def __call__(self, blocks: dict[int, Block]) -> Any:
        inputs = tuple(sorted(blocks))
        total = self._ctx.mpf(0)
        for choice in itertools.product(*(_leibniz(*blocks[i]).items() for i in inputs)):
            weight = prod(count for _, count in choice)
            total += weight * self._product(inputs, tuple(orders for orders, _ in choice))
        return total

    def _product(self, inputs: tuple[int, ...], orders: tuple[tuple[int, ...], ...]) -> Any:
        """Integrate from the last coordinate, which only the last input's field depends on, to the first."""
        inner: Any = 1
        for axis in reversed(range(len(inputs))):
            column = self._derivatives(inputs, axis, orders[axis]) * inner
            inner = column @ self._weights if column.shape[-1] > 1 else column[..., 0]
        return inner.item() if isinstance(inner, np.ndarray) else inner

    def _derivatives(self, inputs: tuple[int, ...], axis: int, orders: tuple[int, ...]) -> np.ndarray:
        key = (inputs[: axis + 1], orders)
        if key not in self._values:
            if len(orders) == 1:
                z = self._fields(inputs[: axis + 1])[axis]
                steps, ctx = self._programs(orders[0]), self._ctx
                flat = [program.run_mpmath(steps, value, ctx) for value in z.reshape(-1).tolist()]
                self._values[key] = np.array(flat, dtype=z.dtype).reshape(z.shape)
            else:
                rest = self._derivatives(inputs, axis, orders[1:])
                self._values[key] = self._derivatives(inputs, axis, orders[:1]) * rest
        return self._values[key]

    def _fields(self, inputs: tuple[int, ...]) -> list[np.ndarray]:
        """Return z of each input on the grid: that of input number a has a + 1 axes, of length 1 if degenerate."""
        if inputs not in self._coordinates:
            *front, last = inputs
            fields = self._fields(tuple(front)) if front else []
            row = _cholesky(self._ctx, [[self._kernel[i][j] for j in inputs] for i in inputs])[-1]
            noises = [row[-1] * self._line if row[-1] else np.zeros_like(self._line[:1])]
            z = noises[0].reshape((1,) * len(front) + (-1,))
            for axis, slope in enumerate(row[:-1]):
                # The standard variable behind an earlier input, whose own conditional deviation may vanish.
                degenerate = fields[axis].shape[axis] == 1
                line = np.zeros_like(self._line[:1]) if degenerate else self._line
                z = z + (slope * line).reshape((1,) * axis + (-1,) + (1,) * (len(front) - axis))
            self._coordinates[inputs] = [*fields, z]
        return self._coordinates[inputs]

    def _resolve(self, wanted: Sequence[tuple]) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes and weights on a line, refined until every one-input integral agrees with twice the panels.

        No field varies faster along any coordinate than that of the input of largest variance, so the product rule
        inherits the accuracy.
        """
        largest = self._ctx.sqrt(max(self._kernel[i][i] for i in range(len(self._kernel))))
        blocks = {(sum(p for p, _ in a), tuple(sorted(k for _, ks in a for k in ks))) for a in wanted}
        orders = sorted({o for block in blocks for o in _leibniz(*block)})
        panels, previous = 4, None
        while panels <= 1024:
            line, weights = _gauss_legendre_panels(panels, self._digits)
            values = [
                np.array([program.run_mpmath(self._programs(k), largest * u, self._ctx) for u in line.tolist()])
                for k in range(1 + max(k for o in orders for k in o))
            ]
            now = [prod(values[k] for k in o) @ weights for o in orders]
            sizes = [prod(abs(values[k]) for k in o) @ weights * 10.0 ** (2 - self._digits) for o in orders]
            if previous and all(abs(a - b) <= size for a, b, size in zip(now, previous, sizes, strict=True)):
                return _gauss_legendre_panels(panels // 2, self._digits)
            panels, previous = 2 * panels, now
        raise PdltError(f"Argument `digits`: {self._digits} digits are out of reach at kernel {float(largest) ** 2:g}.")


def _leibniz(p: int, orders: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Return the p-th derivative of prod_k sigma^(k) as {orders: multiplicity}."""
    terms: Counter[tuple[int, ...]] = Counter({tuple(sorted(orders)): 1})
    for _ in range(p):
        following: Counter[tuple[int, ...]] = Counter()
        for current, weight in terms.items():
            for i in range(len(current)):
                following[tuple(sorted((*current[:i], current[i] + 1, *current[i + 1 :])))] += weight
        terms = following
    return terms


def _cholesky(ctx: Any, matrix: list[list[Any]]) -> list[list[Any]]:
    """Return the lower triangular root; a pivot that is zero up to rounding gives a zero column."""
    size = len(matrix)
    root = [[ctx.mpf(0)] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(root[i][k] * root[j][k] for k in range(j))
            if i != j:
                root[i][j] = rest / root[j][j] if root[j][j] else ctx.mpf(0)
            elif rest > 16 * ctx.eps * matrix[i][i]:
                root[i][i] = ctx.sqrt(rest)
    return root


@lru_cache(maxsize=64)
def _gauss_legendre_panels(panels: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for a standard Gaussian on a line cut where its tail is below `digits` digits."""
    ctx = context(digits)
    nodes, weights = _gauss_legendre(NODES_PER_PANEL, digits)
    # Activations and their products grow at most like low powers; five digits more take care of that.
    radius = ctx.sqrt(2 * (digits + 5) * ctx.log(10))
    half = radius / panels
    line, mass = [], []
    for panel in range(panels):
        centre = (2 * panel + 1) * half - radius
        for x, w in zip(nodes, weights, strict=True):
            u = centre + half * x
            line.append(u)
            mass.append(w * half * ctx.exp(-(u**2) / 2) / ctx.sqrt(2 * ctx.pi))
    dtype = float if ctx is mpmath.fp else object
    return np.array(line, dtype=dtype), np.array(mass, dtype=dtype)


@lru_cache(maxsize=16)
def _gauss_legendre(count: int, digits: int) -> tuple[list[Any], list[Any]]:
    """Return the Gauss-Legendre rule on [-1, 1] by Newton's method on Bonnet's recursion."""
    ctx = context(digits)
    nodes, weights = [], []
    with mpmath.workdps(digits + 15):
        for i in range(count):
            x = mpmath.cos(mpmath.pi * (i + mpmath.mpf(3) / 4) / (count + mpmath.mpf(1) / 2))
            for _ in range(12):
                value, slope = _legendre(count, x)
                x -= value / slope
            _, slope = _legendre(count, x)
            nodes.append(ctx.mpf(x))
            weights.append(ctx.mpf(2 / ((1 - x**2) * slope**2)))
    return nodes, weights


def _legendre(n: int, x: Any) -> tuple[Any, Any]:
    before, now = mpmath.mpf(1), x
    for k in range(2, n + 1):
        before, now = now, ((2 * k - 1) * x * now - (k - 1) * before) / k
    return now, n * (x * now - before) / (x**2 - 1)
