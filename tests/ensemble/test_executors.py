"""Executors: the same bits wherever blocks are drawn; a lost worker loses nothing."""

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pdlt.ensemble import execution, simulate
from pdlt.ensemble.execution import Processes
from pdlt.ensemble.store import Store
from pdlt.ensemble.tasks import Recipe, draw, draw_sums
from pdlt.errors import PdltError
from pdlt.networks import MLP

NET = MLP(2, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
X = np.array([[0.5, -1.0], [1.0, 0.3]])


def run(**arguments):
    return simulate(NET, X, ["V", "K"], **{"samples": 6000} | arguments)


class Unruly(Executor):
    """Answers in random order, through pickle as a cluster would; may fail or break at chosen calls."""

    def __init__(self, failures=()):
        self.random, self.failures = random.Random(0), dict(failures)
        self.calls = self.longest = 0
        self.waiting = []
        self.lock = threading.Lock()

    def submit(self, function, /, *arguments):
        future = Future()
        with self.lock:
            self.waiting.append((future, pickle.dumps((function, arguments))))
            self.longest = max(self.longest, len(self.waiting))
        threading.Thread(target=self.answer).start()
        return future

    def answer(self):
        time.sleep(self.random.random() / 100)
        with self.lock:
            future, call = self.waiting.pop(self.random.randrange(len(self.waiting)))
            self.calls += 1
            failure = self.failures.get(self.calls)
            if not future.set_running_or_notify_cancel():
                return
            if failure:
                future.set_exception(failure)
                return
            function, arguments = pickle.loads(call)  # noqa: S301 - our own bytes
            future.set_result(pickle.loads(pickle.dumps(function(*arguments))))  # noqa: S301


def test_threads_and_any_order_of_completion_give_the_same_bits():
    whole = run()
    with ThreadPoolExecutor(3) as threads:
        assert run(executor=threads).identical(whole)
    for batch in (None, 250):
        unruly = Unruly()
        assert run(executor=unruly, batch=batch).identical(whole)
        assert unruly.longest > 5
    stopped = simulate(NET, X, ["K"], until_stderr=0.02)
    assert simulate(NET, X, ["K"], until_stderr=0.02, executor=Unruly()).identical(stopped)


def test_failed_tasks_are_handed_out_again_and_not_for_ever(tmp_path):
    lost = {call: OSError("the worker is gone") for call in (1, 4, 5, 30)}
    assert run(executor=Unruly(lost), store=tmp_path / "run.db").identical(run())
    always = {call: OSError("the worker is gone") for call in range(10, 1000)}
    path = tmp_path / "other.db"
    with pytest.raises(PdltError, match="have failed 3 times.*the worker is gone.*is in the store; run again"):
        run(executor=Unruly(always), store=path)
    with Store(path) as store:
        assert len(store.numbers()) == 9
    assert run(store=path).identical(run())


def test_a_broken_foreign_pool_keeps_what_was_drawn(tmp_path):
    path = tmp_path / "run.db"
    with pytest.raises(PdltError, match="has lost a worker .*run again with a new executor"):
        run(executor=Unruly({20: BrokenExecutor("a process died")}), store=path)
    with Store(path) as store:
        assert 19 <= len(store.numbers()) < 120
    with pytest.raises(PdltError, match="With a store"):
        run(executor=Unruly({20: BrokenExecutor("a process died")}))
    assert run(store=path, executor=Unruly()).identical(run())


def test_a_closed_executor_and_bad_news_from_a_worker():
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with pytest.raises(PdltError, match="refuses them"):
        run(executor=threads)
    with pytest.raises(PdltError, match="overflows float64 at layer 4"):
        simulate(MLP(9, 4, "z**3", C_W=1e6), X, ["V"], samples=500, executor=Unruly())


def test_a_task_returns_sums_and_with_a_store_means(tmp_path):
    returned = {}

    class Watched(Unruly):
        def submit(self, function, /, *arguments):
            future = super().submit(function, *arguments)
            returned.setdefault(function, []).append(future)
            return future

    sums = run(samples=25_600, batch=3200, executor=Watched())
    assert run(samples=25_600, batch=3200, executor=Watched(), store=tmp_path / "run.db").identical(sums)
    assert set(returned) == {draw, draw_sums}
    # 64 blocks, of which four make one of at most 200 groups of 512.
    assert [future.result()[0][0].nodes for future in returned[draw_sums]][-1] == 64 // 4
    assert [future.result()[0].shape for future in returned[draw]][-1] == (64, 20)


def test_workers_of_other_versions_refuse():
    spec = '{"jax": "0.0.1", "block": 50, "stream": 1, "seed": 0}'
    with pytest.raises(PdltError, match="same versions of pdlt and jax.*0.0.1"):
        draw(Recipe(spec, b""), [0])


@pytest.fixture
def short_steps(monkeypatch):
    """A transaction after each answer, and few tasks ahead: a kill falls into the middle of a run."""
    for name, value in (("WRITE_EVERY", 0.0), ("FIRST", 4), ("QUEUE", 4)):
        monkeypatch.setattr(execution, name, value)


@pytest.fixture
def killed(monkeypatch, short_steps):
    """A function that makes the run send SIGKILL to a process once the store holds 20 blocks, far from its end."""
    victims = []

    def arm(pids):
        write = Store.write

        def write_and_kill(self, blocks):
            write(self, blocks)
            if not victims and len(self.numbers()) >= 20:
                victims.append(pids()[0])
                os.kill(victims[0], signal.SIGKILL)

        monkeypatch.setattr(Store, "write", write_and_kill)
        return victims

    return arm


def test_a_killed_local_process_is_replaced(tmp_path, monkeypatch, killed):
    renewed = []
    renew = Processes.renew
    monkeypatch.setattr(Processes, "renew", lambda self: renewed.append(True) or renew(self))
    path = tmp_path / "run.db"
    with Processes(1) as processes:
        victims = killed(lambda: list(processes._pool._processes))
        result = run(samples=10_000, executor=processes, store=path, batch=100)
    assert victims and renewed == [True]
    assert result.identical(run(samples=10_000))


@pytest.mark.slow
def test_dask_with_a_killed_worker(tmp_path, killed):
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    path = tmp_path / "run.db"
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path), silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client:

        def pids():
            return list(client.run(os.getpid).values())

        before = pids()
        victims = killed(lambda: before)
        result = run(samples=10_000, executor=client.get_executor(), store=path, batch=100)
        client.wait_for_workers(2, timeout=60)
        assert victims and victims[0] not in pids()
    assert result.identical(run(samples=10_000))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks the kernel for the state of a process")
def test_local_processes_end_with_a_killed_parent():
    """A parent that is killed cannot end its processes: they notice."""
    script = (
        "import os\n"
        "from pdlt.ensemble.execution import Processes\n"
        "if __name__ == '__main__':\n"
        "    pool = Processes(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(__import__('time').sleep, 600).result()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and alive(child):
        time.sleep(0.05)
    assert not alive(child)


def alive(pid):
    """Whether a process exists that is not merely waiting to be buried."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_script_without_a_guard_is_told_so(tmp_path):
    """Its processes import the script, and would start processes."""
    script = tmp_path / "script.py"
    body = 'import pdlt\nrun = pdlt.simulate(pdlt.MLP(3, 12, "tanh"), [[1.0]], ["K"], samples=1000, executor=1)\n'
    script.write_text(body)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) < 40


def test_a_lost_worker_that_had_delivered_is_not_blamed_on_the_script():
    with pytest.raises(PdltError, match="has lost a worker") as caught:
        run(executor=Unruly({5: BrokenExecutor("gone")}), batch=50)
    assert "__main__" not in str(caught.value)
    with pytest.raises(PdltError, match="No process has ever delivered anything"):
        run(executor=Unruly({call: BrokenExecutor("gone") for call in range(1, 200)}), batch=50)
