"""Functions drawn at infinite width: before training, given data by Bayes' rule, and trained from a random start."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._arguments import integer
from pdlt.learning.arguments import real
from pdlt.learning.data import TrainingData, check_points, merged, require_memory
from pdlt.learning.gram_blocks import evaluate
from pdlt.learning.posterior import Factor, require_consistent
from pdlt.learning.relaxation import Relaxation
from pdlt.learning.response import Response
from pdlt.learning.results import provenance
from pdlt.learning.spectrum import Spectrum
from pdlt.networks import MLP, check_inputs, check_network

if TYPE_CHECKING:
    import xarray


def sample_prior(net: MLP, x: Any, samples: int, seed: int, outputs: int = 1) -> "xarray.Dataset":
    """Draw functions of infinitely wide networks at initialisation.

    Args:
        net: the network; its widths do not matter.
        x: points, shape (P, n_0).
        samples: how many functions.
        seed: non-negative integer. The first functions do not change when more are drawn.
        outputs: number n_L of outputs; they are independent.

    Returns:
        Variable `z` with dims ("sample", "point", "output"). The square root of the covariance is taken by
        eigendecomposition, so that a singular one needs no jitter; equal points have equal values.

    Raises:
        PdltError: for bad arguments, or what does not fit into memory.
    """
    net, points = check_network(net), check_inputs(x)
    prior = _Prior(net, points, samples, seed, integer("outputs", outputs, 1, 10**9))
    attrs = {"kind": "prior samples", "seed": seed, "network": json.dumps(net.describe()), "kernel_error": prior.error}
    return _dataset(("sample", "point", "output"), prior.values, attrs)


def sample_posterior(
    net: MLP, x_train: Any, y_train: Any, x_test: Any, samples: int, seed: int, noise: float = 0.0
) -> "xarray.Dataset":
    """Draw functions from the posterior, `pdlt.posterior`; arguments as there and in `sample_prior`.

    Each is a function of the prior, corrected by the posterior mean of its own error on the labels (Matheron's rule).

    Returns:
        Variable `z` with dims ("sample", "point", "output"): values of the function, without noise.

    Raises:
        PdltError: as `pdlt.posterior`.
    """
    net, noise = check_network(net), real("noise", noise)
    data = TrainingData.of(x_train, y_train)
    require_consistent(data, noise)
    points = check_points(x_test, data.x.shape[1], "x_test")
    d, outputs = data.y.shape
    prior = _Prior(net, np.concatenate([data.x, points]), samples, seed, outputs)
    variance = noise / data.counts
    factor = Factor(prior.kernel(slice(0, d), slice(0, d)) + np.diag(variance), prior.error)
    # Noise of its own stream: functions of the prior are the same with and without it.
    errors = _generator(seed, 1).standard_normal((samples, outputs, d))
    labels = data.y + (errors * np.sqrt(variance)).swapaxes(1, 2)
    gain = factor.solve(prior.kernel(slice(0, d), slice(d, None))).T
    values = prior.values[:, d:] + gain @ (labels - prior.values[:, :d])
    attrs = {"kind": "posterior samples", "seed": seed, "noise": noise, **provenance(net, data, points, prior.error)}
    return _dataset(("sample", "point", "output"), values, attrs)


def sample_training(
    net: MLP,
    x_train: Any,
    y_train: Any,
    x_test: Any,
    times: Sequence[float] | float,
    samples: int,
    seed: int,
    rule: str = "flow",
    learning_rate: float | None = None,
    ridge: float = 0.0,
    unresolved: str = "error",
) -> "xarray.Dataset":
    """Draw trained functions of the NTK ensemble; arguments as in `pdlt.predict_training` and `sample_prior`.

    Returns:
        Variable `z` with dims ("sample", "time", "point", "output"). A sample is one network followed through training:
        its values at different times belong to one initialisation.

    Raises:
        PdltError: as `pdlt.predict_training`.
    """
    net = check_network(net)
    relaxation = Relaxation.of(rule, learning_rate, ridge)
    when = relaxation.times(times)
    data = TrainingData.of(x_train, y_train)
    points = check_points(x_test, data.x.shape[1], "x_test")
    d, outputs = data.y.shape
    response = Response.of(net, data, points, relaxation, ("Theta",), "none", unresolved)
    response.require_resolved(when)
    prior = _Prior(net, np.concatenate([data.x, points]), samples, seed, outputs, len(when))
    error = data.y - prior.values[:, :d]
    values = np.stack([prior.values[:, d:] + response.at(time) @ error for time in when], axis=1)
    attrs = {
        "kind": "training samples",
        "seed": seed,
        "rule": rule,
        **({} if relaxation.learning_rate is None else {"learning_rate": relaxation.learning_rate}),
        "ridge": relaxation.ridge,
        "frozen": int((~response.learned).sum()),
        **provenance(net, data, points, response.blocks.error),
    }
    return _dataset(("sample", "time", "point", "output"), values, attrs).assign_coords(time=when)


class _Prior:
    """Values (samples, P, n_L) of random initial functions on points (P, n_0), and the kernel they were drawn with."""

    def __init__(self, net: MLP, points: np.ndarray, samples: Any, seed: Any, outputs: int, copies: int = 1) -> None:
        samples, seed = integer("samples", samples, 1, 10**9), integer("seed", seed, 0, 2**64 - 1)
        places, self._inverse = merged(points)
        numbers = 6 * len(places) ** 2 + samples * outputs * ((2 + copies) * len(points) + 2 * len(places))
        require_memory(numbers, f"{samples} functions on {len(points)} points", "Draw fewer, or on fewer points.")
        kernels, self.error = evaluate(net, points[places], None, ["K"])
        self._kernel = kernels["K"]
        spectrum = Spectrum.of(self._kernel, self.error)
        root = spectrum.vectors * np.sqrt(spectrum.values)
        normal = _generator(seed, 0).standard_normal((samples, outputs, len(places)))
        self.values = np.ascontiguousarray((normal @ root.T)[..., self._inverse].swapaxes(1, 2))

    def kernel(self, rows: slice, columns: slice) -> np.ndarray:
        """Return K between some of the points and others."""
        return self._kernel[np.ix_(self._inverse[rows], self._inverse[columns])]


def _generator(seed: int, stream: int) -> np.random.Generator:
    # The type is given: numpy makes floats of integers from 2^63 on, which have one seed in 2048.
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))


def _dataset(dims: tuple[str, ...], values: np.ndarray, attrs: dict[str, Any]) -> "xarray.Dataset":
    import xarray

    return xarray.Dataset({"z": (dims, values)}, attrs=attrs)
