"""`pdlt scaling` as a user runs it."""

import json

import pytest
from click.testing import CliRunner

from pdlt.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["scaling", *arguments])


def test_table_of_relu():
    result = run("relu", "--share", "1")
    assert result.exit_code == 0
    rows = [line for line in result.output.splitlines() if line.startswith("V/(n K^2)")]
    assert ["5 r" in rows[0], "exp(5*r) - 1" in rows[1]] == [True, True]
    assert "within 10% of this up to r = 0.0414, 0.174, 0.322" in result.output


def test_table_of_tanh_names_its_constants():
    result = run("tanh", "--observables", "V,F")
    assert "2/3 r" in result.output
    assert "-5/18 log(l)" in result.output
    assert "c_K: a shift of the depth" in result.output


def test_json_and_files(tmp_path):
    result = run("tanh", "--observables", "V", "--json", "-o", str(tmp_path / "v.txt"))
    document = json.loads(result.stdout)
    assert document["schema"] == "pdlt.scaling/1"
    assert document["couplings"]["V"]["terms"][0]["coefficient"] == "2/3"
    assert "2/3 r" in (tmp_path / "v.txt").read_text()


def test_a_user_defined_activation():
    result = run("tanh(z) + 0.3*sin(z)", "--observables", "V,B,A", "--share", "0.25")
    assert result.exit_code == 0
    assert "2/3 r" in result.output


def test_slopes_with_many_digits():
    # An exponential of 499980005 r / 100020001 once became a polynomial of that degree.
    result = run("leaky_relu(0.01)", "--share", "1", "--observables", "V,A")
    assert result.exit_code == 0
    assert "exp(4.9988*r) - 1" in result.output


def test_every_constant_is_explained():
    # p_perp = 0 and an open constant of Theta_1.
    result = run("z+z**2/2-z**3/6", "--learning-rates", "constant", "--observables", "Theta")
    assert "c_Theta_1: the part of Theta_1 which the first layers determine" in result.output


def test_figure(tmp_path):
    pytest.importorskip("matplotlib")
    assert run("relu", "-o", str(tmp_path / "s.png")).exit_code == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sigmoid"], "must have a critical initialisation"),
        (["exp(z)"], "must have a critical initialisation"),
        (["relu", "--share", "2"], "`share` must be a number from 0 to 1"),
        (["relu", "--regime", "approach"], "`regime` must be"),
        (["relu", "--learning-rates", "big"], "`learning_rates` must be one of"),
        (["relu", "-o", "scaling.gif"], "--output must end in"),
        (["relu", "--order", "-1"], "`order` must be"),
        (["nonsense"], "`activation` must be"),
        (["relu", "--observables", "V", "--share", "7"], "`share` must be left out"),
        (["relu", "--order", "0"], "`order` must be at least 1"),
        (["relu", "--activation", "tanh"], "--activation must be left out"),
        (["relu", "-o", "missing/scaling.png"], "could not be written"),
    ],
)
def test_bad_input_is_named(arguments, message):
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in str(result.exception)
