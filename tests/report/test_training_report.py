"""Training as text, JSON and a figure, on round numbers."""

import json

import numpy as np
import pytest
import trained_problem as made_up

from pdlt.compare_training import compare_training
from pdlt.report.training import training_json, training_table
from pdlt.report.training_figure import Layout, training_figure


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_table():
    prediction, run = made_up.prediction(), made_up.ensemble(0.02)
    text = training_table(compare_training(prediction, run), prediction, run, points=1)
    assert "gradient flow, 2 training inputs; modes are learned within 0.4 to 2" in text
    found = rows(text)
    assert ["0.5", "0", "1", "1.00000", "1.050", "±", "0.085", "1.070", "±", "0.010", "+2.0", "+0.2"] in found
    assert not any(row[:3] == ["0.5", "1", "0"] for row in found)  # of points that were not asked for
    last = next(row for row in found if row[:3] == ["inf", "0", "1"])
    assert last[-1] == "-" and "nan" not in text
    assert ["kernel_change", "2", "21", "0", "0.1", "0.12", "2.0", "0.3"] in found


def test_table_of_theory_alone():
    for order in (0, 1):
        prediction = made_up.prediction(order)
        text = training_table(compare_training(prediction), prediction, None, points=3)
        assert "ensemble" not in text and ("+ order 1" in text) == bool(order)


def test_long_tables_are_cut():
    prediction = made_up.prediction(0)
    prediction = prediction.isel(point=np.zeros(50, int))
    text = training_table(compare_training(prediction), prediction, None, points=50)
    assert "300 outputs: -o FILE.csv, -o FILE.json or --json; the last time:" in text
    assert sum(row[:1] == ["inf"] for row in rows(text)) == 40


def test_json_has_no_infinity():
    prediction, run = made_up.prediction(), made_up.ensemble()
    document = json.loads(training_json(compare_training(prediction, run), prediction, run))
    assert document["schema"] == "pdlt.training/1"
    last = document["comparison"][12]
    assert last["time"] == "inf" and last["entry"] == [0, 0] and last["measured"] is None
    assert document["run"]["data"]["mean"]["stderr"][0][0][0] == 0.01
    assert document["prediction"]["coords"]["time"][-1] == "inf"


@pytest.mark.parametrize("run", [None, made_up.ensemble()])
@pytest.mark.parametrize("axis", [None, np.array([0.3, -0.2, 0.9])])
def test_figure(tmp_path, run, axis):
    pytest.importorskip("matplotlib")
    layout = Layout(2, np.array([1, 2]), np.array([[1.0, 0.0], [0.0, 1.0]]), axis)
    training_figure(made_up.prediction(), run, layout, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 30_000


def test_figure_without_variances(tmp_path):
    pytest.importorskip("matplotlib")
    layout = Layout(3, np.array([0]), np.ones((1, 2)))
    prediction = made_up.prediction(0).drop_vars("variance").assign_attrs(rule="gd", learning_rate=0.1)
    training_figure(prediction, None, layout, tmp_path / "t.svg")
    assert b"steps" in (tmp_path / "t.svg").read_bytes() or (tmp_path / "t.svg").stat().st_size > 5_000
