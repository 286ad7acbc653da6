"""Gaussian expectations for activations with one kink: sigma(z) = s_plus z for z > 0, s_minus z for z < 0.

The second derivative is a Dirac atom at the kink. A product of derivatives of one input is defined as the limit of
smooth activations that sharpen to sigma, where that limit exists and does not depend on how they sharpen; where it
does not exist (sigma'' squared, say) the result is nan. With `pointwise` the atoms are dropped from products, as
automatic differentiation of a sampled network does; derivatives of whole expectations keep them in either case.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.numerics.orthant import DEGENERATE, Atom, Atoms, expectations

UNDEFINED: Atoms = {("one", 0): math.nan}


def averages(
    slopes: tuple[float, float],
    pointwise: bool,
    kernel: jax.Array,
    wanted: Sequence[tuple],
    rule: tuple[Any, Any],
) -> tuple[jax.Array, ...]:
    """Return expectations as arrays, one axis of length N per label.

    Args:
        slopes: (s_minus, s_plus).
        pointwise: drop the Dirac atoms of sigma'', sigma''' inside products.
        kernel: covariance K of distinct inputs, shape (N, N).
        wanted: expectations as in `pdlt.codegen.program.Average`, lowered with `kinked=True`.
        rule: see `pdlt.numerics.orthant.expectations`; used by orthants of four inputs.
    """
    parts = {average: _parts(slopes, pointwise, average, kernel.shape[0]) for average in wanted}
    chosen, covariances = {}, {}
    values: dict[tuple, jax.Array] = {}
    for blocks in sorted({part.blocks for found in parts.values() for part in found}):
        products = list({part.product: None for found in parts.values() for part in found if part.blocks == blocks})
        chosen[blocks] = np.array(list(itertools.permutations(range(kernel.shape[0]), blocks)))
        covariances[blocks] = kernel[chosen[blocks][:, :, None], chosen[blocks][:, None, :]]
        # All products at once, so that they share what they have in common.
        factors = [tuple(dict(f) for f in product) for product in products]
        results = jax.vmap(lambda c, f=factors: expectations(f, c, rule))(covariances[blocks])
        values.update(zip(products, results, strict=True))
    arrays = []
    for average in wanted:
        array = jnp.zeros((kernel.shape[0],) * len(average), dtype=kernel.dtype)
        for part in parts[average]:
            value = jnp.where(_diverges(covariances[part.blocks], part.deltas), jnp.nan, values[part.product])
            for block, factor in part.at_rest:
                value = jnp.where(covariances[part.blocks][:, block, block] == 0, factor * value, value)
            array = array.at[tuple(chosen[part.blocks][:, b] for b in part.axes)].set(value)
        arrays.append(array)
    return tuple(arrays)


@dataclass(frozen=True)
class _Part:
    """The entries of an average where its labels coincide in one way.

    Attributes:
        product: the function of each different input, as (atom, weight) pairs, in a standard order.
        axes: for each axis of the average, the position of its input in `product`.
        deltas: positions of the inputs whose product contains a Dirac atom before any outer derivative.
        at_rest: (position, factor) of the inputs where sigma'^n stands alone: without variance (x = 0, no bias) it
            is the n-th power of the mean of both slopes, as everywhere in pdlt, not the mean of their n-th powers.
    """

    product: tuple[tuple[tuple[Atom, float], ...], ...]
    axes: tuple[int, ...]
    deltas: tuple[int, ...]
    at_rest: tuple[tuple[int, float], ...]

    @property
    def blocks(self) -> int:
        """The number of different inputs."""
        return len(self.product)


def _parts(slopes: tuple[float, float], pointwise: bool, average: tuple, inputs: int) -> list[_Part]:
    parts = []
    for pattern in _coincidence_patterns(len(average)):
        blocks = max(pattern) + 1
        members = [[axis for axis, block in enumerate(pattern) if block == b] for b in range(blocks)]
        # The first of coinciding axes carries the derivative of the whole product.
        if blocks > inputs or any(average[axis][0] for block in members for axis in block[1:]):
            continue
        orders = [[k for axis in block for k in average[axis][1]] for block in members]
        outer = [average[block[0]][0] for block in members]
        factors = [
            tuple(sorted(product_atoms(slopes, p, ks, pointwise).items())) for p, ks in zip(outer, orders, strict=True)
        ]
        standard = sorted(range(blocks), key=lambda b: repr(factors[b]))
        inner = [product_atoms(slopes, 0, orders[b], pointwise) for b in standard]
        parts.append(
            _Part(
                tuple(factors[b] for b in standard),
                tuple(standard.index(block) for block in pattern),
                tuple(i for i, atoms in enumerate(inner) if any(kind == "delta" for kind, _ in atoms)),
                tuple(
                    (i, _power_of_mean(slopes, len(orders[b]))) for i, b in enumerate(standard) if set(orders[b]) == {1}
                ),
            )
        )
    return parts


def _power_of_mean(slopes: tuple[float, float], n: int) -> float:
    """Return the n-th power of the mean slope over the mean of n-th powers (1 where both vanish)."""
    mean_of_powers = (slopes[0] ** n + slopes[1] ** n) / 2
    return ((slopes[0] + slopes[1]) / 2) ** n / mean_of_powers if mean_of_powers else 1.0


def _diverges(covariances: jax.Array, deltas: tuple[int, ...]) -> jax.Array:
    """Return where Dirac atoms of two proportional inputs meet, or one of an input without variance.

    Deltas that come from derivatives of whole expectations are no obstacle there: what they multiply vanishes or
    makes them cancel.
    """
    variance = jnp.diagonal(covariances, axis1=1, axis2=2)
    found = (variance[:, list(deltas)] == 0).any(1)
    for i, j in itertools.combinations(deltas, 2):
        slopes = (covariances[:, i, j] / jnp.where(v > 0, v, 1.0) for v in (variance[:, i], variance[:, j]))
        found |= 1 - math.prod(slopes) <= DEGENERATE
    return found


def product_atoms(slopes: tuple[float, float], outer: int, orders: Sequence[int], pointwise: bool) -> Atoms:
    """Return d^outer/dz^outer of prod_k sigma^(k)(z) as a combination of atoms.

    Near the kink a smooth activation of sharpness 1/e has sigma ~ e, sigma' ~ 1, sigma'' ~ 1/e ..., so a product
    leaves no atom if it scales with a positive power of e after integration, a universal one if it is a total
    derivative, and diverges or depends on the smoothing otherwise.
    """
    minus, plus = slopes
    values, slopes_count = orders.count(0), orders.count(1)
    higher = sorted(k for k in orders if k >= 2)
    if not higher:
        n = values + slopes_count
        atoms = {("one", values): minus**n, ("step", values): plus**n - minus**n}
    elif pointwise or sum(k - 1 for k in higher) - values < 1:
        atoms = {}
    elif len(higher) == 1 and not values and not slopes_count:
        atoms = {("delta", higher[0] - 2): plus - minus}
    elif higher == [2] and not values:
        # sigma'' sigma'^m = (sigma'^(m+1))' / (m+1)
        m = slopes_count + 1
        atoms = {("delta", 0): (plus**m - minus**m) / m}
    elif higher == [3] and values == 1 and not slopes_count:
        # sigma sigma''' = (sigma sigma'')' - (sigma'^2)' / 2, and sigma sigma'' leaves no atom
        atoms = {("delta", 0): -(plus**2 - minus**2) / 2}
    else:
        return UNDEFINED
    for _ in range(outer):
        atoms = _differentiated(atoms)
    return atoms


def _differentiated(atoms: Atoms) -> Atoms:
    result: Atoms = {}
    for (kind, m), weight in atoms.items():
        if kind == "delta":
            term, factor = ("delta", m + 1), 1
        elif m:
            term, factor = (kind, m - 1), m
        elif kind == "step":
            term, factor = ("delta", 0), 1
        else:
            continue
        result[term] = result.get(term, 0.0) + factor * weight
    return result


def _coincidence_patterns(rank: int) -> list[tuple[int, ...]]:
    """Return all ways in which `rank` labels can coincide, as restricted growth strings."""
    patterns: list[tuple[int, ...]] = [()]
    for _ in range(rank):
        patterns = [(*p, b) for p in patterns for b in range(max(p, default=-1) + 2)]
    return patterns
