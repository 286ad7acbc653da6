"""What a run will cost: estimated before anything is allocated, and said while a long run can still be stopped.

Before anything is compiled a guess knows memory traffic and little else: times are good to a factor of ten
(tests/ensemble/test_forecast.py). Once a block was drawn they are measured.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt._machine import machine_memory
from pdlt.ensemble.blocks import BLOCK, PRECISIONS, SAMPLERS, divided, moment_shapes
from pdlt.ensemble.specs import Moment
from pdlt.ensemble.statistics import GROUPS
from pdlt.errors import PdltError
from pdlt.networks import MLP

#: Bytes that samplers go through in a second, measured on two cores: 0.5e9 to 8e9. And the seconds that no block, and
#: no layer of a part of a block, can do without, as measured for the smallest networks.
THROUGHPUT = 3e9
DISPATCH = 5e-5
STEP = 3e-6
#: Seconds to compile a layer of `network`, which has no loop over layers.
UNROLLED = 0.5
YEAR = 31_557_600.0
LONGEST = 10 * YEAR
WORTH_SAYING = 60.0  # seconds


@dataclass(frozen=True)
class Cost:
    """What a run takes, roughly.

    Attributes:
        drawing: bytes for a block, where it is drawn.
        estimating: bytes to turn sums into estimates, where they are collected.
        seconds: of one process, compilation of long networks included; up to a factor of ten.
    """

    drawing: float
    estimating: float
    seconds: float


def cost(
    net: MLP,
    x: np.ndarray,
    spec: dict[str, Any],
    wanted: tuple[Moment, ...],
    layers: tuple[int, ...],
    blocks: int,
) -> Cost:
    """Return what it takes to draw so many blocks and to turn them into estimates.

    Raises:
        PdltError: if the sampler does not know a moment.
    """
    parts, drawing = divided(net, x, spec, wanted, layers)
    sizes = [math.prod(shape) for shape in moment_shapes(wanted, layers, len(x)).values()]
    estimating = 8.0 * min(blocks, GROUPS) * (2 * sum(sizes) + 4 * max(sizes))
    deepest = max(layers) - 1
    if spec["sampler"] in ("jets", "path"):
        # What they hold is the history and one layer; each layer is gone through.
        one = SAMPLERS[spec["sampler"]].workload(net, len(x), x.shape[1], wanted, (2,))
        one *= PRECISIONS[spec["precision"]] / 8 * sum(net.width[:deepest]) / net.width[0]
        traffic = parts * drawing + BLOCK * one
    else:  # all layers are held; to measure a layer is to go through those below
        traffic = parts * drawing * (1 + len(layers)) / 2
    block = DISPATCH + parts * deepest * STEP + traffic / THROUGHPUT
    compiling = UNROLLED * deepest if spec["sampler"] == "network" else 0.0
    return Cost(drawing, estimating, compiling + blocks * block)


def require(memory: float, seconds: float) -> None:
    """Refuse what this machine cannot hold, or finish.

    Raises:
        PdltError: if `memory` bytes are more than the machine has, or the time is beyond ten years.
    """
    available = machine_memory()
    refused = []
    if memory > available:
        refused.append(
            f"need about {memory / 2**30:.2g} GiB of memory (this machine has {available / 2**30:.3g} GiB); choose "
            "fewer inputs, observables or layers, or smaller widths"
        )
    if seconds > LONGEST:
        refused.append(
            f"take about {duration(seconds)} of computing (at most {duration(LONGEST)} are accepted); choose fewer "
            "samples, inputs, observables or layers, or smaller widths, or let until_time end it"
        )
    if refused:
        raise PdltError(f"The simulation would {', and '.join(refused)}.")


def forecast(seconds: float, blocks: int, memory: float, disk: float) -> str:
    """Return what a run will cost; empty if that is less than a minute.

    Args:
        seconds: time of one block.
        blocks: how many there are.
        memory: bytes that the run needs.
        disk: bytes that a block takes in the store, 0 without a store.
    """
    if seconds * blocks < WORTH_SAYING:
        return ""
    parts = [f"{duration(seconds * blocks)} of computing", f"{max(memory, 1e6) / 1e6:.0f} MB of memory"]
    if disk:
        parts.append(f"{disk * blocks / 1e6:.3g} MB in the store")
    return f"{blocks * BLOCK} samples will take about {', '.join(parts)}."


def duration(seconds: float) -> str:
    """Return a time to read."""
    for unit, size in (("years", YEAR), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
