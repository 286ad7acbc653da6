"""The run store: a crash, a full disk, damage and company change nothing, or are refused with the file left alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from pdlt.ensemble import execution, recorded, simulate
from pdlt.ensemble.statistics import Accumulator
from pdlt.ensemble.store import FORMAT, Record, Store
from pdlt.errors import PdltError
from pdlt.networks import MLP

NET = MLP(2, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
X = np.array([[0.5, -1.0], [1.0, 0.3]])
RECORD = Record({"seed": 0, "inputs_shape": [2, 2]}, X, {"pdlt": "0"})
SAMPLES = 15_000

# One transaction per block, so that a kill falls between many, or into one.
WRITER = f"""
import os, resource, sys, time
from pdlt.ensemble import execution, simulate
from pdlt.ensemble.store import Store
from pdlt.networks import MLP
execution.WRITE_EVERY = 0
write, pause = Store.write, float(os.environ.get("PAUSE", "0"))
Store.write = lambda *arguments: (write(*arguments), time.sleep(pause))
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
net = MLP(2, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
simulate(net, [[0.5, -1.0], [1.0, 0.3]], ["V", "K"], samples={SAMPLES}, store=sys.argv[1], batch=50)
"""


def run(path, **arguments):
    return simulate(NET, X, ["V", "K"], **{"samples": 500, "store": path} | arguments)


def writer(path, *more, pause=0):
    command = [sys.executable, "-c", WRITER, str(path), *map(str, more)]
    environment = {**os.environ, "PAUSE": str(pause)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def blocks(path):
    """Return the blocks in a file that may not be there yet."""
    if not path.exists() or not path.stat().st_size:
        return {}
    with Store(path) as store:
        return store.read(0, 10**9)


def wait_for(path, number, process):
    while len(blocks(path)) < number:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def test_killed_several_times_and_resumed_to_the_same_bits(tmp_path):
    path = tmp_path / "run.db"
    kept = {}
    for _ in range(3):
        # 300 blocks take three seconds at least, so that it cannot be over before it is killed.
        process = writer(path, pause=0.01)
        try:
            wait_for(path, len(kept) + 15, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        now = blocks(path)
        assert process.returncode == -signal.SIGKILL and len(now) >= len(kept) + 15
        assert all(np.array_equal(now[number], means) for number, means in kept.items())
        kept = now
    assert len(kept) < SAMPLES // 50  # it was killed, it had not finished
    whole = run(None, samples=SAMPLES)
    assert run(path, samples=SAMPLES).identical(whole)
    assert sorted(os.listdir(tmp_path)) == ["run.db"]


def test_two_processes_write_the_same_run_and_one_is_killed(tmp_path):
    path = tmp_path / "run.db"
    first, second = writer(path), writer(path)
    try:
        wait_for(path, 15, first)
        second.send_signal(signal.SIGKILL)
        assert first.wait(120) == 0, first.communicate()[1]
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert sorted(blocks(path)) == list(range(SAMPLES // 50))
    assert recorded(path).V.equals(run(None, samples=SAMPLES).V)


def test_a_disk_that_takes_no_more(tmp_path):
    path = tmp_path / "run.db"
    process = writer(path, 40_000)  # a limit on the size of files, as a full disk would be
    message = process.communicate()[1]
    assert process.returncode == 1 and "blocks written before are safe" in message
    kept = blocks(path)
    assert 0 < len(kept) < SAMPLES // 50
    assert run(path, samples=SAMPLES).identical(run(None, samples=SAMPLES))


def test_a_full_disk_loses_the_transaction_and_nothing_else(tmp_path):
    with Store(tmp_path / "run.db", RECORD) as store:
        store.write({0: np.arange(100.0)})
        store._connection.execute("PRAGMA max_page_count = 5")
        with pytest.raises(PdltError, match="disk is full; blocks written before are safe"):
            store.write({1: np.arange(1e5), 2: np.arange(100.0)})
        assert store.numbers() == [0]
        store.write({2: np.arange(100.0)})
        assert store.numbers() == [0, 2]


@pytest.mark.parametrize("sampler", ["jets", "network"])
def test_interrupted_and_extended_runs_give_the_same_bits(tmp_path, monkeypatch, sampler):
    path = tmp_path / "run.db"
    whole = run(None, sampler=sampler)
    merge = Accumulator.merge

    def interrupted(self, other):
        if self.blocks == 3:
            raise KeyboardInterrupt
        merge(self, other)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Accumulator, "merge", interrupted)
        run(path, samples=300, sampler=sampler, batch=50)
    assert sorted(blocks(path)) == [0, 1, 2, 3]
    assert run(path, samples=300, sampler=sampler).identical(run(None, samples=300, sampler=sampler))
    extended = simulate(NET, X, ["K", "V"], samples=500, sampler=sampler, store=path)
    assert extended[list(whole)].identical(whole)


def test_a_finished_run_is_read_and_not_drawn_again(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    whole = run(path)
    before = path.read_bytes()
    drawn = []
    monkeypatch.setattr(execution, "draw", lambda recipe, numbers: drawn.append(numbers))
    assert run(path).identical(whole) and recorded(path)[list(whole)].identical(whole)
    assert not drawn
    assert path.read_bytes() == before


def test_extending_draws_only_what_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    run(path, samples=300)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM block WHERE number = 2")
    connection.close()
    draw, drawn = execution.draw, []
    monkeypatch.setattr(execution, "draw", lambda recipe, numbers: drawn.extend(numbers) or draw(recipe, numbers))
    extended = run(path)
    assert sorted(drawn) == [2, 6, 7, 8, 9]
    monkeypatch.undo()
    assert extended.identical(run(None))


def test_any_damaged_byte_is_found_or_harmless(tmp_path):
    whole_path, path = tmp_path / "whole.db", tmp_path / "damaged.db"
    whole = run(whole_path)
    intact = whole_path.read_bytes()
    outcomes = []
    rng = np.random.default_rng(0)
    for offset in [*range(16, 100, 7), *rng.integers(100, len(intact), 120)]:
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert run(path).identical(whole), offset
            outcomes.append("harmless")
        except PdltError as error:
            assert "`store`" in str(error)
            assert path.read_bytes() == damaged, offset
            outcomes.append("found")
    assert outcomes.count("found") > 25 and outcomes.count("harmless") > 10  # the rest of a page is empty


def test_a_block_is_tied_to_its_number_and_its_run(tmp_path):
    path, other = tmp_path / "run.db", tmp_path / "other.db"
    run(path)
    run(other, seed=1)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE block SET number = 100 WHERE number = 3")
        connection.execute("UPDATE block SET number = 3 WHERE number = 4")
    connection.close()
    with pytest.raises(PdltError, match="block 3 .* is damaged: its checksum"):
        run(path)
    with sqlite3.connect(other) as connection:
        connection.execute("UPDATE run SET spec = replace(spec, '\"seed\": 1', '\"seed\": 0')")
    connection.close()
    with pytest.raises(PdltError, match="does not say, or not reliably"):
        run(other)


def test_another_run_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "run.db"
    run(path)
    before = path.read_bytes()
    other = MLP(2, 5, "tanh", C_b=0.1, C_W=1.6, lambda_b=0.2, lambda_W=1.0)
    with pytest.raises(PdltError, match=r"another run: network\.C_W .*; seed is 0 in the file, but 3 is asked"):
        simulate(other, X, ["V", "K"], samples=500, seed=3, store=path)
    with pytest.raises(PdltError, match="another run: precision is 'float64' in the file, but 'float32' is asked for"):
        run(path, precision="float32")
    assert path.read_bytes() == before


def test_other_inputs_are_shown_not_their_hashes(tmp_path):
    path, net = tmp_path / "run.db", MLP(2, 5, "tanh")
    simulate(net, X, ["K"], samples=100, store=path)
    other = X.copy()
    other[1, 0] = 0.25

    def refused(x):
        with pytest.raises(PdltError, match="holds another run: the inputs") as caught:
            simulate(net, x, ["K"], samples=100, store=path)
        assert "sha256" not in str(caught.value)
        return str(caught.value)

    assert f"are {X.tolist()} in the file, but {other.tolist()} are asked for" in refused(other)
    assert "have shape (2, 2) in the file, but (1, 2) is asked for" in refused(X[:1])
    path = tmp_path / "large.db"
    many = np.arange(40.0).reshape(4, 10)
    simulate(net, many, ["K"], samples=100, store=path)
    other = many.copy()
    other[2, 7] = -3.5
    assert "of shape (4, 10), differ, at first in x[2, 7] is 27.0 in the file, but -3.5 here" in refused(other)
    other = many.copy()
    other[0, 0] = -0.0  # another bit, and so another run
    assert "x[0, 0] is 0.0 in the file, but -0.0 here" in refused(other)


def test_a_run_that_fails_before_its_first_block_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run.db")
    with pytest.raises(PdltError, match="overflows"):
        monkeypatch.undo()
        simulate(MLP(3, 3, "z**3", C_W=1e100), X, ["K"], samples=100, store=tmp_path / "run.db")
    assert list(tmp_path.iterdir()) == []


def test_another_run_begun_meanwhile_is_refused(tmp_path):
    path = tmp_path / "run.db"
    with Store(path, RECORD) as ours, Store(path, Record({**RECORD.spec, "seed": 1}, X, {})) as theirs:
        theirs.write({0: np.zeros(3)})
        with pytest.raises(PdltError, match="seed is 1 in the file, but 0 is asked"):
            ours.write({0: np.ones(3)})
    assert np.array_equal(blocks(path)[0], np.zeros(3))


def test_files_that_are_not_stores_are_left_alone(tmp_path):
    good = tmp_path / "good.db"
    run(good, samples=100)
    files = {"notes.txt": b"not a database, and longer than a header\n" * 9}
    for name in ("foreign.db", "wal.db"):
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute("CREATE TABLE block (number INTEGER)")
            if name == "wal.db":
                connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        files[name] = (tmp_path / name).read_bytes()
    whole = good.read_bytes()
    files |= {f"cut{size}.db": whole[:size] for size in (50, 3000, 4096, len(whole) - 4096)}
    for age, number in (("newer", FORMAT + 1), ("older", FORMAT - 1)):
        files[f"{age}.db"] = whole[:60] + number.to_bytes(4, "big") + whole[64:]
    messages = {
        "notes.txt": "not an SQLite file",
        "foreign.db": "another program",
        "wal.db": "another program",
        "cut50.db": "is truncated",
        "newer.db": f"by a newer version of pdlt \\(format {FORMAT + 1}; this one reads {FORMAT}\\)",
        "older.db": f"by an older version of pdlt \\(format {FORMAT - 1}; this one reads {FORMAT}\\)",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        for action in (run, recorded):
            with pytest.raises(PdltError, match=messages.get(name, "damaged or truncated; it was left as it is")):
                action(path)
        assert path.read_bytes() == content
    assert {p.name for p in tmp_path.iterdir()} == {*files, "good.db"}
    with pytest.raises(PdltError, match="cannot be read"):
        run(tmp_path)
    with pytest.raises(PdltError, match="existing folder"):
        run(tmp_path / "no" / "run.db")
    with pytest.raises(PdltError, match="is empty or missing"):
        recorded(tmp_path / "new.db")


def test_an_empty_file_is_a_new_one_and_a_refused_run_leaves_none(tmp_path):
    path = tmp_path / "run.db"
    path.touch()  # as a crash leaves it before the first transaction
    assert run(path).identical(run(None))
    with pytest.raises(PdltError, match="GiB"):
        simulate(MLP(3, 10**9, "tanh"), X, ["V"], store=tmp_path / "refused.db")
    assert not (tmp_path / "refused.db").exists()


def test_what_cannot_be_written_is_said_before_anything_is_drawn(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    whole = run(path)
    (tmp_path / "run.db-journal").mkdir()  # stands for a folder without permission, which root would have
    monkeypatch.setattr(execution, "draw", None)
    with pytest.raises(PdltError, match="cannot be used as a run store"):
        run(path, samples=1000)
    (tmp_path / "run.db-journal").rmdir()
    path.chmod(0o444)
    assert run(path).identical(whole)  # reading needs no permission to write
    if os.geteuid() != 0:
        with pytest.raises(PdltError, match="read-only"):
            run(path, samples=1000)


def test_a_store_has_all_that_the_run_needs(tmp_path):
    path = tmp_path / "run.db"
    with pytest.raises(PdltError, match="holds 0 blocks"):
        with Store(path, _record(tmp_path)) as store:
            store.write({})
        recorded(path)


def _record(folder):
    run(folder / "other.db", samples=100)
    with Store(folder / "other.db") as store:
        return store.record
