"""An activation function as an exported module knows it: by its derivatives."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Activation:
    """An activation function: `derivatives(k)` is its k-th derivative as a function on arrays."""

    derivatives: Callable[[int], Callable[[Any], Any]]
    polynomial_degree: int | None = None

    def jax(self, k: int) -> Callable[[Any], Any]:
        """Return the k-th derivative."""
        return self.derivatives(k)


@functools.cache
def automatic(sigma: Callable[[Any], Any]) -> Activation:
    """Return an activation whose derivatives are made of a scalar JAX function by nested `jax.grad`."""

    @functools.cache
    def scalar(k: int) -> Callable[[Any], Any]:
        return sigma if k == 0 else jax.grad(scalar(k - 1))

    return Activation(functools.cache(lambda k: jnp.vectorize(scalar(k))))
