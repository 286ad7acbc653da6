"""`pdlt modes` as a user runs it."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

import pdlt
from pdlt.cli.modes import command
from pdlt.learning.continuum import population_modes
from pdlt.learning.modes import modes

NETWORK = ["--activation", "relu", "--C-W", "2", "--C-b", "0.1", "--depth", "3"]
NET = pdlt.MLP(3, 8, "relu", C_W=2.0, C_b=0.1)
X, Y = [[-1.6], [-0.8], [0.1]], [-0.5, 0.8, -0.2]


def run(*arguments):
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=True)


def test_dataset_as_table_json_and_figure(tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "y.csv").write_text("-0.5\n0.8\n-0.2\n")
    data = ["--inputs", tmp_path / "x.npy", "--labels", tmp_path / "y.csv", "--ridge", 0.1]
    found = modes(NET, X, Y, ridge=0.1)
    result = run(*NETWORK, *data, "--figure", tmp_path / "modes.png")
    assert result.exit_code == 0 and (tmp_path / "modes.png").stat().st_size > 5000
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["1"])
    assert row[1] == f"{float(found.eigenvalue[0]):.4g}" and row[4] == f"{float(found.label_power[0]):.4g}"
    assert f"effective dimension {found.attrs['effective_dimension']:.4g} at ridge 0.1" in result.stdout
    document = json.loads(run(*NETWORK, *data, "--json").stdout)
    np.testing.assert_allclose(document["data"]["projection"]["values"], found.projection)
    inline = run(*NETWORK, "--x", json.dumps(X), "--y", json.dumps(Y), "--ridge", 0.1, "--json")
    assert json.loads(inline.stdout) == document


def test_singular_matrices_are_plain_json(tmp_path):
    path = tmp_path / "modes.csv"
    result = run("--activation", "relu", "--C-W", 2, "--x", "[[1],[2]]", "--y", "[1,1]", "--json", "-o", path)
    document = json.loads(result.stdout, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert document["attrs"]["condition"] is None and document["attrs"]["rank"] == 1
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["resolved"] for row in rows] == ["true", "false"] and rows[1]["time"] == "inf"
    table = run("--activation", "relu", "--C-W", 2, "--x", "[[1],[2]]", "--y", "[1,1]").stdout
    assert "never learned: 0.1" in table


def test_distribution(tmp_path):
    data = ["--distribution", "cube", "--dimension", 4, "--observable", "K"]
    found = population_modes(NET, "cube", 4, observable="K")
    result = run(*NETWORK, *data, "-o", tmp_path / "cube.csv", "--figure", tmp_path / "cube.svg")
    assert result.exit_code == 0 and (tmp_path / "cube.svg").exists()
    rows = list(csv.DictReader((tmp_path / "cube.csv").read_text().splitlines()))
    assert [float(row["eigenvalue"]) for row in rows] == found.eigenvalue.values.tolist()
    table = run(*NETWORK, *data).stdout
    assert "on the cube {-1, 1}^4 (parities)" in table
    last = [line.split() for line in table.splitlines() if line.split()[:2] == ["4", "1"]]
    assert last[0][-1] == "1.000000"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exactly one of --inputs"),
        (("--x", "[[1]]", "--y", "[1"), "--y must be JSON"),
        (("--x", "[[1]]", "--y", "[1]", "--labels", "y.csv"), "not both"),
        (("--x", "[[1]]", "--labels", "missing.csv"), "Option --labels: missing.csv could not be read"),
        (("--x", "[[1]]", "--y", "[1, 2]"), "`y` must be an array"),
        (("--x", "[[1]]", "--degrees", "3"), "--degrees goes with --distribution"),
        (("--distribution", "circle", "--ridge", "1"), "--ridge must be left out beside --distribution"),
        (("--distribution", "torus"), "`distribution` must be circle, sphere or cube"),
        (("--x", "[[1]]", "-o", "modes.txt"), "--output must end in .json or .csv"),
        (("--x", "[[1]]", "--figure", "modes.gif"), "--figure must end in .png"),
    ],
)
def test_bad_input(arguments, message):
    result = run(*arguments)
    assert isinstance(result.exception, pdlt.PdltError) and message in str(result.exception)


def test_figures_of_one_input_and_of_a_zero_kernel(tmp_path):
    for name, x in (("one.png", "[[0.7]]"), ("zero.png", "[[0]]")):
        path = tmp_path / name
        result = run("--activation", "relu", "--C-W", 2, "--depth", 2, "--x", x, "--y", "[1]", "--figure", path)
        assert result.exit_code == 0 and path.stat().st_size > 5000
