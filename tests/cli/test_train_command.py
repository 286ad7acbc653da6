"""`pdlt train` as a user runs it; what the library does is tested where it lives."""

import csv
import json
import math

import numpy as np
import pytest
import xarray

from pdlt.cli import main
from pdlt.cli.train import _demo, _names

NETWORK = ["--depth", "2", "--width", "16", "--C-b", "0.3", "--C-W", "1.4", "--lambda-b", "0.7"]
DATA = ["--x", "[[0.9,-0.4],[0.2,1.3]]", "--y", "[1,-0.5]"]


def train(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def pretend(monkeypatch, off):
    """Let the ensemble be the kernel machine plus `off`, with standard errors of 0.001."""
    import pdlt.trained
    from pdlt.learning.training import predict_training

    def simulate(net, x, y, places, times, rule, learning_rate, *, observables, samples, seed, store, executor):
        found = predict_training(net, x, y, places, times.tolist(), 0, rule, learning_rate)
        values = {name: found[name] + (off if name == "mean" else 0) for name in observables}
        errors = {f"{name}_stderr": 0 * value + 0.001 for name, value in values.items()}
        attrs = {**found.attrs, "kind": "trained ensemble", "samples": samples, "seed": seed}
        return xarray.Dataset(values | errors, attrs=attrs)

    monkeypatch.setattr(pdlt.trained, "simulate_training", simulate)


def test_prediction_alone(capsys, tmp_path):
    arguments = ["--order", 0, "--samples", 0, "--times", "0,1,inf", "-o", tmp_path / "t.csv"]
    code, out, err = train(capsys, *NETWORK, *DATA, *arguments)
    assert code == 0 and err == f"Wrote {tmp_path / 't.csv'}.\n"
    found = [line.split() for line in out.splitlines()]
    assert ["inf", "1", "0", "-0.50000"] in found and "ensemble" not in out
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert {row["observable"] for row in rows} == {"mean", "variance"} and len(rows) == 2 * 3 * 2
    assert [row["prediction"] for row in rows][4:6] == [row["kernel_machine"] for row in rows][4:6]


def test_comparison_with_figure_and_json(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    pretend(monkeypatch, 0.0)
    np.save(tmp_path / "u.npy", [[0.5, 0.5]])
    arguments = ["--test-inputs", tmp_path / "u.npy", "--times", "1,inf", "--samples", 500, "--seed", 3]
    arguments += ["--z-max", 50]  # the correction is no more than that
    code, out, err = train(capsys, *NETWORK, *DATA, *arguments, "--figure", tmp_path / "t.png", "--json")
    assert code == 0 and err.startswith(f"Wrote {tmp_path / 't.png'}.\nNo verdict: ")
    document = json.loads(out)
    assert document["run"]["attrs"]["samples"] == 500 and document["run"]["attrs"]["seed"] == 3
    # One test point, followed by two training inputs: there the loss is.
    assert len(document["comparison"]) == 2 * 2 * 3
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    labels = [row["prediction"] for row in document["comparison"] if row["time"] == "inf"][1:3]
    np.testing.assert_allclose(labels, [1, -0.5], atol=1e-12)


def test_disagreement_ends_with_1(capsys, monkeypatch):
    pretend(monkeypatch, 1.0)
    code, out, err = train(capsys, *NETWORK, *DATA, "--times", 1, "--observables", "mean")
    assert code == 1 and "ensemble ± stderr" in out
    assert "2 of 2 entries differ by more than 5 standard errors plus the truncation: mean[0, 0] at time 1" in err


def test_an_ensemble_is_really_trained(capsys):
    code, out, err = train(capsys, *NETWORK, *DATA, "--times", 1, "--samples", 100, "--order", 0)
    assert code == 0, err
    assert "100 trained networks, seed 0" in out and "ensemble ± stderr" in out


def test_what_is_asked_of_the_library():
    assert _names("variance, alignment", 1) == (["mean", "variance", "alignment"], "tangent")
    assert _names("hidden_kernel_change,kernel_change", 1)[1] == "all"
    assert _names("mean", 0) == (["mean"], "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*DATA, "--order", 2], "Option --order must be an integer from 0 to 1, but got 2"),
        ([*DATA, "--samples", 7], "Option --samples must be 0 or a number of networks from 100, but got 7"),
        ([*DATA, "--times", "soon"], "Option --times must be a number"),
        ([*DATA, "--times", "-1"], "must be"),
        ([*DATA, "--times", "inf"], "Option --times must hold a finite time"),
        ([*DATA, "--observables", "mean,loss"], "Option --observables must be among mean, variance"),
        ([*DATA, "--observables", "alignment", "--order", 0], "Option --order must be 1 for what kernels do"),
        ([*DATA, "--rule", "gd", "--samples", 0], "Option --learning-rate must be given for rule gd"),
        ([*DATA, "--rule", "gd", "--learning-rate", 50, "--order", 0], "Option --learning-rate must be below"),
        ([*DATA[:2], "--samples", 0], "Give the labels by exactly one of"),
        ([*DATA[:2], "--y", "[1,NaN]"], "labels[1] is nan"),
        ([*DATA, "--activation", "relu", "--samples", 0], "has a kink"),
        ([*DATA, "-o", "t.nc"], "Option --output must end in .json or .csv"),
        ([*DATA, "--figure", "t.txt"], "Option --figure must end in"),
        ([*DATA, "--z-max", 0], "Option --z-max"),
        (["--demo", "--width", "64"], "With --demo the problem is fixed: leave out --width"),
    ],
)  # fmt: skip
def test_bad_options(capsys, arguments, message):
    code, out, err = train(capsys, *arguments)
    assert code == 2 and not out and "Traceback" not in err
    assert message in err


def test_the_demo_is_a_problem_on_an_arc():
    net, x, y, points, times, angles = _demo()
    np.testing.assert_allclose((x**2).sum(axis=1), 2)
    places = np.concatenate([points, x])
    np.testing.assert_allclose(np.arctan2(places[:, 1], places[:, 0]), angles)
    assert len(x) == len(y) == 4 and net.width == (32, 32) and math.isfinite(times[-1])
