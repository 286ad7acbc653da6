"""The Markov chain over layers, compiled once for each run of equal widths."""

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.networks import MLP

Array = Any
#: (width, state, (key, (C_b, C_W, lambda_b, lambda_W) of the next layer)) -> (state, what to record)
Step = Callable[[int, Any, tuple[Array, Array]], tuple[Any, Any]]


def scan_layers(net: MLP, step: Step, state: Any, key: Array, last: int) -> Any:
    """Return what each layer from 2 to `last` records, stacked, from the state in layer 1.

    Equal neighbouring widths share one compiled step, so compilation does not grow with depth.
    """
    scales = np.array([net.C_b, net.C_W, net.lambda_b, net.lambda_W]).T
    keys = jax.random.split(key, last - 1)
    history = []
    for width, run in groupby(range(1, last), key=lambda layer: net.width[layer - 1]):
        steps = np.array(list(run))
        state, records = jax.lax.scan(partial(step, width), state, (keys[steps - 1], jnp.asarray(scales[steps])))
        history.append(records)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *history)
