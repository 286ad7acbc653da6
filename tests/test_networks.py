"""Networks validate themselves."""

import numpy as np
import pytest

import pdlt
from pdlt.networks import check_inputs


def test_scalars_and_sequences_are_normalised():
    net = pdlt.MLP(3, np.int64(8), "tanh", C_b=np.float32(0.5), C_W=[1, 2, 3])
    assert (net.width, net.C_b, net.C_W) == ((8, 8), (0.5,) * 3, (1.0, 2.0, 3.0))
    assert net.fan_in(1, 5) == 5 and net.fan_in(3, 5) == 8
    assert hash(net) == hash(pdlt.MLP(3, [8, 8], "tanh", C_b=0.5, C_W=(1, 2, 3)))


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"depth": 0}, "depth"),
        ({"depth": True}, "depth"),
        ({"depth": 2.0}, "depth"),
        ({"depth": 10**10}, "depth"),
        ({"width": -1}, "width"),
        ({"width": [4]}, "width"),
        ({"width": 10**400}, "width"),
        ({"width": None}, "width"),
        ({"C_b": -0.1}, "C_b"),
        ({"C_W": float("nan")}, "C_W"),
        ({"C_W": "12"}, "C_W"),
        ({"C_W": True}, "C_W"),
        ({"C_W": 1 + 1j}, "C_W"),
        ({"C_W": {1.0, 2.0, 3.0}}, "C_W"),
        ({"C_W": 10**400}, "C_W"),
        ({"lambda_b": [1.0, 2.0]}, "lambda_b"),
        ({"lambda_W": float("inf")}, "lambda_W"),
        ({"activation": "thanh"}, "activation"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(pdlt.PdltError, match=f"`{name}`"):
        pdlt.MLP(**{"depth": 3, "width": 4, "activation": "tanh", **arguments})


@pytest.mark.parametrize(
    "x",
    [
        [1.0, 2.0],
        [[1.0], [1.0, 2.0]],
        [[np.nan]],
        [[np.inf, 1.0]],
        [[1 + 2j]],
        [["1"]],
        [[None]],
        [[True]],
        np.zeros((0, 3)),
        np.ma.masked_array([[1.0, 2.0]], mask=[[0, 1]]),
        np.array([["2020-01-01"]], dtype="datetime64[D]"),
        None,
    ],
)
def test_bad_inputs_are_named(x):
    with pytest.raises(pdlt.PdltError, match="`x`"):
        check_inputs(x)
