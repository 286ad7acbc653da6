"""`pdlt derive --closed-form`: what it prints, writes and refuses."""

import json

import pytest

import pdlt
from pdlt.cli import main


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["derive", *map(str, arguments)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def test_prints_formulas_with_their_assumptions(run):
    code, out, err = run("--closed-form", "--activation", "relu", "--observables", "V,B")
    assert (code, err) == (0, "")
    assert "V(ell) = 5*K^2*(ell - 1)\n" in out
    assert "B(ell) = " in out and "One input" in out and "C_b = 0" in out


def test_without_an_activation_the_slopes_are_free(run):
    code, out, _ = run("--closed-form", "--observables", "V")
    assert code == 0
    assert "V(ell) = K^2*(3*a_4 - 1)*(ell - 1)" in out


def test_json(run):
    code, out, _ = run("--closed-form", "--off-critical", "--unequal-widths", "--activation", "abs", "--json")
    assert code == 0
    assert out == pdlt.closed_form(None, "abs", critical=False, equal_widths=False).to_json() + "\n"
    assert json.loads(out)["schema"] == "pdlt.closed-forms/1"


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        (".tex", r"\begin{document}"),
        (".m", "pdltClosedForms"),
        (".wl", "pdltClosedForms"),
        (".json", '"formulas"'),
        (".py", "def V_1(ell, K, n):"),
        (".txt", "V_1(ell) = "),
    ],
)
def test_writes_by_suffix(run, tmp_path, suffix, words):
    target = tmp_path / f"forms{suffix}"
    options = ["--activation", "relu", "--observables", "V", "--order", "2", "--unequal-widths"]
    code, out, err = run("--closed-form", *options, "-o", target)
    assert code == 0 and not out
    assert f"Wrote {target}: 2 closed forms (V, V_1)." in err
    assert words in target.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_options_from_a_file(run, tmp_path):
    config = tmp_path / "options.toml"
    config.write_text('closed-form = true\nactivation = "relu"\nobservables = "V"\n')
    code, out, _ = run("--config", config)
    assert code == 0
    assert "V(ell) = 5*K^2*(ell - 1)" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--closed-form", "--activation", "tanh"], ["scale-invariant", "relu", "pdlt scaling"]),
        (["--closed-form", "--activation", "z**2"], ["scale-invariant"]),
        (["--closed-form", "--activation", "relo"], ["relu"]),
        (["--closed-form", "--order", "2", "--unequal-widths"], ["`equal_widths`", "'Theta'"]),
        (["--closed-form", "--order", "9"], ["`order`", "0 to 4"]),
        (["--closed-form", "--observables", "Vee"], ["Vee"]),
        (["--closed-form", "-o", "forms.pdf"], [".tex", ".pdf"]),
        (["--off-critical"], ["--off-critical", "--closed-form"]),
        (["--unequal-widths"], ["--unequal-widths", "--closed-form"]),
    ],
)
def test_bad_input(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2 and not out
    assert err.startswith("Error: ")
    assert all(word in err for word in words)
    assert not list(tmp_path.iterdir())
