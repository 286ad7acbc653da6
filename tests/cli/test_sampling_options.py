"""Options that the commands which draw networks share."""

import pytest

from pdlt.cli import main

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
