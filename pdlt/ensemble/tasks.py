"""What is sent to whoever draws blocks, and what is done with it there.

A task is a picklable description: the run's spec as JSON, the inputs as bytes, block numbers. Whoever draws it
rebuilds the network, compiles once and keeps the compiled function. A run in one process goes the same way, so that
the bits agree.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pdlt._jax import x64
from pdlt.ensemble.blocks import BLOCK, STREAM, block_function
from pdlt.ensemble.specs import Moment, cumulants, moments
from pdlt.errors import PdltError
from pdlt.networks import MLP


@dataclass(frozen=True)
class Recipe:
    """What determines the blocks of a run, in a form that can be sent anywhere.

    Attributes:
        spec: the run's spec as JSON.
        inputs: the inputs, float64 in C order.
    """

    spec: str
    inputs: bytes


def rebuild(recipe: Recipe) -> tuple[MLP, np.ndarray, dict[str, Any], tuple[Moment, ...], tuple[int, ...]]:
    """Return network, inputs, spec, moments and layers of a recipe.

    Raises:
        PdltError: if one of them is not acceptable.
    """
    spec = json.loads(recipe.spec)
    fields = dict(spec["network"])
    if fields.pop("kind") != "MLP":
        raise PdltError(f"The run's network must be an MLP, but is {spec['network']!r}.")
    net = MLP(**fields)
    x = np.frombuffer(recipe.inputs, dtype=np.float64).reshape(spec["inputs_shape"])
    return net, x, spec, moments(cumulants(spec["observables"])), tuple(spec["layers"])


def draw(recipe: Recipe, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the means of the blocks, shape (blocks, size), which layers from 2 on are finite, and the seconds.

    The time does not contain compilation.

    Raises:
        PdltError: if this process runs other versions than the one that asks.
    """
    spec = json.loads(recipe.spec)
    ours = {"jax": jax.__version__, "block": BLOCK, "stream": STREAM}
    if any(spec[key] != value for key, value in ours.items()):
        asked = {key: spec[key] for key in ours}
        raise PdltError(f"The worker must run the same versions of pdlt and jax: it has {ours}, but {asked} is asked.")
    with x64():
        block = _compiled(recipe)
        start = time.perf_counter()
        results = [block(np.int64(spec["seed"]), np.int64(number)) for number in numbers]
        means, finite = (np.stack([np.asarray(result[k]) for result in results]) for k in (0, 1))
        return means, finite, time.perf_counter() - start


def _compiled(recipe: Recipe, kept: int = 8) -> Callable[[Any, Any], Any]:
    """Return the compiled function of seed and number; the last few runs' are kept, whatever their seeds."""
    key = (json.dumps({**json.loads(recipe.spec), "seed": None}, sort_keys=True), recipe.inputs)
    with _lock:
        if key not in _cache:
            function = jax.jit(block_function(*rebuild(recipe)))
            _cache[key] = function.lower(np.int64(0), np.int64(0)).compile()
            if len(_cache) > kept:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        return _cache[key]


_cache: OrderedDict[tuple[str, bytes], Any] = OrderedDict()
_lock = threading.Lock()
