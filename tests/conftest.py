"""Strictness for every test: shapes never broadcast silently, examples never change from run to run.

Warnings are errors as well; that is pytest's configuration (pyproject.toml). Double precision is *not*
switched on here: the package does that itself, locally, and a test that needs it in its own computations
enters `pdlt._jax.x64()`.
"""

import os

# Before jax is imported: the tests are about numbers, not about devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# No window is opened, whatever the machine.
os.environ.setdefault("MPLBACKEND", "agg")

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples every time, without a deadline: the first call of a jitted function compiles. Nothing is
# kept between runs, so a run depends on the checkout alone.
settings.register_profile("reproducible", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("reproducible")
