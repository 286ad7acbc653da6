"""Reading a run back from its file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdlt.ensemble import doubt
from pdlt.ensemble.blocks import moment_shapes, vector_size
from pdlt.ensemble.results import dataset, fan_in, provenance
from pdlt.ensemble.specs import NAMED, cumulants
from pdlt.ensemble.statistics import ROUNDING, Accumulator, estimates
from pdlt.ensemble.store import Store
from pdlt.ensemble.tasks import Recipe, rebuild
from pdlt.errors import PdltError

if TYPE_CHECKING:
    import xarray


def recorded(path: str | Path) -> "xarray.Dataset":
    """Return the measurement that a store file holds, from its blocks 0, 1, ... up to the first one missing.

    Args:
        path: a file written by `simulate(..., store=path)`. It is only read.

    Returns:
        Dataset as of `simulate`, with layer 1 and the layers measured, and the versions that began the run.

    Raises:
        PdltError: if the file is not a run store or is damaged, or holds fewer than two blocks, or than the
            components of a cumulant.

    Warns:
        DoubtfulErrorsWarning: as `simulate`.
    """
    with Store(path) as store:
        record = store.record
        try:
            net, x, spec, wanted, layers = rebuild(Recipe(json.dumps(record.spec), record.inputs.tobytes()))
            spec = {"precision": "float64", "outputs": None, **spec}  # the first stores did not say
            measured = cumulants(spec["observables"])
            shapes = moment_shapes(wanted, layers, len(x))
            total = Accumulator(vector_size(shapes))
            for means in _prefix(store):
                total.add(means)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, PdltError):
                raise
            raise PdltError(f"Argument `store`: {str(path)!r} does not describe a run of pdlt ({error!r}).") from error
    fewest = max(2, *(c.order for c in measured))
    if total.blocks < fewest:
        raise PdltError(
            f"Argument `store`: {str(path)!r} holds {total.blocks} blocks in a row; estimates need {fewest}."
        )
    attrs = provenance(net, x, (1, *layers), spec, total.blocks, record.versions)
    results = estimates(measured, total, shapes, fan_in(net, x, layers), ROUNDING[spec["precision"]])
    doubts = doubt.doubtful(net, measured, results, layers, attrs["samples"])
    doubt.warn(net, measured, layers, doubts, attrs["samples"])
    attrs |= doubt.attributes(doubts)
    measured.sort(key=lambda c: [*NAMED, c.name].index(c.name))
    return dataset(net, x, measured, (1, *layers), results, attrs)


def _prefix(store: Store, chunk: int = 1000) -> Iterator[np.ndarray]:
    """Yield the means of blocks 0, 1, ... up to the first one missing."""
    number = 0
    while found := store.read(number, number + chunk):
        for _ in range(chunk):
            if number not in found:
                return
            yield found[number]
            number += 1
