"""The script behind docs/regression.md, on fewer images."""

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pdlt
from pdlt.learning.scores import scores
from pdlt.learning.training import predict_training as predict_to_an_order

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "digits.py"


def test_digits():
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("digits_of_the_docs", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    x, y, x_test, y_test = script.digits(training=200)
    assert x.shape == (200, 64) and y_test.shape == (1597, 10)
    net = pdlt.MLP(depth=3, width=512, activation="relu", C_W=2.0)
    found = scores(predict_training(net, x, y, x_test, [0.1, np.inf], covariance="none"), y_test)
    assert found.accuracy.values[0] < 0.93 < found.accuracy.values[1]
