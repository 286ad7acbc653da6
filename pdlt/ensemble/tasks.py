"""What is sent to whoever draws blocks, and what is done with it there.

A task is a picklable description: the run's spec as JSON, the inputs as bytes, block numbers. Whoever draws it
rebuilds the network, compiles once and keeps the compiled function, which draws one block on every device of the
process at a time. A run in one process goes the same way, so that the bits agree.
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
from jax.sharding import Mesh, PartitionSpec

from pdlt._jax import x64
from pdlt.ensemble.blocks import BLOCK, STREAM, Block, block_function, overflow, words
from pdlt.ensemble.specs import Moment, cumulants, moments
from pdlt.ensemble.statistics import Accumulator, sum_lanes
from pdlt.errors import PdltError
from pdlt.networks import MLP


@dataclass(frozen=True)
class Recipe:
    """What determines the blocks of a run, in a form that can be sent anywhere.

    Runs of another kind (`pdlt.trained`) derive from it and say what a block is there.

    Attributes:
        spec: the run's spec as JSON.
        inputs: the inputs, float64 in C order.
    """

    spec: str
    inputs: bytes

    def block(self) -> Block:
        """Return what draws a block, a function of seed and number: see `blocks.block_function`.

        Raises:
            PdltError: if the recipe is not acceptable.
        """
        return block_function(*rebuild(self))

    def unfinite(self, number: int, position: int) -> PdltError:
        """Return the error for a block in which this entry of what shall be finite is the first that is not."""
        return overflow(position + 2, json.loads(self.spec)["precision"])


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


def draw(recipe: Recipe, numbers: Sequence[int]) -> tuple[np.ndarray, dict[int, int], float]:
    """Return the means of the blocks, shape (blocks, size), where they are not finite, and the seconds.

    Where they are not finite: the number of a block and the first such entry, a layer for instance, counted from 0.
    The time does not contain compilation.

    Raises:
        PdltError: if this process runs other versions than the one that asks.
    """
    spec = json.loads(recipe.spec)
    ours = {"jax": jax.__version__, "block": BLOCK, "stream": STREAM}
    if any(spec[key] != value for key, value in ours.items()):
        asked = {key: spec[key] for key in ours}
        raise PdltError(f"The worker must run the same versions of pdlt and jax: it has {ours}, but {asked} is asked.")
    # What is beyond the range of single precision becomes infinite, and is found later.
    with x64(spec["precision"] == "float64"), np.errstate(over="ignore"):
        function, devices = _compiled(recipe)
        start = time.perf_counter()
        results = []
        for k in range(0, len(numbers), devices):
            # The last blocks may be fewer than the devices: the others repeat the last one.
            chosen = [numbers[min(k + device, len(numbers) - 1)] for device in range(devices)]
            results.append(function(words(spec["seed"]), np.stack([words(number) for number in chosen])))
        means, finite = (np.concatenate([result[k] for result in results])[: len(numbers)] for k in (0, 1))
        unfinite = {number: int(np.argmin(row)) for number, row in zip(numbers, finite, strict=True) if not row.all()}
        return means.astype(np.float64), unfinite, time.perf_counter() - start


def draw_sums(recipe: Recipe, numbers: Sequence[int], lanes: int) -> tuple[list[Accumulator], dict[int, int], float]:
    """Return sums over blocks instead of their means: what is sent back hardly grows with the blocks; see `draw`."""
    means, unfinite, seconds = draw(recipe, numbers)
    return sum_lanes(numbers, means, means.shape[1], lanes), unfinite, seconds


def _compiled(recipe: Recipe, kept: int = 8) -> tuple[Callable[[Any, Any], Any], int]:
    """Return the compiled function and how many blocks it draws; the last few runs' are kept, whatever their seeds.

    Its arguments are the seed and one block number for each device, its results have a first axis over blocks.
    """
    devices = jax.local_devices()
    key = (json.dumps({**json.loads(recipe.spec), "seed": None}, sort_keys=True), recipe.inputs)
    with _lock:
        if key not in _cache:
            block = recipe.block()

            def one(seed: Any, numbers: Any) -> tuple[Any, Any]:
                return jax.tree.map(lambda result: result[None], block(seed, numbers[0]))

            mesh, split, whole = Mesh(np.array(devices), ("blocks",)), PartitionSpec("blocks"), PartitionSpec()
            function = jax.shard_map(one, mesh=mesh, in_specs=(whole, split), out_specs=split, check_vma=False)
            _cache[key] = jax.jit(function).lower(words(0), np.stack([words(0)] * len(devices))).compile()
            if len(_cache) > kept:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        return _cache[key], len(devices)


_cache: OrderedDict[tuple[str, bytes], Any] = OrderedDict()
_lock = threading.Lock()
