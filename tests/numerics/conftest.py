"""These tests call array code directly, so they enter double precision themselves."""

from collections.abc import Iterator

import pytest

from pdlt._jax import x64


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with x64():
        yield
