"""From a case to z-scores."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pdlt.calibration import layerwise, shallow
from pdlt.calibration.cases import EXACT, Case
from pdlt.calibration.plants import Plant
from pdlt.ensemble import DoubtfulErrorsWarning, simulate
from pdlt.errors import PdltError
from pdlt.networks import MLP

NOISELESS = 1e-9  # errors below this, relative to the largest entry, are rounding
AGREEMENT = 1e-8  # how well two results without noise must agree, on the same scale

#: What takes a sampler long, and has little noise there, is measured with a fraction of the samples.
FRACTION = {("path", name): 4 for name in "RSTU"}

#: (net, x, observable, sampler, samples, seed) -> value and standard error in the last layer, entry by entry.
Measure = Callable[[MLP, np.ndarray, str, str, int, int], tuple[np.ndarray, np.ndarray]]


def measure(net: MLP, x: np.ndarray, observable: str, sampler: str, samples: int, seed: int) -> Any:
    """Return value and standard error of an observable in the last layer.

    Raises:
        PdltError: if the sampler refuses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulErrorsWarning)  # whether errors are honest is what is tested here
        run = simulate(net, x, [observable], samples, sampler, seed, layers=[net.depth], progress=False)
    return run[observable].values[0], run[f"{observable}_stderr"].values[0]


def exact(case: Case, net: MLP) -> np.ndarray:
    """Return the exact value of the case's observable for a network."""
    if case.kind == "covariance":
        order = len(case.entries[0]) // 2
        return np.full((1,) * (2 * order), layerwise.covariance_cumulant(net, case.x, order))
    solution = shallow if case.kind == "shallow" else layerwise
    return solution.moments(net, case.x)[case.observable]


def compare(case: Case, samples: int, plant: Plant | None = None, measure: Measure = measure) -> dict[str, Any]:
    """Return the record of a case, plain data.

    Args:
        case: what is compared.
        samples: of each side of a replicate; see also `FRACTION`.
        plant: an error to plant.
        measure: how to measure.

    Returns:
        Case, kind, observable and sides; for each replicate the entry, value and error of both sides and z = (first -
        second) / combined error. Where neither side is noisy, or the observable is 0 there, z is None and
        `agrees` says whether the values are equal to rounding. If a sampler refuses, only `refused` and `by`.
    """
    start = time.process_time()
    record: dict[str, Any] = {"case": case.number, "kind": case.kind, "observable": case.observable}
    record["sides"] = list(case.sides)
    plant = plant or Plant("nothing")
    nets = (case.net, plant.network(case.net))
    n = case.net.width[-1]
    known = exact(case, nets[1]) if EXACT in case.sides else None
    scores = []
    for entry, seed in zip(case.entries, case.seeds, strict=True):
        found = []
        for side, net in zip(case.sides, nets, strict=True):
            try:
                if known is not None and side == EXACT:
                    found.append((known, np.zeros_like(known)))
                else:
                    share = samples // FRACTION.get((side, case.observable), 1)
                    found.append(measure(net, case.x, case.observable, side, share, seed))
            except PdltError as error:
                return record | {"refused": str(error), "by": side, "seconds": time.process_time() - start}
        (first, first_error), (second, second_error) = found
        second = plant.value(second, n)
        errors = float(plant.errors * first_error[entry]), float(plant.errors * second_error[entry])
        scale = float(max(np.abs(first).max(), np.abs(second).max()))
        scores.append(score(entry, (float(first[entry]), float(second[entry])), errors, scale))
    return record | {"scores": scores, "seconds": time.process_time() - start}


def score(
    entry: tuple[int, ...], values: tuple[float, float], errors: tuple[float, float], scale: float
) -> dict[str, Any]:
    """Return a difference in units of its standard error, or whether it is rounding if there is none."""
    difference, combined = values[0] - values[1], float(np.hypot(*errors))
    noisy = combined > NOISELESS * scale
    return {
        "entry": list(entry),
        "values": list(values),
        "errors": list(errors),
        "z": difference / combined if noisy else None,
        "agrees": None if noisy else abs(difference) <= AGREEMENT * scale,
    }
