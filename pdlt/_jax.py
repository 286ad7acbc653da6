"""The one place that knows how this jax release spells things that moved between releases."""

from contextlib import AbstractContextManager

import jax


def x64(enabled: bool = True) -> AbstractContextManager[None]:
    """Return a context in which jax computes in double precision, or in single; outside it, nothing changes."""
    return jax.enable_x64(enabled)
