"""Models that are polynomials in their parameters: expansions of networks, and the quadratic model of given features.

With d = xi - xi_0, phi = dz/dxi and psi = d^2z/dxi^2 at xi_0, a quadratic model is

    z_i(x; xi) = z_i(x; xi_0) + sum_mu phi_{i mu}(x) d_mu + (epsilon/2) sum_{mu nu} psi_{i mu nu}(x) d_mu d_nu.

Linear in its parameters (epsilon = 0) it is a kernel machine. With epsilon its effective features phi + epsilon psi d
move in training: PDLT chapter 11 calls it nearly a kernel machine. `pdlt.finite.nearly_kernel` predicts what it learns.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._arguments import count, integer, is_real, real_array, require_finite
from pdlt._jax import x64
from pdlt.errors import PdltError
from pdlt.finite.architecture import PureModel
from pdlt.finite.network import Model, check_model

Array = Any
Features = Callable[[Array], Array]

#: Orders of expansions: every one of them doubles the work of the one before.
MOST_ORDERS = 6


@dataclass(frozen=True)
class ExpandedArchitecture:
    """The expansion of an architecture to some order: arrays are (arrays, xi_0, epsilon), parameters xi."""

    base: PureModel
    order: int

    @property
    def outputs(self) -> int:
        """n_L."""
        return self.base.outputs

    @property
    def size(self) -> int:
        """The number P of parameters."""
        return self.base.size

    def evaluate(self, arrays: tuple[Any, Array, Array], xi: Array, x: Array) -> Array:
        """Return sum_k epsilon^(k-1)/k! D^k f(xi_0)[xi - xi_0, ...], shape (N, n_L); no D^k f is ever formed."""
        inner, origin, epsilon = arrays

        def along(s: Array) -> Array:
            return self.base.evaluate(inner, origin + s * (xi - origin), x)

        zero = jnp.zeros(())
        derivative: Callable[[Array], Array] = along
        total = along(zero)
        for k in range(1, self.order + 1):
            derivative = _derivative(derivative)
            total = total + epsilon ** (k - 1) / math.factorial(k) * derivative(zero)
        return total


class Expanded(Model):
    """A model expanded around a point in the space of its parameters: order 2 is its quadratic model.

    Training starts at the expansion point, so at the function and the tangent kernel of the model itself.

    Args:
        model: usually a `FiniteNetwork`.
        order: of the last term, from 1 (linear) to `MOST_ORDERS`.
        parameters: xi_0, shape (P,); default `model.start`.
        epsilon: the term of order k is multiplied by epsilon^(k-1): 1 is the Taylor series, 0 the kernel machine.

    Raises:
        PdltError: if an argument is out of range.
    """

    def __init__(self, model: Model, order: int, parameters: Any = None, *, epsilon: float = 1.0) -> None:
        check_model(model)
        self.base = model
        self.order = integer("order", order, 1, MOST_ORDERS)
        self.epsilon = _strength(epsilon)
        self.start = model.check_parameters(parameters)

    @property
    def architecture(self) -> ExpandedArchitecture:
        """The pure function behind the model."""
        return ExpandedArchitecture(self.base.architecture, self.order)

    @property
    def arrays(self) -> Any:
        """What the base needs, the expansion point and epsilon."""
        return self.base.arrays, self.start, self.epsilon

    @property
    def shape(self) -> tuple[int, int]:
        """(n_0, n_L)."""
        return self.base.shape

    def __repr__(self) -> str:
        return f"Expanded({self.base!r}, order={self.order}, epsilon={self.epsilon:g})"


@dataclass(frozen=True)
class FeatureArchitecture:
    """z_i = sum_j W_ij phi_j(x) + (epsilon/2) sum_jk W_ij W_ik psi_jk(x) with W = xi, shape (n_L, m), row by row.

    Its arrays are (epsilon, tables): the features of listed inputs, of which x holds the row numbers, or None for
    features that are functions of x.
    """

    features: Features | None
    meta_features: Features | None
    outputs: int
    count: int

    @property
    def size(self) -> int:
        """The number P = n_L m of parameters."""
        return self.outputs * self.count

    def evaluate(self, arrays: tuple[Array, Any], xi: Array, x: Array) -> Array:
        """Return the outputs, shape (N, n_L)."""
        epsilon, tables = arrays
        if self.features is None or self.meta_features is None:
            phi, psi = (table[x[:, 0].astype(int)] for table in tables)
        else:
            phi, psi = self.features(x), self.meta_features(x)
        W = xi.reshape(self.outputs, self.count)
        return phi @ W.T + epsilon / 2 * jnp.einsum("ij,njk,ik->ni", W, psi, W)


class QuadraticModel(Model):
    """The minimal quadratic model (PDLT chapter 11): z_i = W_i . phi(x) + (epsilon/2) W_i psi(x) W_i.

    Gradient flow is W' = -dloss/dW; a learning rate for each weight is a scale of its feature.

    Args:
        features: phi, a JAX function from inputs (N, n_0) to features (N, m); or an array (K, m) of the features of
            K inputs, and inputs are then row numbers 0 ... K-1, shape (N, 1).
        meta_features: psi in the same way, (N, m, m) or (K, m, m), symmetric in the last two.
        epsilon: the size of the quadratic term.
        inputs: n_0 of functions.
        weights: W where training starts, shape (n_L, m); default zeros, for one output.

    Raises:
        PdltError: if an argument is of the wrong kind or shape.
    """

    def __init__(
        self,
        features: Features | Any,
        meta_features: Features | Any,
        *,
        epsilon: float,
        inputs: int = 1,
        weights: Any = None,
    ) -> None:
        self.epsilon = _strength(epsilon)
        if callable(features) != callable(meta_features):
            raise PdltError("Arguments `features` and `meta_features` must both be functions or both be arrays.")
        self._inputs = count("inputs", inputs)
        self._tables: tuple[np.ndarray, np.ndarray] | None = None
        functions: tuple[Features | None, Features | None] = (None, None)
        if callable(features):
            functions = (features, meta_features)
            phi, psi = (_shape(f, name, self._inputs) for f, name in zip(functions, ("features", "meta_features")))
        else:
            self._tables = _table("features", features), _table("meta_features", meta_features)
            phi, psi = self._tables[0].shape, self._tables[1].shape
            if self._inputs != 1:
                raise PdltError(f"Argument `inputs` must be 1, the number of a row of the arrays, but got {inputs}.")
        if len(phi) != 2 or psi != (*phi, phi[1]) or phi[1] == 0:
            raise PdltError(
                "Arguments `features` and `meta_features` must be of shapes (N, m) and (N, m, m), "
                f"but are of shapes {phi} and {psi}."
            )
        start = np.zeros((1, phi[1])) if weights is None else _table("weights", weights)
        if start.ndim != 2 or start.shape[1] != phi[1]:
            raise PdltError(f"Argument `weights` must be of shape (n_L, {phi[1]}), but is of shape {start.shape}.")
        self._architecture = FeatureArchitecture(*functions, len(start), phi[1])
        self.start = start.reshape(-1)

    @property
    def architecture(self) -> FeatureArchitecture:
        """The pure function behind the model."""
        return self._architecture

    @property
    def arrays(self) -> Any:
        """The size of the quadratic term and the tables of features, if there are any."""
        return self.epsilon, self._tables

    @property
    def shape(self) -> tuple[int, int]:
        """(n_0, n_L)."""
        return self._inputs, self._architecture.outputs

    def check_x(self, x: Any, name: str = "x") -> np.ndarray:
        """Return the inputs as an array of shape (N, n_0), row numbers among them checked."""
        array = super().check_x(x, name)
        if self._tables is not None:
            rows = len(self._tables[0])
            wrong = array[(array != np.round(array)) | (array < 0) | (array >= rows)]
            if wrong.size:
                raise PdltError(f"Argument `{name}` must hold row numbers from 0 to {rows - 1}, but got {wrong[0]:g}.")
        return array

    def __repr__(self) -> str:
        a = self._architecture
        return f"QuadraticModel({a.count} features, epsilon={self.epsilon:g}, outputs={a.outputs})"


def _derivative(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def along(s: Array) -> Array:
        derivative: Array = jax.jvp(f, (s,), (jnp.ones_like(s),))[1]
        return derivative

    return along


def _strength(epsilon: Any) -> float:
    if not is_real(epsilon) or not math.isfinite(epsilon):
        raise PdltError(f"Argument `epsilon` must be a finite number, but got {epsilon!r:.60}.")
    return float(epsilon)


def _table(name: str, value: Any) -> np.ndarray:
    wanted = "an array of finite numbers, or a function" if "features" in name else "an array of finite numbers"
    array = real_array(name, value, wanted).astype(float)
    require_finite(name, array, wanted)
    return array


def _shape(function: Any, name: str, inputs: int) -> tuple[int, ...]:
    """Return the shape of the features of three inputs.

    Raises:
        PdltError: if the function is none of JAX arrays.
    """
    try:
        with x64():
            return tuple(jax.eval_shape(function, jax.ShapeDtypeStruct((3, inputs), float)).shape)
    except Exception as error:  # whatever the user's function may raise
        reason = str(error).strip().splitlines()[0][:120]
        raise PdltError(
            f"Argument `{name}` must be a function of a JAX array of shape (N, {inputs}) that may be compiled "
            f"(jax.numpy, not numpy), but raised {type(error).__name__}: {reason}"
        ) from None
