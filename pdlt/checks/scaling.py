"""Measurements with the next order in 1/n removed, so that a leading coefficient meets its own value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pdlt.ensemble import simulate
from pdlt.networks import MLP

#: A measured value and its standard error.
Measured = tuple[np.ndarray, np.ndarray]


def extrapolated(
    net: MLP,
    x: Any,
    observables: Sequence[str],
    *,
    samples: int,
    sampler: str,
    seed: int,
    infinite: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Measured]:
    """Measure at the widths of `net` and at twice these, and extrapolate: 2 X(2n) - X(n) = X + O(1/n^2).

    Args:
        net: the network; its hidden widths are equal.
        x: inputs, shape (N, n_0).
        observables: names or specs.
        samples, sampler, seed: as in `pdlt.simulate`, for each of the two widths.
        infinite: for observables with a value at infinite width (K, Theta), that value at the last layer: what is
            extrapolated is then n (X(n) - infinite), whose limit is the first correction, K_1 or Theta_1.

    Returns:
        Name -> extrapolated value and standard error at the last layer. The error left out is of relative order
        1/n^2; what the doubling removes is of order 1/n.
    """
    runs = []
    for factor in (1, 2):
        width = [factor * n for n in net.width]
        scales = {name: getattr(net, name) for name in ("C_b", "C_W", "lambda_b", "lambda_W")}
        wider = MLP(net.depth, width, net.activation, **scales)
        run = simulate(wider, x, observables, samples, sampler, seed, layers=[net.depth], progress=False)
        runs.append((width[-1], run.isel(layer=0)))
    result = {}
    for name in observables:
        values = []
        for n, run in runs:
            value, error = run[name].values, run[f"{name}_stderr"].values
            if infinite is not None and name in infinite:
                value, error = n * (value - infinite[name]), n * error
            values.append((value, error))
        (narrow, narrow_error), (wide, wide_error) = values
        result[name] = (2 * wide - narrow, np.sqrt((2 * wide_error) ** 2 + narrow_error**2))
    return result
