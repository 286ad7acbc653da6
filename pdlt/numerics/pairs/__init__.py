"""Gaussian expectations <sigma^(k) sigma^(k)> for very many pairs of inputs at once: what Gram matrices are made of.

The kernel goes in and expectations come out as `Pairs`, second moments in a form that keeps small angles. A rule is one
small class per method, with the members of `PairRule`.
"""

from typing import Any, Protocol

import jax
import numpy as np

from pdlt.activations import Activation
from pdlt.numerics.pairs.geometry import Pairs
from pdlt.numerics.pairs.mehler import Mehler
from pdlt.numerics.pairs.piecewise_linear import PiecewiseLinear


class PairRule(Protocol):
    """What a method provides.

    Attributes:
        name: shown to the user.
        levels: number of levels; two neighbouring ones show the error of the coarser.
    """

    @property
    def name(self) -> str: ...

    @property
    def levels(self) -> int: ...

    def data(self, level: int) -> Any:
        """Return the arrays that `average` needs at a level; equal shapes share compiled code."""
        ...

    def average(self, k: int, kernel: Pairs, data: Any) -> Pairs:
        """Return <sigma^(k) sigma^(k)> under the kernel."""
        ...

    def unresolved(self, k: int, kernel: jax.Array, level: int) -> np.ndarray:
        """Return how much of <sigma^(k) sigma^(k)> a level may miss, relative to it, for variances (N,): same shape.

        Two levels may agree although both miss the same.
        """
        ...


def choose(activation: Activation) -> PairRule:
    """Return the rule for an activation: closed forms for piecewise linear ones, Mehler's series for smooth ones."""
    if activation.slopes is None:
        return Mehler(activation)
    minus, plus = (float(s) for s in activation.slopes)
    return PiecewiseLinear(minus, plus)


__all__ = ["PairRule", "Pairs", "choose"]
