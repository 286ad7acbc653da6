"""Progress on stderr, only on a terminal and only for what takes longer than two seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

#: Seconds before anything is shown.
_SILENT = 2


@contextmanager
def progress(description: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to call after each step, with a word on what was just done."""
    from tqdm import tqdm

    layout = "{desc}: {n_fmt} steps in {elapsed}{postfix}"
    with tqdm(desc=description, delay=_SILENT, disable=None, leave=False, bar_format=layout) as bar:
        done = Event()

        def keep_alive() -> None:
            # The first step may be the long one: a compilation, or an export after the last one.
            wait = float(_SILENT)
            while not done.wait(wait):
                bar.refresh()
                wait = 1.0

        def tick(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        if not bar.disable:
            Thread(target=keep_alive, daemon=True).start()
        try:
            yield tick
        finally:
            done.set()
