"""Gaussian expectations of one input as functions of its variance K: a float scan, and any number of digits.

A derivative with respect to K is an expectation too, d^n<f>/dK^n = <f He_2n(z/sqrt(K))>/(2K)^n with He the Hermite
polynomials (the heat equation of the Gaussian density), so that no further derivative of f is needed.
"""

from functools import lru_cache
from typing import Any

import mpmath
import numpy as np

from pdlt._jax import x64
from pdlt.activations import Activation
from pdlt.errors import PdltError
from pdlt.numerics import rules

_MAX_NODES = 30_000


class OneInput:
    """Expectations <prod_k sigma^(k)>_K of a smooth activation to a number of digits.

    The trapezoidal rule on a lattice z = j h is exponentially accurate for analytic integrands. The lattice is the
    same for all K, so that a search in K evaluates the activation once. Lattice number m has h = 2^(-m/2), and m grows
    until two neighbours agree: their ratio is irrational, so that an oscillation which is too fast for both of them
    cannot look the same on both, as it can on nested lattices.

    Args:
        activation: a smooth activation.
        digits: digits wanted, relative to the expectation of the absolute value.
    """

    def __init__(self, activation: Activation, digits: int) -> None:
        self._activation = activation
        self._digits = digits
        self._level: int | None = None
        self._sigma = lru_cache(maxsize=None)(self._evaluate)
        # Several expectations are asked for at the same K.
        self._weights = lru_cache(maxsize=8)(self._gaussian)

    def mean(self, orders: tuple[int, ...], K: Any, n: int = 0) -> Any:
        """Return d^n/dK^n <prod_{k in orders} sigma^(k)>_K as an mpmath number; K > 0.

        Raises:
            PdltError: if the integral cannot be resolved.
        """
        with mpmath.workdps(self._digits + 15):
            deviation = mpmath.sqrt(K)
            # The last lattice that was fine enough is likely to be so again.
            level = int(mpmath.ceil(-2 * mpmath.log(deviation / 2, 2)))
            level = level if self._level is None else max(level, self._level)
            previous = None
            while True:
                value, size = self._sum(orders, deviation, n, level)
                if previous is not None and abs(value - previous) <= mpmath.mpf(10) ** -self._digits * size:
                    self._level = level - 1
                    return value / (2 * K) ** n
                previous, level = value, level + 1

    def _sum(self, orders: tuple[int, ...], deviation: Any, n: int, level: int) -> tuple[Any, Any]:
        """Return the sum over the lattice number `level`, and the sum of absolute values."""
        small = mpmath.mpf(10) ** -(self._digits + 5)
        reach = mpmath.sqrt(-2 * mpmath.log(small)) + 2
        for _ in range(4):
            last = int(mpmath.ceil(reach * deviation / _node(1, level)))
            if last > _MAX_NODES:
                break
            weights = self._weights(deviation, level, last)
            terms = []
            for j in range(-last, last + 1):
                term = weights[abs(j)]
                if n:
                    term *= _hermite(2 * n, _node(j, level) / deviation)
                for k in orders:
                    term *= self._sigma(k, j, level)
                terms.append(term)
            size = mpmath.fsum(terms, absolute=True)
            # An activation that grows fast moves the bulk of the integral outwards.
            if max(abs(terms[0]), abs(terms[-1])) <= small * size:
                return mpmath.fsum(terms), size
            reach *= mpmath.mpf(3) / 2
        raise PdltError(
            f"Argument `activation` must vary and grow moderately for Gaussian expectations to {self._digits} digits, "
            f"but those of {self._activation.to_text()} at K = {mpmath.nstr(deviation**2, 6)} cannot be resolved."
        )

    def _gaussian(self, deviation: Any, level: int, last: int) -> list[Any]:
        """Return the weights of the nodes number 0 ... last."""
        step = _node(1, level) / deviation
        norm = step / mpmath.sqrt(2 * mpmath.pi)
        return [norm * mpmath.exp(-((j * step) ** 2) / 2) for j in range(last + 1)]

    def _evaluate(self, k: int, j: int, level: int) -> Any:
        if j and j % 2 == 0:
            return self._sigma(k, j // 2, level - 2)
        return self._activation.mpmath(k)(_node(j, level))


def _node(j: int, level: int) -> Any:
    half, odd = divmod(level, 2)
    z = mpmath.ldexp(j, -half)
    return z / mpmath.sqrt(2) if odd else z


def _hermite(degree: int, u: Any) -> Any:
    before, now = mpmath.mpf(0), mpmath.mpf(1)
    for k in range(degree):
        before, now = now, u * now - k * before
    return now


def scan(activation: Activation, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return <sigma sigma''>_K in double precision for many K at once, and an estimate of its numerical error.

    Args:
        activation: a smooth activation.
        kernels: values of K, shape (M,).

    Returns:
        Two arrays of shape (M,); the error is infinite where the expectation is out of reach.
    """
    import jax.numpy as jnp

    values = []
    for level in (5, 6):
        rule = rules.trapezoid(1, level)
        z = np.sqrt(kernels)[:, None] * rule.nodes[:, 0]
        with x64():
            sigma, second = (np.asarray(activation.jax(k)(jnp.asarray(z))) for k in (0, 2))
        with np.errstate(all="ignore"):
            values.append((sigma * second) @ rule.weights)
            # |<f g>| <= sqrt(<f f> <g g>): the scale of rounding errors.
            scale = np.sqrt((sigma**2 @ rule.weights) * (second**2 @ rule.weights))
    with np.errstate(all="ignore"):
        error = np.abs(values[1] - values[0]) + 1e-14 * scale
    fine = np.isfinite(values[1]) & np.isfinite(error)
    return np.where(fine, values[1], 0.0), np.where(fine, error, np.inf)


def kernel_path(activation: Activation, C_b: float, C_W: float, first: float, depth: int) -> np.ndarray:
    """Return K, <sigma sigma>_K and chi_perp = C_W <sigma' sigma'>_K of layers 1 ... depth on one input.

    Args:
        activation: any activation, kinks included.
        C_b, C_W: variances at initialisation, equal in all layers but the first, which is given by `first`.
        first: K of layer 1.
        depth: number of layers.

    Returns:
        Array of shape (3, depth): K^(l+1) = C_b + C_W <sigma sigma>_{K^(l)}, in double precision.

    Raises:
        PdltError: if two resolutions of the integrals do not agree.
    """
    if activation.slopes is not None:
        slope = sum(float(s) ** 2 for s in activation.slopes) / 2
        K = [first]
        for _ in range(depth - 1):
            K.append(C_b + C_W * slope * K[-1])
        return np.array([K, [slope * k for k in K], [C_W * slope] * depth])
    previous = _path(activation, C_b, C_W, first, depth, level=3)
    for level in (4, 5, 6):
        path = _path(activation, C_b, C_W, first, depth, level)
        if not np.isfinite(path).all() or np.allclose(path, previous, rtol=1e-10, atol=0):
            return path
        previous = path
    raise PdltError(
        f"Argument `activation`: the kernel of {activation.to_text()} through {depth} layers from K = {first:g} cannot "
        "be integrated to ten digits. Start from a smaller kernel, or scale the activation's argument."
    )


def _path(activation: Activation, C_b: float, C_W: float, first: float, depth: int, level: int) -> np.ndarray:
    import jax
    import jax.numpy as jnp

    rule = rules.trapezoid(1, level)
    with x64():
        nodes, weights = jnp.asarray(rule.nodes[:, 0]), jnp.asarray(rule.weights)

        def layer(K: Any, _: None) -> tuple[Any, Any]:
            z = jnp.sqrt(K) * nodes
            square = weights @ activation.jax(0)(z) ** 2
            slope = C_W * (weights @ activation.jax(1)(z) ** 2)
            return C_b + C_W * square, jnp.stack([K, square, slope])

        return np.asarray(jax.lax.scan(layer, jnp.asarray(first, dtype=float), length=depth)[1]).T
