"""The contract of a training method, and the plain gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.errors import PdltError

Array = Any
Residuals = Callable[[Array], Array]


@dataclass(frozen=True)
class Method:
    """The contract of a method: data, checked when it is made, hashable.

    Methods are pure functions, so they may be jitted and mapped over networks.
    """

    def whitening(self, outputs: int) -> np.ndarray:
        """Return S, shape (n_L, n_L)."""
        return np.eye(outputs)

    def velocity(self, residuals: Residuals, jacobian: Residuals) -> Callable[[Array], Array]:
        """Return xi' as a function of xi.

        Args:
            residuals: r of shape (N, n_L) as a function of xi.
            jacobian: J of shape (N, n_L, P) as a function of xi.
        """
        raise NotImplementedError

    def multipliers(self, eigenvalues: Array, points: int) -> Array:
        """Return m(h) such that xi' = -J^T m(J J^T) r on a model that is linear in xi; mode i relaxes at rate h_i m_i.

        Args:
            eigenvalues: h of J J^T, positive.
            points: N.
        """
        raise PdltError(
            f"Argument `method` must be one that relaxes the modes of a linear model independently, but got {self!r}."
        )

    def check(self, r: np.ndarray, J: np.ndarray, last: float) -> None:
        """Raise PdltError if the flow from residuals r (N, n_L), Jacobian J (N, n_L, P) to time `last` is undefined."""


@dataclass(frozen=True)
class Gradient(Method):
    """theta' = -lambda grad of 1/2 sum (z - y)^2: every mode of the tangent kernel at the rate of its eigenvalue."""

    def velocity(self, residuals: Residuals, jacobian: Residuals) -> Callable[[Array], Array]:
        """Return xi' = -J^T r."""
        return gradient(residuals, 1.0)

    def multipliers(self, eigenvalues: Array, points: int) -> Array:
        """Return 1."""
        return jnp.ones_like(eigenvalues)


def gradient(residuals: Residuals, scale: float) -> Callable[[Array], Array]:
    """Return xi' = -J^T r times `scale`."""
    return lambda xi: -jax.grad(lambda p: scale * (residuals(p) ** 2).sum() / 2)(xi)
