"""A training problem with a prediction and an ensemble made up of round numbers, for tests of tables and figures."""

import json

import numpy as np
import xarray

import pdlt

NET = pdlt.MLP(3, 10, "tanh", 0.3, 1.4)
TIMES = np.array([0.5, 2.0, np.inf])
POINT, PAIR = ("time", "point", "output"), ("time", "point", "point_", "output", "output_")


def prediction(order=1):
    """Mean 1, variance 0.04, corrections 0.5/n and 0.1/n, n = 10, on three points of two outputs."""
    ones = np.ones((3, 3, 2))
    variables = {"mean": (POINT, ones), "variance": (POINT, 0.04 * ones), "learning_time": ("mode", [0.4, 2.0])}
    if order:
        parts = np.stack([0.5 * ones, -0.4 * ones, 0.2 * ones, 0.2 * ones])
        variables |= {"mean_1": (POINT, parts.sum(0)), "mean_1_parts": (("part", *POINT), parts)}
        variables |= {"variance_1": (POINT, 0.1 * ones), "kernel_change_1": (PAIR, np.ones((3, 3, 3, 2, 2)))}
        variables |= {"alignment": ("time", np.full(3, 0.3)), "alignment_1": ("time", np.full(3, -0.2))}
        variables |= {"hidden_kernel_change_1": (("layer", "time", "point", "point_"), np.ones((2, 3, 3, 3)))}
    attrs = {"kind": "training", "order": order, "rule": "flow", "test_sha256": "abc", "training_inputs": 2}
    attrs["network"] = json.dumps(NET.describe())
    return xarray.Dataset(variables, {"time": TIMES}, attrs)


def ensemble(off=0.0):
    """What order 1 says plus `off`, standard errors 0.01, at the finite times."""
    covariance = 0.05 * np.einsum("pq,ij->pqij", np.eye(3), np.eye(2))
    values = {
        "mean": (POINT, np.full((2, 3, 2), 1.05 + off)),
        "covariance": (PAIR, np.stack([covariance] * 2)),
        "kernel_change": (PAIR, np.full((2, 3, 3, 2, 2), 0.1 + off)),
        "alignment": (("time",), np.full(2, 0.28 + off)),
        "hidden_kernel_change": (("layer", "time", "point", "point_"), np.full((2, 2, 3, 3), 0.1 + off)),
    }
    errors = {f"{name}_stderr": (dims, np.full(value.shape, 0.01)) for name, (dims, value) in values.items()}
    attrs = {**prediction().attrs, "kind": "trained ensemble", "samples": 100, "seed": 0}
    return xarray.Dataset(values | errors, {"time": TIMES[:2]}, attrs)
