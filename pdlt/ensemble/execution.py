"""Where blocks are drawn: in this process, in local processes, or on any `concurrent.futures` executor.

Results are handed on in the order of block numbers, whatever the order of completion. Since blocks are pure
functions, a task whose worker was lost is simply handed out again. A task returns sums over its blocks, or if there
is a store the means of each.
"""

import multiprocessing
import numbers
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import jax
import numpy as np

from pdlt.ensemble.statistics import Accumulator, sum_lanes
from pdlt.ensemble.store import Store
from pdlt.ensemble.tasks import Recipe, draw, draw_sums
from pdlt.errors import PdltError

QUEUE = 2048  # tasks without an answer at a time: two for each of a thousand workers
FIRST = 64  # tasks handed out before it is known how long a block takes
TASK_SECONDS = {True: 0.2, False: 1.0}  # how long a task should take: here, or on an executor
WAITING_BYTES = 2.0**30  # of means and sums that may wait for their turn before no more tasks are handed out
TASK_BYTES = 2.0**26  # of block means in one task
WRITE_EVERY = 1.0  # seconds between transactions
MOST_WORKERS = 10_000
ATTEMPTS = 3  # at a task, and at replacing a pool of local processes before anything is drawn
GUARD = (
    " No process has ever delivered anything. New processes import the script that starts them: put what it does under "
    '`if __name__ == "__main__":` (docs/distribution.md).'
)


class Here(Executor):
    """Draws in this process, at once."""

    workers = 1

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Return a future that is done; an exception is raised here and now."""
        done: Future = Future()
        done.set_result(function(*args, **kwargs))
        return done


class Processes(Executor):
    """Local processes; when one is lost, its pool is replaced.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = self._new()

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Hand out a call."""
        return self._pool.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def renew(self) -> None:
        """Replace a broken pool; calls that it had not answered must be handed out again."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        # Spawned, not forked: jax has threads.
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), end_with_parent)


def end_with_parent() -> None:
    """End this process when its parent is gone: a parent that was killed cannot say so."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def executing(given: Any) -> Iterator[Executor]:
    """Yield the executor that `simulate` is asked to use; one of ours is shut down afterwards.

    Raises:
        PdltError: if `given` is not None, an executor or a number of processes.
    """
    if given is None:
        yield Here()
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A script without `if __name__ == "__main__":`, imported by a process that it started. Python would print a
        # hundred lines for each such process; the one that started them says what is wrong.
        raise SystemExit(1)
    if isinstance(given, numbers.Integral) and not isinstance(given, bool) and 1 <= int(given) <= MOST_WORKERS:
        pool = Processes(int(given))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
    elif isinstance(given, Executor):
        yield given
    else:
        raise PdltError(
            "Argument `executor` must be a concurrent.futures.Executor or a number of local processes from 1 to "
            f"{MOST_WORKERS}, but got {given!r}."
        )


@dataclass(eq=False)
class _Task:
    start: int
    stop: int
    known: dict[int, np.ndarray]
    missing: Sequence[int]
    future: Future | None = None
    failures: int = 0
    unfinite: dict[int, int] = field(default_factory=dict)  # block -> first entry that is not finite
    sums: list[Accumulator] = field(default_factory=list)  # without a store

    @property
    def vectors(self) -> int:
        """How many vectors wait here."""
        return len(self.known) + sum(part.nodes for part in self.sums)


class Drawing:
    """Blocks of one run, in order: from the store if they are there, else drawn and stored.

    Args:
        recipe: the run.
        size: length of a block's vector of means.
        lanes: how many sums the blocks are dealt out to, see `statistics.sum_lanes`.
        executor: where to draw.
        store: where to keep blocks.
        batch: blocks in a task; None to let the time of a block decide.
        deadline: value of time.monotonic() after which nothing more is drawn.
        notify: called with the number of blocks handed on, after each task.
        first: called with the seconds that one block took, once.
    """

    def __init__(
        self,
        recipe: Recipe,
        size: int,
        lanes: int,
        executor: Executor,
        store: Store | None,
        batch: int | None,
        deadline: float | None,
        notify: Callable[[int], None],
        first: Callable[[float], None],
    ) -> None:
        self._recipe, self._executor, self._store = recipe, executor, store
        self._size, self._lanes = size, lanes
        self._batch, self._deadline, self._notify, self._first = batch, deadline, notify, first
        self._here = isinstance(executor, Here)
        self._together = jax.local_device_count() if self._here else 1  # blocks drawn at a time
        self._bytes = 8 * size
        self._seconds: float | None = None
        self._queue: deque[_Task] = deque()
        self._answers: SimpleQueue[tuple[_Task, Future]] = SimpleQueue()
        self._asked = 0  # tasks without an answer
        self._waiting = 0  # vectors that wait for their turn
        self._unwritten: dict[int, np.ndarray] = {}
        self._written = time.monotonic()
        self._prepared = False
        self._renewals = 0

    def sums(self, start: int, stop: int, at_least: int = 0) -> Generator[list[Accumulator], None, None]:
        """Yield sums over the blocks start ... stop - 1, one for each lane and task.

        It ends early, but not before `at_least`, at the deadline.

        Raises:
            PdltError: if a block is not finite, a worker is lost for good, or the store fails; blocks drawn so far
                are in the store.
        """
        try:
            while start < stop or self._queue:
                if self._late() and (self._queue[0].start if self._queue else start) >= at_least:
                    return
                while start < stop and self._has_room():
                    task = self._task(start, min(start + self._chunk(), stop))
                    self._queue.append(task)
                    start = task.stop
                self._collect()
                while self._queue and self._queue[0].future is None:
                    task = self._queue.popleft()
                    self._waiting -= task.vectors
                    if task.unfinite:
                        raise self._recipe.unfinite(*min(task.unfinite.items()))
                    blocks = sorted(task.known)
                    means = (task.known[number] for number in blocks)
                    yield task.sums or sum_lanes(blocks, means, self._size, self._lanes)
                    self._notify(task.stop - task.start)
        finally:
            for task in self._queue:
                if task.future is not None:
                    task.future.cancel()
                    task.future = None  # an answer that still comes is not ours
            self._queue.clear()
            self._asked = self._waiting = 0
            self._flush()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _has_room(self) -> bool:
        limit = 1 if self._here else FIRST if self._seconds is None else QUEUE
        return self._asked < limit and (not self._queue or self._waiting * self._bytes < WAITING_BYTES)

    def _chunk(self) -> int:
        """Return how many blocks the next task shall have; it has no influence on results."""
        most = max(1, int(TASK_BYTES / self._bytes))
        if self._batch is not None:
            return min(self._batch, most)
        if self._seconds is None:
            return self._together
        seconds = TASK_SECONDS[self._here]
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - time.monotonic())
        chunk = max(1, min(int(seconds / max(self._seconds, 1e-6)), most))
        return -(-chunk // self._together) * self._together

    def _task(self, start: int, stop: int) -> _Task:
        known = self._store.read(start, stop) if self._store else {}
        missing: Sequence[int] = [number for number in range(start, stop) if number not in known]
        if not known:
            missing = range(start, stop)  # a few bytes, whatever its length
        task = _Task(start, stop, known, missing)
        if missing:
            if self._store and not self._prepared:
                self._store.prepare()
                self._prepared = True
            self._asked += 1
            self._submit(task)
        else:
            self._waiting += task.vectors
        return task

    def _submit(self, task: _Task) -> None:
        call = (
            (draw, self._recipe, task.missing) if self._store else (draw_sums, self._recipe, task.missing, self._lanes)
        )
        try:
            task.future = self._executor.submit(*call)
        except BrokenExecutor as error:
            self._renew(error)
            task.future = self._executor.submit(*call)
        except RuntimeError as error:
            if self._here:
                raise
            raise PdltError(f"Argument `executor` must accept tasks, but refuses them ({error}).") from error
        task.future.add_done_callback(lambda future: self._answers.put((task, future)))

    def _collect(self) -> None:
        """Wait until some task is done, and take over the results of all that are."""
        if not self._queue or self._queue[0].future is None:
            return
        timeout = None if self._deadline is None else max(0.1, self._deadline - time.monotonic())
        answers = []
        try:
            answers.append(self._answers.get(timeout=timeout))
            while True:
                answers.append(self._answers.get_nowait())
        except Empty:
            pass
        # Good ones first: a loss may end the run, and what was drawn is to be kept.
        for task, future in sorted(answers, key=lambda answer: not _answered(answer[1])):
            if task.future is future:  # not handed out again meanwhile
                self._take(task, future)
        if time.monotonic() - self._written > WRITE_EVERY:
            self._flush()

    def _take(self, task: _Task, future: Future) -> None:
        try:
            drawn, task.unfinite, seconds = future.result()
        except PdltError:
            raise
        except BrokenExecutor as error:
            self._renew(error)
            return
        except Exception as error:  # whatever the executor's way is of saying that a worker is gone
            task.failures += 1
            if task.failures >= ATTEMPTS:
                raise PdltError(
                    f"Argument `executor`: blocks {task.missing[0]} to {task.missing[-1]} have failed {ATTEMPTS} "
                    f"times, at last with {error!r}.{self._advice()}"
                ) from error
            self._submit(task)
            return
        self._renewals = 0
        if self._seconds is None:
            self._first(seconds / len(task.missing))
        self._seconds = seconds / len(task.missing)
        task.future = None
        self._asked -= 1
        if self._store:
            means = dict(zip(task.missing, drawn, strict=True))
            task.known |= means
            self._unwritten |= {number: mean for number, mean in means.items() if number not in task.unfinite}
        else:
            task.sums = drawn
        self._waiting += task.vectors

    def _renew(self, error: BrokenExecutor) -> None:
        """Replace a broken pool of ours and hand out again what it had not answered; give up on others."""
        self._renewals += 1
        if not isinstance(self._executor, Processes) or self._renewals > ATTEMPTS:
            if self._seconds is None:
                raise PdltError(f"Argument `executor`: all workers ended at once ({error}).{GUARD}") from None
            raise PdltError(f"Argument `executor` has lost a worker ({error}).{self._advice()}") from error
        self._executor.renew()
        for task in self._queue:
            if task.future is not None and not _answered(task.future):
                self._submit(task)

    def _advice(self) -> str:
        if self._store is None:
            return " With a store, what was drawn would be kept."
        return " What was drawn is in the store; run again with a new executor to continue."

    def _flush(self) -> None:
        if self._store and self._unwritten:
            unwritten, self._unwritten = self._unwritten, {}
            self._store.write(unwritten)
        self._written = time.monotonic()


def _answered(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
