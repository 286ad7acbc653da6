"""Progress on stderr, only on a terminal and only for what takes longer than two seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(description: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to call after each step, with a word on what was just done."""
    from tqdm import tqdm

    layout = "{desc}: {n_fmt} steps in {elapsed}{postfix}"
    with tqdm(desc=description, delay=2, disable=None, leave=False, bar_format=layout) as bar:

        def tick(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        yield tick
