"""Blocks: the unit of sampling. Block k of a run is a pure function of the run's spec and of k."""

import json
import math
import os
import time
import zlib
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._jax import x64
from pdlt.ensemble import jets, network
from pdlt.ensemble.specs import Moment
from pdlt.ensemble.statistics import GROUPS
from pdlt.ensemble.store import Store
from pdlt.errors import PdltError
from pdlt.networks import MLP

SAMPLERS = {"jets": jets, "network": network}
BLOCK = 50  # samples in a block; part of what a seed means
STREAM = 1  # to be raised whenever equal seeds begin to give different numbers
WORKING_SET = 2.0**23  # bytes, about what fits into caches; larger blocks are drawn in equal parts

Shape = tuple[int, ...]
Block = Callable[[int], tuple[Any, Any]]


def compile_block(
    net: MLP,
    x: np.ndarray,
    spec: dict[str, Any],
    wanted: tuple[Moment, ...],
    layers: tuple[int, ...],
    blocks: int,
) -> tuple[Block, list[Shape]]:
    """Return the compiled function of the block number, and the shapes that its vector of means is made of.

    What is compiled depends on the run's spec alone, not on `batch` or on the machine's memory: a block has
    the same bits however it is scheduled.

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        spec: what determines the blocks, with the sampler's name and the seed.
        wanted: moments to average.
        layers: measured layers, all above 1.
        blocks: number of blocks of the run.

    Returns:
        The function number -> (vector of means, which layers from 2 on are finite) and the moments' shapes.

    Raises:
        PdltError: if the run needs more memory than the machine has, or the sampler does not know a moment.
    """
    sampler = SAMPLERS[spec["sampler"]]
    shapes = [(len(layers),) + (len(x),) * (2 * len(moment)) for moment in wanted]
    each = sampler.workload(net, len(x), x.shape[1], wanted, layers)
    divisors = [p for p in range(1, BLOCK + 1) if BLOCK % p == 0]
    parts = min((p for p in divisors if BLOCK / p * each <= WORKING_SET), default=BLOCK)
    sizes = [math.prod(shape) for shape in shapes]
    _check_memory(BLOCK / parts * each + 8.0 * min(blocks, GROUPS) * (sum(sizes) + 4 * max(sizes)))
    draw = sampler.sampler(net, x, wanted, layers)
    # Runs of different networks with equal seeds must not share random numbers.
    label = np.uint32(zlib.crc32(json.dumps({**spec, "seed": None, "jax": None}, sort_keys=True).encode()))

    def part(key: Any) -> tuple[Any, Any]:
        means, finite = draw(key, BLOCK // parts)
        return jnp.concatenate([mean.ravel() for mean in means]), finite

    @jax.jit
    def block(number: Any) -> tuple[Any, Any]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(spec["seed"]), label), number)
        means, finite = jax.lax.map(part, jax.random.split(key, parts))
        return means.mean(axis=0), finite.all(axis=0)

    return block, shapes


def blocks_in_order(
    block: Block, blocks: int, chunk: int, store: Store | None, progress: bool | None
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield number and means of all blocks in order, from the store if they are there, else drawn and stored.

    Raises:
        PdltError: if a layer overflows; blocks drawn so far stay in the store.
    """
    from tqdm import tqdm

    known = store.known() if store else set()
    pending: dict[int, np.ndarray] = {}
    written = time.monotonic()
    disable = None if progress is None else not progress
    bar = tqdm(total=blocks * BLOCK, unit=" samples", delay=0 if progress else 2, disable=disable)
    with bar, x64():
        try:
            for start in range(0, blocks, chunk):
                batch = range(start, min(start + chunk, blocks))
                # Dispatch first, fetch after: the device is not idle while the host adds up.
                drawn = {number: block(number) for number in batch if number not in known}
                for number in batch:
                    if store and number in known:
                        means = store.read(number)
                    else:
                        means, finite = (np.asarray(part) for part in drawn[number])
                        if not finite.all():
                            raise overflow(int(np.argmin(finite)) + 2)
                        pending[number] = means
                    yield number, means
                bar.update(len(batch) * BLOCK)
                if store is None:
                    pending.clear()
                elif time.monotonic() - written > 1:
                    store.write(pending)
                    pending.clear()
                    written = time.monotonic()
        finally:
            if store and pending:
                store.write(pending)


def overflow(layer: int) -> PdltError:
    """Return the error that says in which layer numbers stopped being finite."""
    return PdltError(
        f"Argument `net`: the ensemble overflows double precision at layer {layer}; choose smaller C_b, C_W, "
        "lambda_b, lambda_W or depth."
    )


def _check_memory(needed: float) -> None:
    try:
        available = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # no such question on this platform
        return
    if needed > available:
        raise PdltError(
            f"The simulation would need about {needed / 2**30:.3g} GiB, but this machine has "
            f"{available / 2**30:.3g} GiB; choose fewer inputs, observables or layers, or smaller widths."
        )
