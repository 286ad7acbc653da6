"""Blocks: the unit of sampling. Block k of a run is a pure function of the run's spec and of k."""

import json
import math
import os
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble import conditioned, jets, network, structured
from pdlt.ensemble.specs import Moment
from pdlt.ensemble.statistics import GROUPS
from pdlt.errors import PdltError
from pdlt.networks import MLP

SAMPLERS = {"jets": jets, "conditioned": conditioned, "structured": structured, "network": network}
BLOCK = 50  # samples in a block; part of what a seed means
STREAM = 1  # to be raised whenever equal seeds begin to give different numbers
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
    """Return the function of seed and block number, to be compiled in double precision.

    What is compiled depends on the run's spec alone, not on the batch, the executor or the machine's memory: a
    block has the same bits however it is scheduled. It does not depend on the seed either, which is an argument.

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        spec: what determines the blocks, with the sampler's name.
        wanted: moments to average.
        layers: measured layers, all above 1.

    Returns:
        The function (seed, number) -> (vector of means, which layers from 2 on are finite).

    Raises:
        PdltError: if the sampler does not know a moment.
    """
    draw = SAMPLERS[spec["sampler"]].sampler(net, x, wanted, layers)
    parts, _ = _parts(net, x, spec, wanted, layers)
    # Runs of different networks with equal seeds must not share random numbers.
    label = np.uint32(zlib.crc32(json.dumps({**spec, "seed": None, "jax": None}, sort_keys=True).encode()))

    def part(key: Any) -> tuple[Any, Any]:
        means, finite = draw(key, BLOCK // parts)
        return jnp.concatenate([mean.ravel() for mean in means]), finite

    def block(seed: Any, number: Any) -> tuple[Any, Any]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), label), number)
        means, finite = jax.lax.map(part, jax.random.split(key, parts))
        return means.mean(axis=0), finite.all(axis=0)

    return block


def memory(
    net: MLP, x: np.ndarray, spec: dict[str, Any], wanted: tuple[Moment, ...], layers: tuple[int, ...], blocks: int
) -> tuple[float, float]:
    """Return roughly how many bytes it takes to draw a block, and to turn `blocks` of them into estimates.

    Raises:
        PdltError: if the sampler does not know a moment.
    """
    sizes = [math.prod(shape) for shape in moment_shapes(wanted, layers, len(x)).values()]
    return _parts(net, x, spec, wanted, layers)[1], 8.0 * min(blocks, GROUPS) * (sum(sizes) + 4 * max(sizes))


def require_memory(needed: float) -> None:
    """Refuse what this machine cannot hold.

    Raises:
        PdltError: if `needed` bytes are more than the machine has.
    """
    try:
        available = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # no such question on this platform
        return
    if needed > available:
        raise PdltError(
            f"The simulation would need about {needed / 2**30:.3g} GiB, but this machine has "
            f"{available / 2**30:.3g} GiB; choose fewer inputs, observables or layers, or smaller widths."
        )


def _parts(
    net: MLP, x: np.ndarray, spec: dict[str, Any], wanted: tuple[Moment, ...], layers: tuple[int, ...]
) -> tuple[int, float]:
    """Return in how many parts a block is drawn, and how many bytes one part needs."""
    each = SAMPLERS[spec["sampler"]].workload(net, len(x), x.shape[1], wanted, layers)
    divisors = [p for p in range(1, BLOCK + 1) if BLOCK % p == 0]
    parts = min((p for p in divisors if BLOCK / p * each <= WORKING_SET), default=BLOCK)
    return parts, BLOCK / parts * each


def overflow(layer: int) -> PdltError:
    """Return the error that says in which layer numbers stopped being finite."""
    return PdltError(
        f"Argument `net`: the ensemble overflows double precision at layer {layer}; choose smaller C_b, C_W, "
        "lambda_b, lambda_W or depth."
    )
