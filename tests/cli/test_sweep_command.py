"""`pdlt sweep` as a user runs it."""

import json
import re

import pytest

from pdlt.cli import main

NETWORK = ["--activation", "linear", "--depth", "3", "--x", "[[1.0]]", "--observables", "K,V"]
SWEEP = [*NETWORK, "--widths", "2,3,4,8", "--samples", "4000", "--order", "2"]


def sweep(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_table(capsys):
    code, out, err = sweep(capsys, *SWEEP)
    assert code == 0 and not err
    assert "widths n = 2, 3, 4, 8; 4000 networks each" in out
    assert re.search(r"^V_1 +3 +\S+ ± \S+ +4 +[+-]\d", out, re.MULTILINE)
    assert re.search(r"^V after order 1 +3 +1 ", out, re.MULTILINE)


def test_json_files_and_stores(capsys, tmp_path):
    code, out, _ = sweep(capsys, *SWEEP, "--json", "--stores", tmp_path / "runs", "-o", tmp_path / "sweep.json")
    assert code == 0
    document = json.loads(out, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert document == json.loads((tmp_path / "sweep.json").read_text())
    assert {row["coefficient"] for row in document["coefficients"]} >= {"K", "K_1", "V", "V_1"}
    assert len(list((tmp_path / "runs").glob("depth3_width*.db"))) == 4
    # From the stores, to the same numbers.
    again = json.loads(sweep(capsys, *SWEEP, "--json", "--stores", tmp_path / "runs")[1])
    assert again == document
    # Another seed is another run.
    code, _, err = sweep(capsys, *SWEEP, "--seed", 1, "--stores", tmp_path / "runs")
    assert code == 2 and "seed" in err
    assert sweep(capsys, *SWEEP, "--stores", tmp_path / "runs", "-o", tmp_path / "sweep.csv")[0] == 0
    assert (tmp_path / "sweep.csv").read_text().startswith("observable,depth,entry,coefficient,power,measured,stderr")


def test_figure(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert sweep(capsys, *SWEEP, "-o", tmp_path / "sweep.png")[0] == 0
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_disagreement_is_exit_code_one(capsys):
    # A threshold that no measurement passes.
    code, out, err = sweep(capsys, *SWEEP, "--z-max", "1e-6")
    assert code == 1 and "V_1" in out
    assert "derived coefficients differ by more than 1e-06 standard errors: K[0, 0] at depth 3" in err


def test_limits(capsys):
    few = [*NETWORK, "--widths", "4,8", "--until-stderr", "0.5", "--until-time", "60s"]
    assert sweep(capsys, *few)[0] == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--widths must be given"),
        (["--widths", "8"], "--widths must hold at least 2"),
        (["--widths", "8,8"], "--widths must hold different integers, but 8"),
        (["--widths", "8,-1"], "--widths"),
        (["--widths", "8,x"], "--widths must be an integer"),
        (["--widths", "8,16", "--depths", "2,4"], "--depths replaces --depth"),
        (["--widths", "8,16", "--degree", "2"], "--degree"),
        (["--widths", "8,16", "--until-time", "soon"], "--until-time"),
        (["--widths", "8,16", "--until-stderr", "-1"], "--until-stderr"),
        (["--widths", "8,16", "--samples", "many"], "--samples"),
        (["--widths", "8,16", "--samples", "1"], "--samples"),
        (["--widths", "8,16", "--z-max", "nan"], "--z-max"),
        (["--widths", "8,16", "--workers", "0"], "--workers"),
        (["--widths", "8,16", "-o", "sweep.doc"], "--output must end in .json or .csv or .png"),
    ],
)
def test_bad_input_is_exit_code_two(capsys, arguments, message):
    code, out, err = sweep(capsys, *NETWORK, *arguments)
    assert code == 2 and not out and message in err
