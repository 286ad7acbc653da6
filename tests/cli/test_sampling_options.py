"""Options that the commands which draw networks share."""

import json
import re

import pytest

from pdlt.cli import main
from pdlt.ensemble import simulate
from pdlt.networks import MLP

NETWORK = ["--activation", "linear", "--depth", "3", "--width", "8", "--x", "[[1.0]]", "--observables", "K,V"]


def pdlt(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    "command",
    [
        ["sweep", *NETWORK, "--widths", "4,8", "--samples", "10000000", "-o", "{}/x.json"],
        ["simulate", *NETWORK, "--samples", "100000000", "-o", "{}/x.json"],
        ["calibrate", "--cases", "400", "-o", "{}/x.md"],
        ["calibrate", "--cases", "400", "--figure", "{}/x.png"],
    ],
    ids=["sweep", "simulate", "calibrate", "figure"],
)
def test_a_missing_folder_is_noticed_before_the_work(capsys, tmp_path, command):
    """All of these would run for minutes or hours."""
    code, out, err = pdlt(capsys, *(part.format(tmp_path / "missing") for part in command))
    option = "--figure" if "--figure" in command else "--output"
    assert (code, out) == (2, "") and option in err and "missing" in err and "No such folder" in err


def test_compare_draws_as_simulate_does(capsys):
    code, out, _ = pdlt(
        capsys, "compare", *NETWORK, "--sampler", "path", "--until-stderr", "0.1", "--precision", "float32"
    )
    assert code == 0 and "sampler 'path'" in out


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("command", ["compare", "sweep"])
def test_bad_z_max(capsys, command, value):
    code, _, err = pdlt(capsys, command, *NETWORK, "--z-max", value)
    assert code == 2 and "--z-max must be a positive number" in err


def test_layers_are_the_last_one_those_named_or_all(capsys, tmp_path):
    def measured(*options):
        code, out, err = pdlt(capsys, "simulate", *NETWORK, "--samples", "200", "--json", *options)
        assert code == 0, err
        return json.loads(out)

    assert measured()["coords"]["layer"] == [3]
    assert measured("--layers", "2")["coords"]["layer"] == [2]
    assert measured("--layers", "3,1")["coords"]["layer"] == [1, 3]
    assert measured("--all-layers")["coords"]["layer"] == [1, 2, 3]
    table = pdlt(capsys, "simulate", *NETWORK, "--samples", "200", "--layers", "1,2")[1]
    assert "layer 1," in table and "layer 2," in table and "layer 3," not in table
    # What stops a run is the error in the layers asked for.
    stopped = measured("--layers", "2", "--until-stderr", "0.5")["attrs"]
    assert stopped["relative_stderr_of"][1] == 2
    for options in (["--layers", "4"], ["--layers", "0"], ["--layers", "x"], ["--layers", "2", "--all-layers"]):
        code, _, err = pdlt(capsys, "simulate", *NETWORK, *options)
        assert code == 2 and "--layers" in err


def test_a_store_keeps_the_layers_it_was_begun_with(capsys, tmp_path):
    """Stores of pdlt.simulate hold all layers unless told otherwise."""
    net, path = MLP(3, 8, "linear"), tmp_path / "run.db"
    whole = simulate(net, [[1.0]], ["K", "V"], samples=200, store=path)
    before = path.read_bytes()
    code, out, err = pdlt(capsys, "simulate", *NETWORK, "--samples", "200", "--store", path)
    assert code == 0 and not err and out.count("layer ") == 1 and "layer 3," in out
    shown = json.loads(pdlt(capsys, "simulate", *NETWORK, "--samples", "200", "--store", path, "--json")[1])
    assert shown["data"]["V"]["values"][-1] == whole.V.values[-1].tolist()
    assert path.read_bytes() == before
    code, _, err = pdlt(capsys, "simulate", *NETWORK, "--samples", "200", "--store", path, "--layers", "2")
    assert code == 2 and "layers is [2, 3] in the file, but [2] is asked for" in err


def test_compare_measures_the_layers_it_shows(capsys):
    code, out, _ = pdlt(capsys, "compare", *NETWORK, "--samples", "2000", "--layers", "2,3", "--json")
    assert code == 0 and {row["layer"] for row in json.loads(out)} == {2, 3}
    code, out, _ = pdlt(capsys, "compare", *NETWORK, "--samples", "2000", "--json")
    assert code == 0 and {row["layer"] for row in json.loads(out)} == {3}


def test_errors_name_options(capsys, tmp_path):
    path = tmp_path / "run.db"
    assert pdlt(capsys, "simulate", *NETWORK, "--samples", "200", "--store", path)[0] == 0
    cases = {
        ("--store", path, "--seed", "1"): "Option --store: .* seed is 0 in the file, but 1 is asked for",
        ("--samples", "1000000000000000000"): "Option --samples must be .* give until_stderr or until_time",
        ("--samples", "7"): "Option --samples must be an integer from 100 ",
        ("--until-stderr", "-1"): "Option --until-stderr must be a positive number",
        ("--sampler", "jet"): "Option --sampler must be .* Did you mean 'jets'",
    }
    for options, message in cases.items():
        code, _, err = pdlt(capsys, "simulate", *NETWORK, *options)
        assert code == 2 and re.search(message, err), err


@pytest.mark.filterwarnings("always::pdlt.ensemble.DoubtfulErrorsWarning")
def test_doubtful_errors_are_marked(capsys, tmp_path):
    deep = "--activation relu --C-W 2 --depth 40 --width 8 --x [[1,0]] --observables K".split()
    code, out, err = pdlt(capsys, "simulate", *deep, "--samples", "2000", "-o", tmp_path / "run.json", "--json")
    assert code == 0 and "Warning: The standard errors of K (from layer 40 on) are not to be believed" in err
    assert json.loads(out)["attrs"]["errors_doubtful"] == ["K"]
    out = pdlt(capsys, "simulate", *deep, "--samples", "2000", "--store", tmp_path / "run.db")[1]
    assert re.search(r"^K\[0,0\] .* \(\?\)$", out, re.MULTILINE) and "(?): rare networks" in out
    _, out, err = pdlt(capsys, "runs", "export", tmp_path / "run.db")
    assert "(?)" in out and "not to be believed" in err
    pdlt(capsys, "predict", *deep, "-o", tmp_path / "theory.json")
    files = ["--prediction", tmp_path / "theory.json", "--run", tmp_path / "run.json"]
    _, out, err = pdlt(capsys, "compare", *files)
    assert "(?)" in out and "Warning: The standard errors of K" in err
    fine = pdlt(capsys, "simulate", *NETWORK, "--samples", "2000")
    assert "(?)" not in fine[1] and not fine[2]
