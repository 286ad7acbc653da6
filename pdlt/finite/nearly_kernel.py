"""What a nearly-kernel machine has learned, in closed form to first order in the second derivatives of its outputs.

At the start: residuals r = z - y and Jacobian J = dz/dxi = U s V^T on the training set, psi = d^2z/dxi^2, k = J J^T
with eigenvalues a = s^2, rho = U^T r. To lowest order training moves the parameters by d_0(t) = -J^T (1 - E(t))/k r,
with E = exp(-k t) or (1 - eta k)^t. To first order in psi

    d_1' = -J^T (J d_1 + psi[d_0, d_0]/2) - sum_b psi_b d_0 (E r)_b

(differences over eta for gradient descent; b is a training point with an output). At the end of training J d_1 +
psi[d_0, d_0]/2 = 0 on the training set, and the last term has moved the parameters by

    G = sum_bc psi_b J_c w_bc,    w = rho_b rho_c (1 - eta a_b) / (a_b (a_b + a_c - eta a_b a_c))   in modes,

the sum over all steps of E_b (1 - E_c)/a_c, so that d_1 = (1 - J^+ J) G - J^+ psi[d_0, d_0]/2. In the dual picture
psi_x contracted with two features is the meta-kernel mu_{x b c}, and the prediction at x is that of the kernel machine
plus q_x - k_xa k^{-1} q with q_x = sum_bc (mu_{b x c} w_bc + mu_{x b c} (r/k)_b (r/k)_c / 2).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._jax import x64
from pdlt.errors import PdltError
from pdlt.finite.architecture import SVD_COPIES, PureModel, check_jacobian, jacobian
from pdlt.finite.linear import check_stable
from pdlt.finite.memory import check_memory
from pdlt.finite.method import Gradient
from pdlt.finite.natural import CUTOFF
from pdlt.finite.network import Model, check_model
from pdlt.finite.training import Rule, check_problem

Array = Any

#: Residuals in modes that cannot be learned, relative to all, that rounding may leave.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class NearlyKernel:
    """A model at the end of training, to first order in its second derivatives.

    Attributes:
        model: what is trained.
        shift: d_0, by which parameters move as a kernel machine's do, shape (P,).
        shift_1: d_1, what the second derivatives add at first order, shape (P,).
    """

    model: Model
    shift: np.ndarray
    shift_1: np.ndarray

    def kernel_machine(self, x: Any) -> np.ndarray:
        """Return the outputs of the kernel machine, shape (N, n_L)."""
        return self._expanded(x)[0]

    def correction(self, x: Any) -> np.ndarray:
        """Return what the second derivatives add at first order, shape (N, n_L); zero on the training set."""
        return self._expanded(x)[1]

    def outputs(self, x: Any) -> np.ndarray:
        """Return the sum of both, shape (N, n_L)."""
        return np.sum(self._expanded(x), axis=0)

    def features(self, x: Any) -> np.ndarray:
        """Return the effective features phi + psi d_0 after training, shape (N, n_L, P)."""
        return self.model.jacobian(x) + self._moved(x)

    def kernel_change(self, x: Any, x2: Any = None) -> np.ndarray:
        """Return by how much the tangent kernel has moved, at first order, shape (N, N_2, n_L, n_L) as of `ntk`."""
        first, first_moved = self.model.jacobian(x), self._moved(x)
        if x2 is None:
            second, second_moved = first, first_moved
        else:
            inputs = self.model.check_x(x2, "x2")
            second, second_moved = self.model.jacobian(inputs), self._moved(inputs)
        contract = partial(np.einsum, "aip,bjp->abij", optimize=True)
        change: np.ndarray = contract(first_moved, second) + contract(first, second_moved)
        return change

    def _expanded(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._run(_along, x, self.shift, self.shift_1)

    def _moved(self, x: Any) -> np.ndarray:
        check_jacobian(self.model.architecture, len(self.model.check_x(x)), 3)
        moved: np.ndarray = self._run(_moved_features, x, self.shift)
        return moved

    def _run(self, function: Any, x: Any, *vectors: np.ndarray) -> Any:
        model, inputs = self.model, self.model.check_x(x)
        with x64():
            found = function(model.architecture, model.arrays, model.start, inputs, *vectors)
            return jax.tree.map(np.asarray, found)


def nearly_kernel(
    model: Model, x: Any, y: Any, *, rule: Rule = "flow", learning_rate: float | None = None
) -> NearlyKernel:
    """Return what training to the end makes of a model, to first order in its second derivatives.

    For a `QuadraticModel` what is left out is of order epsilon^2. For a network it contains third derivatives too,
    whose first effect is of the same power of 1/n as that of the second ones (docs/nearly_kernel.md).

    Args:
        model: any model.
        x, y: training inputs and labels, as in `pdlt.finite.train`.
        rule: "flow", or "gd": steps of `learning_rate`, and another end of training than that of the flow.
        learning_rate: eta of "gd", below 2 over the largest eigenvalue of the tangent kernel.

    Raises:
        PdltError: for bad arguments, or residuals that the kernel machine cannot learn (such as conflicting labels of
            equal inputs): the second derivatives then never come to rest.
    """
    inputs, labels, _, eta = check_problem(model, x, y, [np.inf], rule, learning_rate, Gradient())
    check_jacobian(model.architecture, len(inputs), SVD_COPIES)
    J = model.jacobian(inputs).reshape(labels.size, -1)
    r = (model(inputs) - labels).reshape(-1)
    U, s, Vt = np.linalg.svd(J, full_matrices=False)
    kept = s > CUTOFF * s.max(initial=0)
    if not kept.any():
        raise PdltError("Argument `model` must depend on its parameters on the training inputs, but its Jacobian is 0.")
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    a, rho = s**2, U.T @ r
    lost = np.linalg.norm(r - U @ rho)
    if lost > _ROUNDING * (np.linalg.norm(r) + np.linalg.norm(labels)):
        raise PdltError(
            "Argument `y`: a kernel machine with the kernel of this model cannot learn these labels (equal inputs with "
            f"different labels, or fewer features than labels): residuals of norm {lost:.3g} would remain."
        )
    check_stable(rule, eta, a)
    w = np.outer(rho * (1 - eta * a) / a, rho) / (a[:, None] + a - eta * np.outer(a, a))
    shift = -(rho / s) @ Vt
    directions = (U @ (w * s) @ Vt).reshape(*labels.shape, -1)
    start = (model.architecture, model.arrays, model.start, inputs)
    with x64():
        G = np.asarray(_pulled(*start, directions))
        bend = np.asarray(_along(*start, shift, np.zeros_like(shift))[1]).reshape(-1)
    return NearlyKernel(model, shift, G - (Vt @ G + U.T @ bend / s) @ Vt)


def meta_kernel(model: Model, x: Any, x1: Any = None, x2: Any = None, parameters: Any = None) -> np.ndarray:
    """Return sum_{mu nu} d^2z_{i0}(x)/dxi_mu dxi_nu dz_{i1}(x1)/dxi_mu dz_{i2}(x2)/dxi_nu of this very model.

    For a quadratic model this is the meta-kernel epsilon phi psi phi (PDLT chapter 11), of effective features if
    `parameters` are not those of the start; for a network it is the dNTK.

    Args:
        model: any model.
        x, x1, x2: inputs, shapes (N, n_0), (N_1, n_0), (N_2, n_0); x1 and x2 are x unless given.
        parameters: shape (P,); default `model.start`.

    Returns:
        Shape (N, N_1, N_2, n_L, n_L, n_L): dH_{i0 i1 i2; 012} at [0, 1, 2, i0, i1, i2].
    """
    check_model(model)
    inputs, xi = model.check_x(x), model.check_parameters(parameters)
    first = inputs if x1 is None else model.check_x(x1, "x1")
    second = inputs if x2 is None else model.check_x(x2, "x2")
    check_memory("x", "the meta-kernel", len(inputs) * len(first) * len(second) * model.shape[1] ** 3)
    features = (model.jacobian(points, xi) for points in (first, second))
    with x64():
        found = np.asarray(_contracted(model.architecture, model.arrays, xi, inputs, *features))
    return found.transpose(4, 0, 2, 5, 1, 3)


@partial(jax.jit, static_argnums=0)
def _along(
    architecture: PureModel, arrays: Any, start: Array, x: Array, shift: Array, shift_1: Array
) -> tuple[Array, Array]:
    """Return z + J d_0 and J d_1 + psi[d_0, d_0]/2, shapes (N, n_L)."""

    def slope(xi: Array, direction: Array) -> tuple[Array, Array]:
        value, along = jax.jvp(lambda p: architecture.evaluate(arrays, p, x), (xi,), (direction,))
        return value, along

    value, first = slope(start, shift)
    bend = jax.jvp(lambda p: slope(p, shift)[1], (start,), (shift,))[1]
    return value + first, slope(start, shift_1)[1] + bend / 2


@partial(jax.jit, static_argnums=0)
def _moved_features(architecture: PureModel, arrays: Any, start: Array, x: Array, shift: Array) -> Array:
    """Return psi d, shape (N, n_L, P)."""
    moved: Array = jax.jvp(lambda p: jacobian(architecture, arrays, p, x, 3), (start,), (shift,))[1]
    return moved


@partial(jax.jit, static_argnums=0)
def _pulled(architecture: PureModel, arrays: Any, start: Array, x: Array, directions: Array) -> Array:
    """Return sum over points and outputs b of psi_b g_b for directions g, shape (N, n_L, P)."""

    def along(xi: Array) -> Array:
        def one(row: Array, ways: Array) -> Array:
            def slope(way: Array) -> Array:
                return jax.jvp(lambda p: architecture.evaluate(arrays, p, row[None, :])[0], (xi,), (way,))[1]

            return jnp.trace(jax.vmap(slope)(ways))

        return jax.vmap(one)(x, directions).sum()

    pulled: Array = jax.grad(along)(start)
    return pulled


@partial(jax.jit, static_argnums=0)
def _contracted(architecture: PureModel, arrays: Any, xi: Array, x: Array, J1: Array, J2: Array) -> Array:
    """Return psi[J1, J2], shape (N_1, n_L, N_2, n_L, N, n_L)."""

    def slope(p: Array, way: Array) -> Array:
        return jax.jvp(lambda q: architecture.evaluate(arrays, q, x), (p,), (way,))[1]

    def pair(first: Array, second: Array) -> Array:
        return jax.jvp(lambda p: slope(p, first), (xi,), (second,))[1]

    rows, columns = J1.reshape(-1, J1.shape[2]), J2.reshape(-1, J2.shape[2])
    found = jax.lax.map(lambda row: jax.vmap(lambda column: pair(row, column))(columns), rows)
    return found.reshape(*J1.shape[:2], *J2.shape[:2], *found.shape[2:])
