"""The linearised model's training in closed form, in the singular modes of its Jacobian.

With residuals r = S (z - y), Jacobian J = U s V^T and xi' = -J^T m(J J^T) r, mode i relaxes alone at rate s_i^2 m_i:

    xi(t) = xi_0 - V s m phi(s^2 m, t) U^T r_0,    phi(rate, t) = (1 - exp(-rate t)) / rate,

(1 - (1 - eta rate)^t) / rate for t steps of gradient descent (derived in derivations/15_linearised_networks.py).
Nothing
is squared: the empirical tangent kernel J J^T on the training set is never formed, and modes are resolved down to
singular values of 1e-12 of the largest.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._jax import x64
from pdlt.errors import PdltError
from pdlt.finite.architecture import SVD_COPIES, LinearisedArchitecture, jacobian
from pdlt.finite.method import Gradient, Method
from pdlt.finite.natural import CUTOFF
from pdlt.finite.network import Linearised, Model
from pdlt.finite.training import Rule, Trajectory, check_problem

Array = Any


def solve(
    model: Model,
    x: Any,
    y: Any,
    times: Any,
    *,
    rule: Rule = "flow",
    learning_rate: float | None = None,
    method: Method = Gradient(),  # noqa: B008 - immutable
) -> Trajectory:
    """Return the training of a linearised network in closed form; arguments as in `train`, times may end with inf.

    At t = inf the parameters are those nearest to the start among all that minimise the loss. Inputs that occur
    twice are no problem for `Gradient`: conflicting labels end at their mean.

    Args:
        model: a `Linearised`, or another model, which is linearised at its start.
        x, y, times, rule, learning_rate, method: as in `train`; a method that relaxes the modes of a linear model
            independently, which is all but `EmpiricalNatural`.

    Returns:
        The trajectory of the linearised model; ask it for `.outputs(x_test)`.

    Raises:
        PdltError: as `train`, and if `learning_rate` is 2 / (largest rate) or above, where gradient descent diverges.
    """
    inputs, labels, at, eta = check_problem(model, x, y, times, rule, learning_rate, method)
    linear = model if isinstance(model, Linearised) else model.linearised()
    with x64():
        modes = _modes(linear.architecture, linear.arrays, linear.start, inputs, labels, method)
        (r, J), (_, s, _, m) = modes
        rates = np.asarray(s**2 * m)
        method.check(np.asarray(r), np.asarray(J), float(at[-1]))
        check_stable(rule, eta, rates)
        parameters = np.asarray(_parameters(linear.start, modes, jnp.asarray(at), rule, eta))
    if not np.isfinite(parameters).all():
        raise PdltError("Argument `x` must give finite outputs and a finite Jacobian, but the solution overflows.")
    return Trajectory(linear, at, parameters)


def check_stable(rule: Rule, eta: float, rates: np.ndarray) -> None:
    """Raise PdltError if gradient descent with learning rate eta diverges on a linear model of these rates."""
    if rule == "gd" and eta * rates.max(initial=0) >= 2:
        raise PdltError(
            f"Argument `learning_rate` must be below 2 / {rates.max():.6g} = {2 / rates.max():.6g}, 2 over the "
            f"largest rate of this model, where gradient descent begins to diverge, but got {eta:g}."
        )


def solved(
    architecture: LinearisedArchitecture,
    arrays: Any,
    start: Array,
    x: Array,
    y: Array,
    times: Array,
    rule: Rule = "flow",
    learning_rate: Array = 0.0,
    method: Method = Gradient(),  # noqa: B008 - immutable
) -> Array:
    """Return the parameters at the given times, shape (T, P): `solve` as a pure function, without its checks."""
    return _parameters(start, _modes(architecture, arrays, start, x, y, method), times, rule, learning_rate)


def phi(rates: Array, times: Array, rule: Rule, learning_rate: Array) -> Array:
    """Return (1 - exp(-rate t)) / rate, or (1 - (1 - eta rate)^t) / rate, shape (T, modes), for positive rates."""
    rate, t = rates[None, :], times[:, None]
    if rule == "flow":
        left = -jnp.expm1(-rate * t)
    else:
        small = learning_rate * rate < 0.5
        slow = -jnp.expm1(t * jnp.log1p(-jnp.where(small, learning_rate * rate, 0.0)))
        left = jnp.where(small, slow, 1 - jnp.where(jnp.isinf(t), 0.0, (1 - learning_rate * rate) ** t))
    return left / rate


@partial(jax.jit, static_argnums=(0, 5))
def _modes(
    architecture: LinearisedArchitecture, arrays: Any, start: Array, x: Array, y: Array, method: Method
) -> tuple:
    """Return (r, J) at the start and (U^T r, s, V^T, m) of its modes; m is 0 where s vanishes, and s is not 0 there."""
    S = jnp.asarray(method.whitening(y.shape[1]))
    r = (architecture.evaluate(arrays, start, x) - y) @ S
    J = jnp.einsum("ij,ajp->aip", S, jacobian(architecture, arrays, start, x, SVD_COPIES))
    U, s, Vt = jnp.linalg.svd(J.reshape(r.size, -1), full_matrices=False)
    found = s > CUTOFF * s.max()
    # The largest one, which leaves cutoffs relative to the largest where they are.
    s = jnp.where(found, s, jnp.where(s.max() > 0, s.max(), 1.0))
    m = jnp.where(found, method.multipliers(s**2, len(r)), 0.0)
    return (r, J), (U.T @ r.reshape(-1), s, Vt, m)


def _parameters(start: Array, modes: tuple, times: Array, rule: Rule, learning_rate: Array) -> Array:
    along, s, Vt, m = modes[1]
    rates = jnp.where(m > 0, s**2 * m, 1.0)
    return start[None, :] - (phi(rates, times, rule, learning_rate) * (s * m * along)[None, :]) @ Vt
