"""Networks of finite width as pure functions of their parameters, the weights at initialisation among the arguments.

Parameters are written as in `pdlt.ensemble.network`: W = W_0 + sqrt(lambda_W / n_{l-1}) xi and
b = b_0 + sqrt(lambda_b) xi, with xi = 0 at initialisation. Plain gradient flow in xi is then
theta' = -lambda grad in the parameters theta, the tangent kernel is J J^T with J = dz/dxi, and a parameter with
lambda = 0 stays where it is.

Everything here may be jitted and mapped over: `jax.vmap(architecture.draw)(keys)` is an ensemble.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax

from pdlt.activations import Activation
from pdlt.finite.memory import check_memory
from pdlt.networks import MLP

Array = Any

#: Arrays of the size of a Jacobian that are held where its singular values are taken: it, whitened, its factors.
SVD_COPIES = 5

#: (W, b) of every layer, first layer first: shapes (n_l, n_{l-1}) and (n_l,).
Weights = tuple[tuple[Array, Array], ...]


class PureModel(Protocol):
    """What is asked of the pure function behind a model; hashable, so that jit can take it as a static argument."""

    @property
    def outputs(self) -> int:
        """n_L."""

    @property
    def size(self) -> int:
        """The number P of parameters."""

    def evaluate(self, arrays: Any, xi: Array, x: Array) -> Array:
        """Return the outputs, shape (N, n_L), at parameters xi (P,) for inputs (N, n_0)."""


@dataclass(frozen=True)
class Architecture:
    """What a network is before its weights are drawn; hashable, so that jit can take it as a static argument.

    Attributes:
        net: depth, hidden widths, activation, initialisation and learning rates.
        inputs: n_0.
        outputs: n_L.
    """

    net: MLP
    inputs: int
    outputs: int

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(n_l, n_{l-1}) of every layer."""
        widths = (self.inputs, *self.net.width, self.outputs)
        return tuple(zip(widths[1:], widths[:-1]))

    @property
    def size(self) -> int:
        """The number P of parameters."""
        return sum(rows * (columns + 1) for rows, columns in self.shapes)

    def draw(self, key: Array) -> Weights:
        """Return weights ~ N(0, C_W / n_{l-1}) and biases ~ N(0, C_b)."""
        keys = jax.random.split(key, 2 * self.net.depth)
        return tuple(
            (
                math.sqrt(C_W / shape[1]) * jax.random.normal(weight_key, shape),
                math.sqrt(C_b) * jax.random.normal(bias_key, shape[:1]),
            )
            for shape, C_b, C_W, weight_key, bias_key in zip(
                self.shapes, self.net.C_b, self.net.C_W, keys[::2], keys[1::2]
            )
        )

    def moved(self, weights: Weights, xi: Array) -> Weights:
        """Return the weights and biases at the parameters xi, shape (P,)."""
        found, at = [], 0
        for (weight, bias), lambda_b, lambda_W in zip(weights, self.net.lambda_b, self.net.lambda_W):
            rows, columns = weight.shape
            step = xi[at : at + weight.size].reshape(weight.shape)
            at += weight.size
            found.append(
                (weight + math.sqrt(lambda_W / columns) * step, bias + math.sqrt(lambda_b) * xi[at : at + rows])
            )
            at += rows
        return tuple(found)

    def evaluate(self, weights: Weights, xi: Array, x: Array) -> Array:
        """Return the outputs z^(L), shape (N, n_L), for inputs of shape (N, n_0)."""
        sigma = _pointwise(self.net.activation, 0) if self.net.activation.slopes else self.net.activation.jax(0)
        state = x
        for layer, (weight, bias) in enumerate(self.moved(weights, xi)):
            state = (state if layer == 0 else sigma(state)) @ weight.T + bias[None, :]
        return state


@dataclass(frozen=True)
class LinearisedArchitecture:
    """The first-order expansion of an architecture: its arrays are (its arrays, xi_0), its parameters xi."""

    base: PureModel

    @property
    def outputs(self) -> int:
        """n_L."""
        return self.base.outputs

    @property
    def size(self) -> int:
        """The number P of parameters."""
        return self.base.size

    def evaluate(self, arrays: tuple[Any, Array], xi: Array, x: Array) -> Array:
        """Return f(xi_0) + (df/dxi)(xi_0) (xi - xi_0), shape (N, n_L)."""
        inner, origin = arrays
        at_origin, moved = jax.jvp(lambda p: self.base.evaluate(inner, p, x), (origin,), (xi - origin,))
        return at_origin + moved


def jacobian(architecture: PureModel, arrays: Any, xi: Array, x: Array, copies: int = 2) -> Array:
    """Return dz/dxi, shape (N, n_L, P): one backward pass per input and output, nothing of size N times N.

    Raises:
        PdltError: when called or traced, if `copies` arrays of this size do not fit into memory.
    """
    check_jacobian(architecture, len(x), copies)

    def one(row: Array) -> Array:
        return jax.jacrev(lambda p: architecture.evaluate(arrays, p, row[None, :])[0])(xi)

    return jax.vmap(one)(x)


def check_jacobian(architecture: PureModel, points: int, copies: int) -> None:
    """Raise PdltError if `copies` arrays of the size of the Jacobian on so many points do not fit into memory."""
    rows = points * architecture.outputs
    what = f"{copies} arrays of the size of the Jacobian, {rows} outputs by {architecture.size} parameters,"
    check_memory("x", what, copies * rows * architecture.size)


@functools.cache
def _pointwise(activation: Activation, order: int) -> Callable[[Array], Array]:
    """Return a derivative of a kinked activation that is differentiated pointwise, with the mean slope at the kink.

    Bias-free networks do meet the kink: where all units of a layer are off, the next preactivations are exactly 0.
    """
    function = jax.custom_jvp(activation.jax(order))
    function.defjvp(lambda z, dz: (function(*z), _pointwise(activation, order + 1)(*z) * dz[0]))
    return function
