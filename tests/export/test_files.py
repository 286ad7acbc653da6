"""Writing exports: the right format for each suffix, all files or none."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

import pdlt
from pdlt.errors import PdltError
from pdlt.export import FORMATS, format_of, render, save, write

THEORY = pdlt.derive(["K", "V"], activation="tanh")
NAMES = ["theory.tex", "theory.json", "theory.m", "theory_jax.py"]


def test_write_makes_four_files(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = write(THEORY, folder)
    assert [path.name for path in paths] == NAMES
    assert sorted(p.name for p in folder.iterdir()) == sorted(NAMES)
    assert pdlt.Theory.from_json(paths[1].read_text(encoding="utf-8")) == THEORY
    assert paths[2].read_text(encoding="utf-8") == THEORY.to_mathematica()
    assert paths[3].read_text(encoding="utf-8") == THEORY.to_jax()


@pytest.mark.parametrize("suffix", FORMATS)
def test_save_follows_the_suffix(suffix: str, tmp_path: Path) -> None:
    path = save(THEORY, tmp_path / f"out{suffix.upper()}")
    assert path.read_text(encoding="utf-8") == render(THEORY, suffix)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["theory.pdf", "theory", "theory.", ".tex.bak"])
def test_unknown_suffix_lists_what_is_accepted(name: str, tmp_path: Path) -> None:
    with pytest.raises(PdltError, match=r"\.tex, \.json, \.m, \.wl, \.py"):
        save(THEORY, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_misspelt_suffix_is_recognised() -> None:
    with pytest.raises(PdltError, match="Did you mean '.json'"):
        format_of("theory.jsn")


def test_nothing_is_written_when_one_export_fails(tmp_path: Path) -> None:
    open_system = replace(THEORY, equations=THEORY.equations[:1] + THEORY.equations[2:])
    with pytest.raises(PdltError, match="closed system"):
        write(open_system, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_one_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "theory.m").mkdir()
    with pytest.raises(PdltError, match=r"theory\.m"):
        write(THEORY, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["theory.m"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(PdltError, match="out"):
        write(THEORY, tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "theory.json"
    path.write_text("old", encoding="utf-8")

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PdltError, match="No space left"):
        save(THEORY, path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["theory.json"]
