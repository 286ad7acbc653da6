"""How far training and its own linearisation are apart, against width, in ensembles of real networks.

Each network is trained twice from the same weights: as it is, and as f(theta_0) + grad f . (theta - theta_0), in closed
form (or as its expansion to a higher order, by the same integrator). For smooth activations the outputs of the two
differ by O(1/n) in every single network, and in the mean over initialisations: the tangent kernel moves by O(1/n) in
training, while at initialisation it fluctuates by O(n^(-1/2)) between networks. With a kink the difference is
O(n^(-1/2)). Derived in derivations/15_linearised_networks.py.
"""

import numbers
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._arguments import integer
from pdlt._jax import x64
from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.finite.architecture import Architecture, LinearisedArchitecture, jacobian
from pdlt.finite.linear import solved
from pdlt.finite.network import check_seed
from pdlt.finite.quadratic import MOST_ORDERS, ExpandedArchitecture
from pdlt.finite.training import check_labels, check_times, check_tolerance, kink_advice, trained
from pdlt.networks import MLP, check_inputs

Array = Any

#: Numbers that a batch of networks may hold in its Jacobians.
_BATCH = 4_000_000

#: Groups of networks for the jackknife.
_GROUPS = 40

#: What `LinearisationDistance.power` fits.
_SIZES = ("rms", "bias", "kernel_change", "kernel_spread")


class Measured(NamedTuple):
    """Values with standard errors, arrays of one shape."""

    value: np.ndarray
    stderr: np.ndarray


@dataclass(frozen=True, eq=False)
class LinearisationDistance:
    """Differences d = z - z_expanded of W widths at T times on N points with n_L outputs, over an ensemble.

    Attributes:
        widths: shape (W,).
        times: shape (T,).
        networks: per width.
        mean: of d over networks, shape (W, T, N, n_L).
        rms: root mean square of d over networks, points and outputs, shape (W, T).
        bias: root mean square over points and outputs of the mean over networks, shape (W, T). The square of its
            noise is subtracted; 0 where noise is all there is.
        kernel_change: root mean square over networks of |H(t) - H(0)| / |H(0)| on the training set, in the Frobenius
            norm, shape (W, T).
        kernel_spread: the same for H(0) minus its mean over networks, relative to that mean, shape (W,).
    """

    widths: np.ndarray
    times: np.ndarray
    networks: int
    mean: Measured
    rms: Measured
    bias: Measured
    kernel_change: Measured
    kernel_spread: Measured

    def power(
        self, name: Literal["rms", "bias", "kernel_change", "kernel_spread"], time: int = -1, corrections: int = 1
    ) -> tuple[float, float]:
        """Return (s, standard error) of a fit c n^s (1 + c_1/n + ...) over the widths.

        Args:
            name: which size.
            time: position among `times`.
            corrections: how many c_k are fitted as well.

        Raises:
            PdltError: if an argument is out of range, there are fewer widths than coefficients, or a size is not
                measurably above zero.
        """
        if name not in _SIZES:
            raise PdltError(f"Argument `name` must be one of {', '.join(_SIZES)}, but got {str(name)[:60]}.")
        count = len(self.times)
        if not isinstance(time, numbers.Integral) or isinstance(time, bool) or not -count <= time < count:
            raise PdltError(f"Argument `time` must be a position among the {count} times, but got {str(time)[:60]}.")
        if not isinstance(corrections, numbers.Integral) or isinstance(corrections, bool) or corrections < 0:
            raise PdltError(f"Argument `corrections` must be 0, 1, 2 ..., but got {str(corrections)[:60]}.")
        size: Measured = getattr(self, name)
        value, stderr = (part if part.ndim == 1 else part[:, time] for part in size)
        if len(value) < corrections + 2:
            raise PdltError(f"Argument `widths` must hold at least {corrections + 2} widths for this fit.")
        if not (value > stderr).all():
            raise PdltError(f"Argument `name`: {name} does not exceed its standard error at every width.")
        n = self.widths.astype(float)
        design = np.stack([np.log(n), *(n**-k for k in range(corrections + 1))], axis=1)
        weights = value / stderr  # one over the standard error of the logarithm
        covariance = np.linalg.inv((design * weights[:, None] ** 2).T @ design)
        slope = covariance[0] @ (design.T @ (weights**2 * np.log(value)))
        return float(slope), float(np.sqrt(covariance[0, 0]))


def linearisation_distance(
    net: MLP,
    x: Any,
    y: Any,
    times: Any,
    x_test: Any = None,
    *,
    widths: Any,
    networks: int = 1000,
    seed: int = 0,
    tolerance: float = 1e-9,
    order: int = 1,
) -> LinearisationDistance:
    """Measure the distance between gradient flow of real networks and of their linearisations, or higher expansions.

    Args:
        net: depth, activation and scales; its hidden widths are replaced by each of `widths`.
        x: training inputs, shape (N, n_0).
        y: labels, shape (N, n_L); a vector of length N for one output.
        times: increasing, finite.
        x_test: points at which outputs are compared, shape (N_test, n_0); default `x`.
        widths: hidden widths, increasing.
        networks: per width, a multiple of 40 (groups for the standard errors).
        seed: of the ensemble.
        tolerance: see `pdlt.finite.train`.
        order: of the expansion in the parameters, see `pdlt.finite.Expanded`.

    Raises:
        PdltError: for bad arguments, or if training fails for a network.
    """
    if not isinstance(net, MLP) or net.depth < 2:
        raise PdltError(f"Argument `net` must be a pdlt.MLP with hidden layers, but got {str(net)[:80]}.")
    inputs = check_inputs(x)
    points = inputs if x_test is None else check_inputs(x_test, "x_test")
    if points.shape[1] != inputs.shape[1]:
        raise PdltError(f"Argument `x_test` must have {inputs.shape[1]} columns, as `x`, but got {points.shape[1]}.")
    labels = np.asarray(y)
    labels = check_labels(y, len(inputs), labels.shape[1] if labels.ndim == 2 else 1)
    at = check_times(times, "flow")
    if np.isinf(at[-1]):
        raise PdltError("Argument `times` must be finite, but got inf.")
    every = _widths(widths)
    whole = isinstance(networks, numbers.Integral) and not isinstance(networks, bool)
    if not whole or networks < 1 or networks % _GROUPS:
        raise PdltError(f"Argument `networks` must be a positive multiple of {_GROUPS}, but got {str(networks)[:60]}.")
    check_tolerance(tolerance)
    order = integer("order", order, 1, MOST_ORDERS)
    seed = check_seed(seed)
    rows = []
    with progress("linearisation distance") as tick, x64():
        data = tuple(map(jnp.asarray, (inputs, labels, points, at)))
        for width in every:
            wide = MLP(net.depth, width, net.activation, net.C_b, net.C_W, net.lambda_b, net.lambda_W)
            architecture = Architecture(wide, inputs.shape[1], labels.shape[1])
            keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), width), int(networks))
            batch = max(1, min(int(networks), _BATCH // (architecture.size * (labels.size + len(at)))))
            parts = []
            for k in range(0, int(networks), batch):
                found = _differences(architecture, order, keys[k : k + batch], data, tolerance)
                parts.append(jax.tree.map(np.asarray, found))
                tick(f"width {width}, {min(k + batch, int(networks))} of {networks} networks")
            d, moved, H_0 = (np.concatenate(part) for part in zip(*parts))
            _check_arrived(d, moved, wide)
            rows.append(_sizes(d, moved, H_0))
    sizes = (Measured(*map(np.stack, zip(*column))) for column in zip(*rows))
    return LinearisationDistance(np.array(every), at, int(networks), *sizes)


@partial(jax.jit, static_argnums=(0, 1))
def _differences(
    architecture: Architecture, order: int, keys: Array, data: tuple, tolerance: float
) -> tuple[Array, Array, Array]:
    """Return z - z_expanded (B, T, N, n_L), |H(t) - H(0)| / |H(0)| (B, T) and H(0) (B, M, M)."""
    x, y, points, times = data
    linear, higher = LinearisedArchitecture(architecture), ExpandedArchitecture(architecture, order)
    origin = jnp.zeros(architecture.size)

    def one(key: Array) -> tuple[Array, Array, Array]:
        weights = architecture.draw(key)
        path = trained(architecture, weights, origin, x, y, times, tolerance=tolerance)
        outputs = jax.vmap(lambda xi: architecture.evaluate(weights, xi, points))(path)
        if order == 1:
            line = solved(linear, (weights, origin), origin, x, y, times)
            expanded = jax.vmap(lambda xi: linear.evaluate((weights, origin), xi, points))(line)
        else:
            arrays = (weights, origin, jnp.ones(()))
            curve = trained(higher, arrays, origin, x, y, times, tolerance=tolerance)
            expanded = jax.vmap(lambda xi: higher.evaluate(arrays, xi, points))(curve)

        def kernel(xi: Array) -> Array:
            J = jacobian(architecture, weights, xi, x).reshape(y.size, -1)
            return J @ J.T

        H_0 = kernel(origin)
        moved = jax.lax.map(lambda xi: jnp.linalg.norm(kernel(xi) - H_0), path)
        return outputs - expanded, moved / jnp.linalg.norm(H_0), H_0

    return jax.vmap(one)(keys)


def _check_arrived(d: np.ndarray, moved: np.ndarray, net: MLP) -> None:
    failed = int((~(np.isfinite(d).all(axis=(1, 2, 3)) & np.isfinite(moved).all(axis=1))).sum())
    if failed:
        raise PdltError(
            f"Argument `times`: training of {failed} of {len(d)} networks of width {net.width[0]} did not arrive, or "
            f"diverged; train for a shorter time or with lower learning rates.{kink_advice(net)}"
        )


def _sizes(d: np.ndarray, moved: np.ndarray, H_0: np.ndarray) -> list[Measured]:
    """Return mean, rms, bias, kernel change and spread of one width, with jackknife errors."""
    deviations = ((H_0 - H_0.mean(axis=0)) ** 2).sum(axis=(1, 2)) / (H_0.mean(axis=0) ** 2).sum()

    def grouped(values: np.ndarray) -> np.ndarray:
        return values.reshape(_GROUPS, -1, *values.shape[1:]).mean(axis=1)

    def bias(mean: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum((mean**2 - noise).mean(axis=(-2, -1)), 0.0))

    means = grouped(d)
    variance = d.var(axis=0, ddof=1) / len(d)
    left_out = (means.sum(axis=0) - means) / (_GROUPS - 1)
    return [
        Measured(d.mean(axis=0), np.sqrt(variance)),
        _root(grouped((d**2).mean(axis=(2, 3)))),
        Measured(bias(d.mean(axis=0), variance), _jackknife(bias(left_out, variance * _GROUPS / (_GROUPS - 1)))),
        _root(grouped(moved**2)),
        _root(grouped(deviations)),
    ]


def _root(squares: np.ndarray) -> Measured:
    """Return the root of the mean over groups."""
    left_out = (squares.sum(axis=0) - squares) / (len(squares) - 1)
    return Measured(np.sqrt(squares.mean(axis=0)), _jackknife(np.sqrt(left_out)))


def _jackknife(left_out: np.ndarray) -> np.ndarray:
    return np.sqrt((len(left_out) - 1) * left_out.var(axis=0))


def _widths(widths: Any) -> list[int]:
    try:
        every = list(widths)
    except TypeError:
        every = []
    whole = all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and int(n) > 0 for n in every)
    if not every or not whole or sorted(set(every)) != every:
        raise PdltError(f"Argument `widths` must be increasing positive integers, but got {str(widths)[:60]}.")
    return [int(n) for n in every]
