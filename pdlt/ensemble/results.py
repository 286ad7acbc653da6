"""Estimates as a dataset that says what made it."""

import json
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pdlt._version import __version__
from pdlt.ensemble import jets
from pdlt.ensemble.blocks import BLOCK
from pdlt.ensemble.specs import Cumulant
from pdlt.ensemble.statistics import Estimate
from pdlt.networks import MLP, sha256

if TYPE_CHECKING:
    import xarray


def dataset(
    net: MLP,
    x: np.ndarray,
    measured: list[Cumulant],
    layers: tuple[int, ...],
    results: dict[str, Estimate],
    attrs: dict[str, Any],
) -> "xarray.Dataset":
    """Return values and standard errors of the cumulants, layer 1 exact, in the order of `layers`.

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        measured: the cumulants.
        layers: the layers of the result, increasing.
        results: estimates in the layers above 1; may be empty if there are none.
        attrs: attributes of the dataset.
    """
    import xarray

    variables: dict[str, Any] = {}
    for c in measured:
        exact = [_first_layer(net, x, c)[None]] if layers[0] == 1 else []
        found = [results[c.name]] if c.name in results else []
        values = np.concatenate([*exact, *(e.value for e in found)])
        errors = np.concatenate([*(0 * e for e in exact), *map(not_below_rounding, found)])
        dims = ("layer", *(f"alpha_{k + 1}" for k in range(2 * c.order)))
        meaning = "mean" if c.order == 1 else f"n^{c.order - 1} x joint cumulant"
        variables[c.name] = (dims, values, {"spec": c.spec, "meaning": meaning})
        variables[f"{c.name}_stderr"] = (dims, errors, {"standard_error_of": c.name})
    return xarray.Dataset(variables, coords={"layer": list(layers)}, attrs=attrs)


def not_below_rounding(estimate: Estimate) -> np.ndarray:
    """Return standard errors; of what does not fluctuate, how well its digits are known."""
    floor = estimate.rounding.reshape(-1, *(1,) * (estimate.stderr.ndim - 1))
    return np.maximum(estimate.stderr, floor)


def provenance(
    net: MLP,
    x: np.ndarray,
    layers: tuple[int, ...],
    spec: dict[str, Any],
    blocks: int,
    programs: dict[str, str],
) -> dict[str, Any]:
    """Return what made a result: the run's spec, but for these layers and blocks."""
    return {
        "kind": "measurement",
        "network": json.dumps(net.describe()),
        "fan_in": [net.fan_in(layer, x.shape[1]) for layer in layers],
        "inputs_sha256": sha256(x),
        "inputs_shape": list(x.shape),
        "sampler": spec["sampler"],
        "seed": spec["seed"],
        "precision": spec["precision"],
        **({} if spec["outputs"] is None else {"outputs": spec["outputs"]}),
        "samples": blocks * BLOCK,
        "kinks": "none" if net.activation.is_smooth else "pointwise",
        "versions": json.dumps(programs),
    }


def versions() -> dict[str, str]:
    """Return the versions that make a result."""
    return {"pdlt": __version__, "jax": jax.__version__, "numpy": np.__version__}


def fan_in(net: MLP, x: np.ndarray, layers: tuple[int, ...]) -> np.ndarray:
    """Return n_{l-1} of each layer."""
    return np.array([net.fan_in(layer, x.shape[1]) for layer in layers], dtype=float)


def _first_layer(net: MLP, x: np.ndarray, c: Cumulant) -> np.ndarray:
    """Return the value in layer 1, where G does not fluctuate and all joint cumulants vanish."""
    if c.order > 1:
        return np.zeros((len(x),) * (2 * c.order))
    used = jets.closure((c.pairs,))
    first, second = c.pairs[0]
    return jets.input_covariance(net, x, used)[used.index(first), :, used.index(second)]
