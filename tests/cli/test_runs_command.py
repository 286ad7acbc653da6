"""pdlt runs, and the options of pdlt simulate that decide when and where a run is drawn."""

import json

import pytest

from pdlt.cli import main
from pdlt.cli._sampling import read_duration
from pdlt.ensemble.store import Store
from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.trained import simulate_training

NETWORK = ["--depth", "3", "--width", "4", "--x", "[[1,0.5]]", "--observables", "K,a1 a2 | b3 b4"]


def pdlt(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture
def folder(tmp_path, capsys):
    assert pdlt(capsys, "simulate", *NETWORK, "--samples", 500, "--all-layers", "--store", tmp_path / "run.db")[0] == 0
    (tmp_path / "notes.txt").write_text("no database")
    return tmp_path


def test_list_shows_stores_marks_damaged_ones_and_passes_over_the_rest(folder, capsys):
    intact = (folder / "run.db").read_bytes()
    (folder / "cut.db").write_bytes(intact[:4096])
    code, out, _ = pdlt(capsys, "runs", "list", folder)
    assert code == 0 and "notes.txt" not in out
    assert "run.db" in out and "tanh, depth 3, width 4" in out and "K,A" in out
    (row,) = [line for line in out.splitlines() if line.startswith("cut.db ")]
    assert row.split() == ["cut.db", "damaged"]
    (message,) = [line for line in out.splitlines() if line.startswith("cut.db:")]  # on one line, below the table
    assert "damaged or truncated" in message and out.index(message) > out.index("run.db")
    listed = {run["file"]: run for run in json.loads(pdlt(capsys, "runs", "list", folder, "--json")[1])}
    assert listed["run.db"]["samples"] == 500 and "error" in listed["cut.db"]
    empty = folder / "empty"
    empty.mkdir()
    assert "No run stores" in pdlt(capsys, "runs", "list", empty)[1]


def test_show(folder, capsys):
    code, out, _ = pdlt(capsys, "runs", "show", folder / "run.db")
    assert code == 0 and "blocks" in out and "[[1.0, 0.5]]" in out
    shown = json.loads(pdlt(capsys, "runs", "show", folder / "run.db", "--json")[1])
    assert shown["network"]["width"] == [4, 4] and shown["inputs"] == [[1.0, 0.5]]
    assert shown["samples"] == 500 and shown["seed"] == 0 and set(shown["versions"]) == {"pdlt", "jax", "numpy"}


def test_show_collapses_what_is_equal_in_all_layers(tmp_path, capsys):
    arguments = ["--depth", 40, "--width", 6, "--all-layers", "--x", "[[1.0]]", "--observables", "K", "--samples", 100]
    assert pdlt(capsys, "simulate", *arguments, "--store", tmp_path / "deep.db")[0] == 0
    out = pdlt(capsys, "runs", "show", tmp_path / "deep.db")[1]
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert lines["network.width"] == "6, 39 times" and lines["network.C_W"] == "1.0, 40 times"
    assert lines["layers"] == "2 to 40" and max(map(len, out.splitlines())) < 100


def test_a_store_without_blocks_is_called_empty(folder, capsys):
    with Store(folder / "run.db") as store:
        record = store.record
    with Store(folder / "new.db", record) as store:
        store.write({})
    out = pdlt(capsys, "runs", "list", folder)[1]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("new.db")] == ["empty"]
    assert "0 (empty)" in pdlt(capsys, "runs", "show", folder / "new.db")[1]


def test_export_gives_what_simulate_gave(folder, capsys):
    original, again = folder / "original.json", folder / "again.json"
    pdlt(capsys, "simulate", *NETWORK, "--samples", 500, "--all-layers", "-o", original)
    assert pdlt(capsys, "runs", "export", folder / "run.db", "-o", again)[0] == 0
    assert json.loads(again.read_text()) == json.loads(original.read_text())
    assert pdlt(capsys, "runs", "export", folder / "run.db", "-o", folder / "run.csv")[0] == 0
    assert (folder / "run.csv").read_text().startswith("variable,layer,entry,value,stderr\n")
    assert "500 networks" in pdlt(capsys, "runs", "export", folder / "run.db")[1]


def test_other_files_are_refused_and_left_alone(folder, capsys):
    for command in ("show", "export"):
        code, _, err = pdlt(capsys, "runs", command, folder / "notes.txt")
        assert code == 2 and "not an SQLite file" in err
        code, _, err = pdlt(capsys, "runs", command, folder / "missing.db")
        assert code == 2 and "empty or missing" in err
    assert pdlt(capsys, "runs", "export", folder / "run.db", "-o", "run.png")[0] == 2
    assert pdlt(capsys, "runs", "list", folder / "notes.txt")[0] == 2
    assert (folder / "notes.txt").read_text() == "no database"
    assert not (folder / "missing.db").exists()


def test_what_ended_a_run_is_said(capsys):
    code, out, _ = pdlt(capsys, "simulate", *NETWORK[:-1], "K", "--until-stderr", 0.05, "--until-time", "10m")
    assert code == 0 and "stopped: the standard errors are small enough; largest relative standard error: 0.0" in out
    out = pdlt(capsys, "simulate", *NETWORK, "--until-stderr", 1e-9, "--samples", 300)[1]
    assert "stopped: the limit of samples is reached" in out
    code, out, _ = pdlt(capsys, "simulate", *NETWORK, "--until-time", "0.1s", "--json")
    assert code == 0 and json.loads(out)["attrs"]["stopped"] == "time"


@pytest.mark.parametrize("text, seconds", [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120)])
def test_durations(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-1s", "m", "10d", "1e9", "nan"])
def test_what_is_no_duration(text):
    with pytest.raises(PdltError, match="90s, 10m or 2h"):
        read_duration(text)


def test_workers_must_be_positive(capsys):
    code, _, err = pdlt(capsys, "simulate", *NETWORK, "--workers", 0)
    assert code == 2 and "--workers" in err


def test_ensembles_of_trained_networks(tmp_path, capsys):
    """Their stores are listed, shown and exported like others."""
    store = tmp_path / "trained.db"
    net = MLP(depth=2, width=4, activation="tanh")
    how = {"rule": "gd", "learning_rate": 0.1, "observables": "mean", "samples": 100, "store": store}
    wanted = simulate_training(net, [[1.0]], [0.5], [[1.0]], [2], **how)
    (listed,) = json.loads(pdlt(capsys, "runs", "list", tmp_path, "--json")[1])
    assert (listed["sampler"], listed["samples"], listed["observables"]) == ("training", 100, ["mean"])
    shown = json.loads(pdlt(capsys, "runs", "show", store, "--json")[1])
    assert (shown["rule"], shown["learning_rate"], shown["times"]) == ("gd", 0.1, [2.0])
    assert (shown["x_train"], shown["y_train"]) == ([[1.0]], [[0.5]])
    exported = json.loads(pdlt(capsys, "runs", "export", store, "--json")[1])["data"]["mean"]
    assert exported["values"] == wanted["mean"].values.tolist()
    assert exported["stderr"] == wanted["mean_stderr"].values.tolist()
