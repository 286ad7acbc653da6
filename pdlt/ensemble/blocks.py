"""Blocks: the unit of sampling. Block k of a run is a pure function of the run's spec and of k."""

import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble import conditioned, jets, network, path, structured
from pdlt.ensemble.specs import Moment
from pdlt.errors import PdltError
from pdlt.networks import MLP

SAMPLERS = {"jets": jets, "path": path, "conditioned": conditioned, "structured": structured, "network": network}
#: Output neurons of the samplers that draw outputs, by default: as many as pay (docs/ensembles.md); the other samplers
#: integrate the last layer.
OUTPUTS = {"conditioned": 4, "structured": 4, "network": 2}
PRECISIONS = {"float64": 8, "float32": 4}  # bytes of a number
BLOCK = 50  # samples in a block; part of what a seed means
STREAM = 2  # to be raised whenever equal seeds begin to give different numbers
WORKING_SET = 2.0**23  # bytes, about what fits into caches; larger blocks are drawn in equal parts

Block = Callable[[Any, Any], tuple[Any, Any]]


def moment_shapes(wanted: tuple[Moment, ...], layers: tuple[int, ...], n_inputs: int) -> dict[Moment, tuple[int, ...]]:
    """Return the shapes of the moments that a block's vector of means is made of, in their order."""
    return {moment: (len(layers),) + (n_inputs,) * (2 * len(moment)) for moment in wanted}


def vector_size(shapes: dict[Moment, tuple[int, ...]]) -> int:
    """Return the length of a block's vector of means."""
    return sum(math.prod(shape) for shape in shapes.values())


def block_function(
    net: MLP, x: np.ndarray, spec: dict[str, Any], wanted: tuple[Moment, ...], layers: tuple[int, ...]
) -> Block:
    """Return the function of seed and block number, to be compiled in the spec's precision.

    What is compiled depends on the run's spec alone, not on the batch, the executor or the machine's memory: a
    block has the same bits however it is scheduled. It does not depend on the seed either, which is an argument.

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        spec: what determines the blocks, with the sampler's name and the precision.
        wanted: moments to average.
        layers: measured layers, all above 1.

    Returns:
        The function (seed, number), both as `words`, -> (vector of means, which layers from 2 on are finite).

    Raises:
        PdltError: if the sampler does not know a moment.
    """
    draw = SAMPLERS[spec["sampler"]].sampler(net, x, wanted, layers, **_outputs(spec))
    parts, _ = divided(net, x, spec, wanted, layers)
    measured = np.array(layers) - 2

    def part(key: Any) -> tuple[Any, Any]:
        means, finite = draw(key, BLOCK // parts)
        for mean in means:  # a product of finite numbers may overflow
            fine = jnp.isfinite(mean.reshape(len(layers), -1)).all(axis=1)
            finite = finite.at[measured].set(finite[measured] & fine)
        return jnp.concatenate([mean.ravel() for mean in means]), finite

    def block(seed: Any, number: Any) -> tuple[Any, Any]:
        means, finite = jax.lax.map(part, jax.random.split(block_key(spec, seed, number), parts))
        return means.mean(axis=0), finite.all(axis=0)

    return block


def block_key(spec: dict[str, Any], seed: Any, number: Any) -> Any:
    """Return the key of a block. Runs of different specs with equal seeds do not share random numbers."""
    label = np.uint32(zlib.crc32(json.dumps({**spec, "seed": None, "jax": None}, sort_keys=True).encode()))
    key = jax.random.wrap_key_data(seed, impl="threefry2x32")
    for word in (label, number[0], number[1]):
        key = jax.random.fold_in(key, word)
    return key


def words(value: int) -> np.ndarray:
    """Return a number below 2^64 as two of 32 bits, high word first: nothing is lost in single precision."""
    return np.array([value >> 32, value & 0xFFFFFFFF], dtype=np.uint32)


def divided(
    net: MLP, x: np.ndarray, spec: dict[str, Any], wanted: tuple[Moment, ...], layers: tuple[int, ...]
) -> tuple[int, float]:
    """Return in how many parts a block is drawn, and how many bytes one part needs.

    Raises:
        PdltError: if the sampler does not know a moment.
    """
    each = SAMPLERS[spec["sampler"]].workload(net, len(x), x.shape[1], wanted, layers, **_outputs(spec))
    each *= PRECISIONS[spec["precision"]] / 8
    divisors = [p for p in range(1, BLOCK + 1) if BLOCK % p == 0]
    parts = min((p for p in divisors if BLOCK / p * each <= WORKING_SET), default=BLOCK)
    return parts, BLOCK / parts * each


def _outputs(spec: dict[str, Any]) -> dict[str, int]:
    return {} if spec["outputs"] is None else {"outputs": spec["outputs"]}


def overflow(layer: int, precision: str) -> PdltError:
    """Return the error that says in which layer numbers stopped being finite."""
    remedy = 'precision="float64", or ' if precision == "float32" else ""
    return PdltError(
        f"Argument `net`: the ensemble overflows {precision} at layer {layer}; choose {remedy}smaller inputs, "
        "C_b, C_W, lambda_b, lambda_W or depth."
    )
