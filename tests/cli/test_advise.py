"""pdlt advise: what is printed and written, and what is refused."""

import json
import sys

import pytest

from pdlt.cli import main

RELU = ["advise", "--activation", "relu", "--width", "64"]


@pytest.fixture
def advise(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


def test_table_says_what_was_chosen_and_on_what_it_rests(advise):
    code, out, err = advise(*RELU)
    assert code == 0 and not err
    assert "depth 3, width 64 (the depth was chosen here)" in out
    for section in ("INITIALISATION", "LEARNING RATES", "SHAPE", "WHAT TO EXPECT", "GROWTH WITH DEPTH", "ASSUMPTIONS"):
        assert section in out
    assert "C_W = 2" in out


def test_json(advise):
    code, out, _ = advise("advise", "--activation", "relu", "--depth", "6", "--outputs", "4", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "pdlt.advice/1"
    assert document["chosen"] == "width"
    assert document["width"] == round(25 * 32 / 4)  # 5 (L-1) / (4/(20 + 12))


def test_the_planted_width_for_one_output_differs(advise):
    document = json.loads(advise("advise", "--activation", "relu", "--depth", "6", "--json")[1])
    assert document["width"] == round(25 * 23 / 4) != 200


@pytest.mark.parametrize("suffix", [".json", ".txt", ".png", ".pdf", ".svg"])
def test_files(advise, tmp_path, suffix):
    path = tmp_path / f"advice{suffix}"
    code, out, err = advise(*RELU, "-o", path)
    assert code == 0 and not out and "Wrote" in err
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    start = {".json": b"{", ".txt": b"relu", ".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start)


def test_figures_without_matplotlib_are_refused_before_computing(advise, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = advise(*RELU, "-o", tmp_path / "a.png")
    assert code == 2 and not out
    assert "pdlt[plot]" in err


def test_options_from_a_file(advise, tmp_path):
    config = tmp_path / "net.toml"
    config.write_text('activation = "relu"\nwidth = 64\ninput-square = 1.0\n')
    typed, read = advise(*RELU, "--json")[1], advise("advise", "--config", config, "--json")[1]
    assert json.loads(typed) == json.loads(read)


BAD = {
    "no activation": (["advise", "--width", "64"], "--activation"),
    "neither width nor depth": (["advise", "--activation", "relu"], "`width` or `depth`"),
    "zero width": (["advise", "--activation", "relu", "--width", "0"], "`width`"),
    "depth one": (["advise", "--activation", "relu", "--depth", "1"], "`depth`"),
    "unknown activation": (["advise", "--activation", "rleu", "--width", "64"], "rleu"),
    "not critical": (["advise", "--activation", "sigmoid", "--width", "64"], "sigma(0) = 0.5"),
    "grows": (["advise", "--activation", "exp(z)", "--width", "64"], "has none"),
    "suffix": ([*RELU, "-o", "advice.xyz"], "--output"),
    "unwritable": ([*RELU, "-o", "nowhere/advice.json"], "could not be written"),
    "unwritable figure": ([*RELU, "-o", "nowhere/advice.png"], "could not be written"),
    "not finite": ([*RELU, "--input-square", "inf"], "`input_square`"),
}


@pytest.mark.parametrize("arguments, mentions", BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_words(advise, tmp_path, monkeypatch, arguments, mentions):
    monkeypatch.chdir(tmp_path)
    code, out, err = advise(*arguments)
    assert code == 2
    assert not out
    assert mentions in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
