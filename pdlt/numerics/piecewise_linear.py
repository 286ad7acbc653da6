"""Gaussian expectations for activations with one kink: sigma(z) = s_plus z for z > 0, s_minus z for z < 0.

The second derivative is a Dirac atom at the kink. A product of derivatives of one input is defined as the limit of
smooth activations that sharpen to sigma, where that limit exists and does not depend on how they sharpen; where it
does not exist (sigma'' squared, say) the result is nan. With `pointwise` the atoms are dropped from products, as
automatic differentiation of a sampled network does; derivatives of whole expectations keep them in either case.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.numerics.orthant import DEGENERATE, Atoms, expectation

UNDEFINED: Atoms = {("one", 0): math.nan}


def averages(
    slopes: tuple[float, float], pointwise: bool, kernel: jax.Array, wanted: Sequence[tuple], nodes: int
) -> tuple[jax.Array, ...]:
    """Return expectations as arrays, one axis of length N per label.

    Args:
        slopes: (s_minus, s_plus).
        pointwise: drop the Dirac atoms of sigma'', sigma''' inside products.
        kernel: covariance K of distinct inputs, shape (N, N).
        wanted: expectations as in `pdlt.codegen.program.Average`, lowered with `kinked=True`.
        nodes: Gauss-Legendre nodes for orthants of four inputs.
    """
    return tuple(_average(slopes, pointwise, kernel, average, nodes) for average in wanted)


def _average(slopes: tuple[float, float], pointwise: bool, kernel: jax.Array, average: tuple, nodes: int) -> jax.Array:
    inputs, rank = kernel.shape[0], len(average)
    result = jnp.zeros((inputs,) * rank, dtype=kernel.dtype)
    for pattern in _coincidence_patterns(rank):
        blocks = max(pattern) + 1
        if blocks > inputs:
            continue
        members = [[axis for axis in range(rank) if pattern[axis] == b] for b in range(blocks)]
        if any(average[axis][0] for block in members for axis in block[1:]):
            continue  # the first of the coinciding axes carries the derivative of the whole product
        factors = tuple(
            product_atoms(slopes, average[block[0]][0], [k for a in block for k in average[a][1]], pointwise)
            for block in members
        )
        chosen = np.array(list(itertools.permutations(range(inputs), blocks)))
        covariances = kernel[chosen[:, :, None], chosen[:, None, :]]
        values = jax.vmap(lambda c, f=factors: expectation(f, c, nodes))(covariances)
        inner = [product_atoms(slopes, 0, [k for a in block for k in average[a][1]], pointwise) for block in members]
        with_delta = [b for b, atoms in enumerate(inner) if any(kind == "delta" for kind, _ in atoms)]
        values = jnp.where(_diverges(covariances, with_delta), jnp.nan, values)
        result = result.at[tuple(chosen[:, pattern[axis]] for axis in range(rank))].set(values)
    return result


def _diverges(covariances: jax.Array, with_delta: list[int]) -> jax.Array:
    """Return where Dirac atoms of two proportional inputs meet, or one of an input without variance.

    Deltas that come from derivatives of whole expectations are no obstacle there: what they multiply vanishes or
    makes them cancel.
    """
    variance = jnp.diagonal(covariances, axis1=1, axis2=2)
    found = (variance[:, with_delta] == 0).any(1)
    for i, j in itertools.combinations(with_delta, 2):
        product = variance[:, i] * variance[:, j]
        found |= product - covariances[:, i, j] ** 2 <= DEGENERATE * product
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
