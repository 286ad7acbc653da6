"""Strictness for every test: shapes never broadcast silently, examples never change from run to run.

Warnings are errors as well; that is pytest's configuration (pyproject.toml). Double precision is *not*
switched on here: the package does that itself, locally, and a test that needs it in its own computations
enters `pdlt._jax.x64()`.
"""

import os
import shutil
import tempfile

# Before jax is imported: the tests are about numbers, not about devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# No window is opened, whatever the machine.
os.environ.setdefault("MPLBACKEND", "agg")

# The workers of a run and the commands that tests start compile much of the same: they share it, for this run only.
_SHARED = "JAX_COMPILATION_CACHE_DIR"
_OWNED = None if _SHARED in os.environ else tempfile.mkdtemp(prefix="pdlt-tests-")
os.environ.setdefault(_SHARED, _OWNED or "")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples every time, without a deadline: the first call of a jitted function compiles. Nothing is
# kept between runs, so a run depends on the checkout alone.
settings.register_profile("reproducible", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("reproducible")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Remove what the run shared; workers have it from the process that started them, and leave it alone."""
    if _OWNED:
        shutil.rmtree(_OWNED, ignore_errors=True)
