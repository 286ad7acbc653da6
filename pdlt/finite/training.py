"""Training of one real network, or of its linearisation, by the same rules."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._arguments import positive, real_array, require_finite
from pdlt._jax import x64
from pdlt.errors import PdltError
from pdlt.finite import integrate
from pdlt.finite.architecture import SVD_COPIES, PureModel, check_jacobian, jacobian
from pdlt.finite.method import Gradient, Method
from pdlt.finite.network import FiniteNetwork, Model, check_model
from pdlt.networks import MLP

Array = Any
Rule = Literal["flow", "gd"]

#: Steps of descent that are taken one by one: hours for the smallest of networks.
MAX_COUNT = 10**9


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A model along its training.

    Attributes:
        model: what was trained.
        times: shape (T,): times of the flow, or numbers of steps.
        parameters: shape (T, P).
    """

    model: Model
    times: np.ndarray
    parameters: np.ndarray

    def outputs(self, x: Any) -> np.ndarray:
        """Return the outputs on any inputs, shape (T, N, n_L)."""
        return np.stack([self.model(x, parameters) for parameters in self.parameters])

    def ntk(self, x: Any, x2: Any = None) -> np.ndarray:
        """Return the tangent kernel along the way, shape (T, N, N_2, n_L, n_L); see `Model.ntk`."""
        return np.stack([self.model.ntk(x, x2, parameters) for parameters in self.parameters])

    def losses(self, x: Any, y: Any) -> np.ndarray:
        """Return 1/2 sum (z - y)^2, shape (T,)."""
        outputs = self.outputs(x)
        labels = check_labels(y, *outputs.shape[1:])
        return ((outputs - labels) ** 2).sum(axis=(1, 2)) / 2


def train(
    model: Model,
    x: Any,
    y: Any,
    times: Any,
    *,
    rule: Rule = "flow",
    learning_rate: float | None = None,
    method: Method = Gradient(),  # noqa: B008 - immutable
    tolerance: float = 1e-10,
) -> Trajectory:
    """Train a model on all points at once, on 1/2 sum (z - y)^2 unless the method says otherwise.

    Args:
        model: a `FiniteNetwork`, an expansion of it, or a `QuadraticModel`.
        x: training inputs, shape (N, n_0).
        y: labels, shape (N, n_L); a vector of length N for one output.
        times: increasing; finite and not negative for "flow", numbers of steps for "gd".
        rule: "flow", xi' = v(xi), or "gd", steps of `learning_rate` v(xi); v as the method says, -lambda grad in the
            parameters theta for `Gradient`.
        learning_rate: eta, positive; for "gd" only.
        method: see `pdlt.finite.natural`.
        tolerance: of a step of the flow, relative to the distance travelled in the space of parameters; from 1e-13 to
            1e-2. Errors of outputs are usually of the same relative size (tests/finite/test_integrate.py).

    Raises:
        PdltError: if an argument is out of range or of the wrong shape; if the method is undefined for these points;
            if training diverges or needs more than `pdlt.finite.integrate.MAX_STEPS` steps.
    """
    inputs, labels, at, eta = check_problem(model, x, y, times, rule, learning_rate, method)
    check_tolerance(tolerance)
    if np.isinf(at[-1]):
        raise PdltError(
            "Argument `times` must be finite, but got inf: a real network is trained for as long as it takes "
            "(pdlt.finite.solve gives the end of training of its linearisation)."
        )
    if rule == "gd" and at[-1] > MAX_COUNT:
        raise PdltError(
            f"Argument `times` must be at most {MAX_COUNT} steps, which are taken one by one, but got {at[-1]:.6g} "
            "(pdlt.finite.solve does any number of steps of a linearised network at once)."
        )
    _check_start(model, inputs, labels, method, float(at[-1]) * (1.0 if rule == "flow" else eta))
    with x64():
        when = jnp.asarray(at, float if rule == "flow" else int)
        run = partial(_trained, model.architecture, method, rule)
        parameters = np.asarray(run(model.arrays, model.start, inputs, labels, when, eta, tolerance))
    if not np.isfinite(parameters).all():
        raise PdltError(_failure(model, inputs, rule, method))
    return Trajectory(model, at, parameters)


def trained(
    architecture: PureModel,
    arrays: Any,
    start: Array,
    x: Array,
    y: Array,
    times: Array,
    rule: Rule = "flow",
    learning_rate: Array = 0.0,
    method: Method = Gradient(),  # noqa: B008 - immutable
    tolerance: Array = 1e-10,
) -> Array:
    """Return the parameters at the given times, shape (T, P): `train` as a pure function, without its checks.

    For ensembles: `jax.vmap` over arrays drawn by `Architecture.draw`, under `pdlt._jax.x64`. Networks whose training
    fails are nan.
    """
    velocity = training_velocity(architecture, arrays, x, y, method)
    if rule == "flow":
        return integrate.flow(velocity, start, times, tolerance)
    return integrate.descend(velocity, start, times, learning_rate)


def training_velocity(
    architecture: PureModel, arrays: Any, x: Array, y: Array, method: Method
) -> Callable[[Array], Array]:
    """Return xi' as a function of xi, shape (P,)."""
    S = jnp.asarray(method.whitening(y.shape[1]))
    return method.velocity(
        lambda xi: (architecture.evaluate(arrays, xi, x) - y) @ S,
        lambda xi: jnp.einsum("ij,ajp->aip", S, jacobian(architecture, arrays, xi, x, SVD_COPIES)),
    )


def check_problem(
    model: Any, x: Any, y: Any, times: Any, rule: Any, learning_rate: Any, method: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return inputs (N, n_0), labels (N, n_L), times (T,) and learning rate (0 for a flow) of a training.

    Raises:
        PdltError: if one of the arguments of `train` or `solve` is not what they ask for.
    """
    check_model(model)
    inputs = model.check_x(x)
    labels = check_labels(y, len(inputs), model.shape[1])
    at, eta = check_times(times, rule), check_rule(rule, learning_rate)
    check_method(method)
    return inputs, labels, at, eta


def check_labels(y: Any, points: int, outputs: int, name: str = "y") -> np.ndarray:
    """Return the labels as an array of shape (N, n_L); `name` is what messages call them.

    Raises:
        PdltError: if they have another shape, are not real numbers or not finite.
    """
    wanted = f"an array of finite numbers of shape ({points}, {outputs})"
    raw = real_array(name, y, wanted)
    if raw.shape != (points, outputs) and not (raw.shape == (points,) and outputs == 1):
        got = f"but got an array of shape {raw.shape}"
        raise PdltError(f"Argument `{name}` must be {wanted}, one row per input, {got}.")
    array = raw.astype(float).reshape(points, outputs)
    require_finite(name, array, wanted)
    return array


def check_times(times: Any, rule: Rule) -> np.ndarray:
    """Return the times as an array of shape (T,); inf is allowed here.

    Raises:
        PdltError: if they are not increasing numbers from 0, or, for "gd", not whole.
    """
    wanted = "increasing numbers that are not negative" + (", numbers of steps for gd" if rule == "gd" else "")
    try:
        raw = np.atleast_1d(np.asarray(times))
        # Masks, imaginary parts, truth values and digits in quotes would be dropped or converted in silence; integers
        # of 2^64 and above are objects.
        real = raw.dtype.kind in "iuf" or all(type(t) is int for t in raw.ravel())
        if isinstance(times, np.ma.MaskedArray) or not real:
            raise ValueError
        array = raw.astype(float)
    except (TypeError, ValueError, OverflowError):
        raise PdltError(f"Argument `times` must be {wanted}, but got {str(times)[:60]}.") from None
    if array.ndim != 1 or array.size == 0 or np.isnan(array).any() or (array < 0).any() or (np.diff(array) < 0).any():
        raise PdltError(f"Argument `times` must be {wanted}, but got {str(times)[:60]}.")
    whole = array[np.isfinite(array)]
    if rule == "gd" and (whole != np.round(whole)).any():
        raise PdltError(f"Argument `times` must be {wanted}, but got {str(times)[:60]}.")
    return array


def check_rule(rule: Any, learning_rate: Any) -> float:
    """Return the learning rate, 0 for a flow.

    Raises:
        PdltError: if the rule is unknown, or a learning rate is missing or not wanted.
    """
    if rule not in ("flow", "gd"):
        raise PdltError(f'Argument `rule` must be "flow" or "gd", but got {rule!r}.')
    if rule == "gd":
        return positive("learning_rate", learning_rate)
    if learning_rate is not None:
        raise PdltError(f'Argument `learning_rate` must be left out for rule="flow", but got {learning_rate!r}.')
    return 0.0


def check_tolerance(tolerance: Any) -> None:
    """Raise PdltError if the tolerance of a flow is out of range."""
    if not isinstance(tolerance, float) or not 1e-13 <= tolerance <= 1e-2:
        raise PdltError(f"Argument `tolerance` must be a number from 1e-13 to 1e-2, but got {str(tolerance)[:60]}.")


def kink_advice(net: MLP) -> str:
    """Return what a message about a flow that did not arrive adds for kinked activations, "" for smooth ones.

    The loss is not differentiable where a preactivation is zero. Where the flow runs into such a kink from both
    sides it has no solution beyond, but for sliding along it.
    """
    if not net.activation.slopes:
        return ""
    return (
        " The activation has a kink: where a preactivation becomes zero the flow may have no solution beyond, and the "
        'integrator jumps to and fro; a larger `tolerance` (1e-4) steps over it, as does rule="gd" of `train`.'
    )


def check_method(method: Any) -> None:
    """Raise PdltError if `method` is none of `pdlt.finite.natural`."""
    if not isinstance(method, Method):
        raise PdltError(
            "Argument `method` must be one of pdlt.finite's methods, such as Gradient() or NaturalGradient(noise=0.1), "
            f"but got {str(method)[:60]}."
        )


def _check_start(model: Model, x: np.ndarray, y: np.ndarray, method: Method, last: float) -> None:
    S = method.whitening(model.shape[1])
    if type(method).check is not Method.check:
        check_jacobian(model.architecture, len(x), SVD_COPIES)
        method.check((model(x) - y) @ S, np.einsum("ij,ajp->aip", S, model.jacobian(x)), last)


def _failure(model: Model, x: np.ndarray, rule: Rule, method: Method) -> str:
    rate = _largest_rate(model, x, method)
    if isinstance(method, Gradient):
        known = f"at the start the largest eigenvalue of the tangent kernel is {rate:.6g}"
    else:
        known = f"at the start the largest rate of the linearised network is {rate:.6g}"
    if not np.isfinite(rate):
        known = "the largest rate is not known in advance"
    if rule == "gd":
        bound = f", and the bound for stability is {2 / rate:.6g}" if 0 < rate < np.inf else ""
        return f"Argument `learning_rate` must be small enough for training to stay finite: {known}{bound}."
    return (
        f"Argument `times` must be reached within {integrate.MAX_STEPS} steps of the integrator, but was not: {known}, "
        "and steps are shorter than about 3 over the largest rate, or the flow is singular. Train for a shorter time "
        f"or with lower learning rates.{kink_advice(model.net) if isinstance(model, FiniteNetwork) else ''}"
    )


def _largest_rate(model: Model, x: np.ndarray, method: Method) -> float:
    """Return the largest rate of the model linearised at its start, nan where it is not to be had."""
    S = method.whitening(model.shape[1])
    try:
        J = np.einsum("ij,ajp->aip", S, model.jacobian(x)).reshape(len(x) * model.shape[1], -1)
        if not np.isfinite(J).all():
            return float("nan")
        h = np.maximum(np.linalg.svd(J, compute_uv=False) ** 2, np.finfo(float).tiny)
        with x64():
            return float((h * np.asarray(method.multipliers(h, len(x)))).max())
    except PdltError:  # modes that are not independent, or a Jacobian that does not fit into memory
        return float("nan")


@partial(jax.jit, static_argnums=(0, 1, 2))
def _trained(architecture: Any, method: Method, rule: Rule, arrays: Any, *numbers: Array) -> Array:
    start, x, y, times, eta, tolerance = numbers
    return trained(architecture, arrays, start, x, y, times, rule, eta, method, tolerance)
