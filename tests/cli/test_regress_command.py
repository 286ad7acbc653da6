"""`pdlt regress` as a user runs it."""

import json
import math
import re

import numpy as np
import pytest

from pdlt.cli import main
from pdlt.learning.scores import scores

NETWORK = ["--activation", "relu", "--C-W", "2", "--C-b", "0.1", "--lambda-b", "1", "--depth", "3"]
DATA = ["--x", "[[-1],[0.2],[0.9]]", "--y", "[1,0,-1]"]


def regress(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["regress", *NETWORK, *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture
def files(tmp_path):
    """Four classes on the plane: (name, path) of training and test data."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * math.pi, 60)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1) + 0.1 * rng.normal(size=(60, 2))
    y = np.eye(4)[(angles // (math.pi / 2)).astype(int)]
    np.save(tmp_path / "x.npy", x[:40])
    np.savetxt(tmp_path / "y.csv", y[:40], delimiter=",")
    np.savetxt(tmp_path / "u.csv", x[40:], delimiter=",")
    np.save(tmp_path / "v.npy", y[40:])
    names = {"--inputs": "x.npy", "--labels": "y.csv", "--test-inputs": "u.csv", "--test-labels": "v.npy"}
    return [item for option, name in names.items() for item in (option, tmp_path / name)]


def test_on_training_points(capsys):
    code, out, err = regress(capsys, *DATA, "--times", "0,inf")
    assert code == 0 and not err
    assert "gradient flow, ridge 0; 3 training inputs, 3 points, 1 output\n" in out
    assert "gradient descent converges for learning rates below 0." in out
    rows = [line.split() for line in out.splitlines()]
    assert ["inf", "2", "0", "-1"] in rows
    # K of ReLU with C_W = 2 on one input: 2 x.x plus depth times 0.1.
    assert ["0", "0", "0", "0.0", "±", "1.5"] in rows


def test_classes(capsys, files, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = [*files, "--times", "1,10,inf", "--figure", tmp_path / "r.png", "-o", tmp_path / "r.csv"]
    code, out, err = regress(capsys, *arguments)
    assert code == 0 and err.count("Wrote") == 2
    last = next(line for line in out.splitlines() if line.strip().startswith("inf")).split()
    assert float(last[2]) > 0.7
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0] == "time,point,output,mean,deviation"
    assert len(lines) == 1 + 3 * 20 * 4
    # The printed accuracy is that of the file.
    mean = np.array([float(line.split(",")[3]) for line in lines[1:]]).reshape(3, 20, 4)
    truth = np.load(files[-1])
    assert float(last[2]) == pytest.approx((mean[-1].argmax(1) == truth.argmax(1)).mean(), abs=1e-3)
    assert float(last[1]) == pytest.approx(((mean[-1] - truth) ** 2).mean(), rel=1e-3)


def test_json_has_no_infinity(capsys, tmp_path):
    code, out, _ = regress(capsys, *DATA, "--times", "1,inf", "--covariance", "full", "--json")
    assert code == 0
    document = json.loads(out, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert document["schema"] == "pdlt.dataset/1"
    assert document["coords"]["time"] == [1.0, "inf"]
    assert document["data"]["covariance"]["dims"] == ["time", "point", "point_", "output", "output_"]
    np.testing.assert_allclose(np.ravel(document["data"]["mean"]["values"][1]), [1, 0, -1], atol=1e-12)


def test_posterior(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ["--posterior", "--noise", "0.01", "--figure", tmp_path / "p.svg", "-o", tmp_path / "p.json"]
    code, out, _ = regress(capsys, *DATA, *arguments)
    assert code == 0 and "Bayesian posterior, noise 0.01; 3 training inputs" in out
    assert "time" not in json.loads((tmp_path / "p.json").read_text())["coords"]
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()


def test_gradient_descent(capsys):
    code, out, _ = regress(capsys, *DATA, "--rule", "gd", "--learning-rate", "0.05", "--times", "10,100")
    assert code == 0 and "gradient descent, learning rate 0.05, ridge 0" in out


def test_frozen_modes_are_counted(capsys):
    singular = ["--x", "[[1],[2],[3]]", "--y", "[1,0,-1]", "--C-b", "0", "--lambda-b", "0"]
    code, _, err = regress(capsys, *singular)
    assert code == 2 and "numerically singular" in err and "unresolved='freeze'" in err
    code, out, _ = regress(capsys, *singular, "--unresolved", "freeze", "--json")
    attrs = json.loads(out)["attrs"]
    assert code == 0 and attrs["frozen"] == 2 and attrs["condition"] is None
    assert ", 2 modes frozen" in regress(capsys, *singular, "--unresolved", "freeze")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x", "[[1]]"], "exactly one of --labels FILE and --y"),
        (["--x", "[[1]]", "--y", "[1,"], "--y must be JSON"),
        (["--x", "[[1]]", "--y", "[1,2]"], r"`labels` must be .* but got shape \(2,\)"),
        ([*DATA, "--times", "soon"], "--times must be a number"),
        ([*DATA, "--times", "-1"], "`times` must be non-negative"),
        ([*DATA, "--noise", "1"], "--noise goes with --posterior"),
        ([*DATA, "--posterior", "--ridge", "1"], "--ridge must be left out beside --posterior"),
        ([*DATA, "--rule", "gd", "--learning-rate", "9"], "`learning_rate` must be below"),
        ([*DATA, "--test-inputs", "missing.csv"], "--test-inputs: missing.csv could not be read"),
        (["--x", "[[1,2]]", "--y", "[1]", "--figure", "a.png"], "--figure needs inputs of one dimension"),
        ([*DATA, "--covariance", "full"], "--covariance full goes with --json or -o FILE.json"),
        ([*DATA, "--figure", "a.gif"], "--figure must end in"),
        ([*DATA, "-o", "a.npy"], "--output must end in"),
    ],
)
def test_bad_input_is_named(capsys, arguments, message):
    code, _, err = regress(capsys, *arguments)
    assert code == 2
    assert re.search(message, err)


def test_scores_need_labels_of_the_right_shape():
    import pdlt
    from pdlt.learning.posterior import posterior

    found = posterior(pdlt.MLP(2, 8, "relu"), [[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.5], [1.0, 1.0]])
    with pytest.raises(pdlt.PdltError, match=r"`y_test` must be .* shape \(2, 2\)"):
        scores(found, [[1.0], [0.0]])
    assert "accuracy" not in scores(found, [[1.0, 0.0], [0.7, 0.3]])
    assert scores(found, [[0.9, -0.1], [-0.1, 0.9]]).accuracy.item() == 0.5


def test_the_figure_of_a_line_is_drawn_on_a_grid(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from pdlt.report import regression_figure

    drawn = []
    monkeypatch.setattr(
        regression_figure, "_curves", lambda axes, found, x, y, at: drawn.append((found.sizes["point"], at))
    )
    code, out, _ = regress(capsys, *DATA, "--figure", tmp_path / "a.png")
    assert code == 0 and "3 training inputs, 3 points, 1 output" in out
    (count, at), *more = drawn
    assert not more and count == len(at) == 200
    assert at.min() < -1 and at.max() > 0.9


def test_posterior_at_finite_width(capsys, tmp_path):
    arguments = ["--activation", "erf", "--width", 64, "--posterior", "--noise", "0.1", "--order", "1", *DATA[:2]]
    code, out, err = regress(capsys, *arguments, "--y", "[0.6,0,-0.6]", "--json")
    assert code == 0 and not err
    found = json.loads(out)
    assert found["attrs"]["width"] == 64
    mean, first, evidence, change = (
        np.array(found["data"][name]["values"]) for name in ("mean", "mean_1", "log_evidence", "log_evidence_1")
    )
    code, out, err = regress(capsys, *arguments, "--y", "[0.6,0,-0.6]")
    assert code == 0 and "Bayesian posterior to order 1/n at width 64, noise 0.1" in out
    assert f"= {evidence + change / 64:.4f}\n" in out
    # Three digits are shown.
    row = next(line.split() for line in out.splitlines() if line.split()[:2] == ["0", "0"])
    assert float(row[2]) == pytest.approx(mean[0, 0] + first[0, 0] / 64, abs=6e-3)


def test_order_belongs_to_the_posterior(capsys):
    code, _, err = regress(capsys, *DATA, "--order", "1")
    assert code == 2 and "Option --order goes with --posterior." in err
