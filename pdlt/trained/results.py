"""Estimates as a dataset that says what made it, and whether its errors are to be believed."""

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.ensemble.blocks import BLOCK
from pdlt.ensemble.doubt import DoubtfulErrorsWarning, concentrated
from pdlt.ensemble.results import not_below_rounding
from pdlt.ensemble.statistics import Accumulator, Estimate
from pdlt.ensemble.store import Record
from pdlt.networks import sha256
from pdlt.trained.observables import OBSERVABLES, estimates
from pdlt.trained.problem import Problem

if TYPE_CHECKING:
    import xarray


def dataset(problem: Problem, record: Record, total: Accumulator, attrs: dict[str, Any]) -> "xarray.Dataset":
    """Return the estimates and their errors, with what made them.

    Args:
        problem: what was trained.
        record: of the run.
        total: block means.
        attrs: further attributes, of gradient descent.
    """
    import xarray

    spec = record.spec
    results = estimates(spec["observables"], problem, spec["linearised"], total)
    variables: dict[str, Any] = {}
    for name, estimate in results.items():
        dims, meaning = OBSERVABLES[name].dims, OBSERVABLES[name].meaning
        variables[name] = (dims, estimate.value, {"meaning": meaning})
        error = not_below_rounding(estimate)
        if problem.rule == "flow":
            # Where pairs and linearisations take out all noise, what is left is the integrator's error.
            error = np.maximum(error, problem.tolerance * np.abs(estimate.value))
        variables[f"{name}_stderr"] = (dims, error, {"standard_error_of": name})
    coords: dict[str, Any] = {"time": problem.times}
    if "hidden_kernel_change" in results:
        coords["layer"] = list(range(1, problem.net.depth))
    eta = {"learning_rate": problem.learning_rate, **attrs} if problem.rule == "gd" else {}
    return xarray.Dataset(
        variables,
        coords,
        {
            "kind": "trained ensemble",
            "network": json.dumps(problem.net.describe()),
            "rule": problem.rule,
            **eta,
            **({"tolerance": problem.tolerance} if problem.rule == "flow" else {}),
            "samples": total.blocks * BLOCK,
            "pairs": int(spec["pairs"]),
            "linearised": spec["linearised"],
            "seed": spec["seed"],
            "kinks": "none" if problem.net.activation.is_smooth else "pointwise",
            "train_sha256": sha256(np.concatenate([problem.x_train, problem.y_train], axis=1)),
            "test_sha256": sha256(problem.x_test),
            **doubts(problem, results),
            "versions": json.dumps(record.versions),
        },
    ).transpose("layer", "time", ..., missing_dims="ignore")


def doubts(problem: Problem, results: dict[str, Estimate]) -> dict[str, Any]:
    """Return which errors are doubtful, and from which time on, as attributes; warn of them."""
    bad = {name: concentrated(estimate) for name, estimate in results.items()}
    found = {name: float(problem.times[int(np.argmax(where))]) for name, where in bad.items() if where.any()}
    if not found:
        return {}
    where = ", ".join(f"{name} (from time {time:g} on)" for name, time in found.items())
    warnings.warn(
        f"The standard errors of {where} are not to be believed: the average is carried by a few networks. Use wider "
        "or shallower networks, more of them, or earlier times.",
        DoubtfulErrorsWarning,
        stacklevel=4,
    )
    return {"errors_doubtful": list(found), "errors_doubtful_from": list(found.values())}
