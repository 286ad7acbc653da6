"""Expectations of steps, powers and deltas against closed forms and direct integration of the density."""

import itertools
from math import asin, pi, sqrt

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from pdlt.numerics.orthant import expectations, orthant_probability

RULE = np.polynomial.legendre.leggauss(96)
STEP = {("step", 0): 1.0}


def probability(covariance: np.ndarray) -> float:
    return float(orthant_probability(jnp.asarray(covariance), RULE))


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_equicorrelated_one_half(d: int) -> None:
    """With z_i = x_i - x_0 for independent x: P(x_0 is the smallest of d + 1) = 1 / (d + 1). Rounding only."""
    assert probability((np.eye(d) + np.ones((d, d))) / 2) == pytest.approx(1 / (d + 1), abs=1e-15)


def one_factor(loadings: np.ndarray) -> float:
    """P(z > 0) for z_i = a_i u + sqrt(1 - a_i^2) v_i: one integral over u, split where the factors are steep."""
    slopes = [a / sqrt(1 - a * a) for a in loadings]
    with mpmath.workdps(20):

        def density(u: mpmath.mpf) -> mpmath.mpf:
            return mpmath.npdf(u) * mpmath.fprod(mpmath.ncdf(s * u) for s in slopes)

        cuts = sorted({c for s in slopes for c in (-8 / abs(s), 8 / abs(s)) if abs(c) < 10})
        return float(mpmath.quad(density, [-10, *cuts[: len(cuts) // 2], 0, *cuts[len(cuts) // 2 :], 10]))


@pytest.mark.parametrize(
    "loadings",
    [(0.3, 0.8, -0.5, 0.6), (0.9, 0.95, 0.9, -0.99), (0.5, -0.7, 0.2), (0.999, 0.9, -0.5, 0.2)],
)
def test_one_factor_covariances(loadings: tuple[float, ...]) -> None:
    """Any correlations of the form a_i a_j; the integral of Plackett's identity is good to 1e-12 with 96 nodes."""
    a = np.array(loadings)
    covariance = np.outer(a, a) + np.diag(1 - a * a)
    scale = np.array([0.3, 2.0, 1.0, 5.0])[: len(a)]
    assert probability(covariance * np.outer(scale, scale)) == pytest.approx(one_factor(a), abs=1e-12)


def test_one_factor_witness_sees_a_wrong_correlation() -> None:
    a = np.array([0.3, 0.8, -0.5, 0.6])
    covariance = np.outer(a, a) + np.diag(1 - a * a)
    covariance[0, 1] = covariance[1, 0] = 0.25
    assert abs(probability(covariance) - one_factor(a)) > 1e-4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_general_covariances_against_scipy(seed: int) -> None:
    """scipy integrates the density by quasi-Monte Carlo; its own tolerance, set to 1e-7, is what limits."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4))
    covariance = root @ root.T
    law = multivariate_normal(np.zeros(4), covariance, maxpts=2_000_000, abseps=1e-7, releps=0, seed=seed)
    expected = law.cdf(np.zeros(4))
    assert probability(covariance) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_nearly_singular_pairs(sign: int) -> None:
    """Two independent nearly (anti)parallel pairs: P is a product of two arcsines."""
    rho = sign * (1 - 1e-6)
    covariance = np.eye(4)
    covariance[0, 1] = covariance[1, 0] = rho
    covariance[2, 3] = covariance[3, 2] = -rho
    expected = (0.25 + asin(rho) / (2 * pi)) * (0.25 - asin(rho) / (2 * pi))
    assert probability(covariance) == pytest.approx(expected, abs=1e-9)
    assert probability(covariance[:2, :2]) == pytest.approx(0.25 + asin(rho) / (2 * pi), abs=1e-15)


def test_zero_variance_counts_as_one_half() -> None:
    covariance = np.diag([0.0, 1.0])
    assert probability(covariance) == 0.25
    assert probability(covariance[:1, :1]) == 0.5


COVARIANCE = np.array([[1.3, 0.4, -0.3, 0.2], [0.4, 0.8, 0.1, 0.3], [-0.3, 0.1, 1.1, 0.25], [0.2, 0.3, 0.25, 0.9]])

ATOMS = [
    (("step", 1), ("step", 1)),
    (("step", 2), ("step", 3)),
    (("one", 2), ("step", 1)),
    (("step", 2), ("delta", 0)),
    (("delta", 1), ("step", 0)),
    (("delta", 2), ("step", 1)),
    (("step", 1), ("delta", 2)),
    (("delta", 1), ("delta", 2)),
    (("delta", 0), ("delta", 1), ("step", 1)),
    (("step", 1), ("step", 0), ("delta", 1)),
    (("one", 1), ("step", 1), ("step", 0)),
    (("delta", 2), ("step", 1), ("step", 0), ("one", 1)),
    (("delta", 0), ("step", 1), ("delta", 0), ("step", 2)),
    (("delta", 1), ("delta", 1), ("step", 0), ("step", 1)),
]


def integrate(atoms: tuple[tuple[str, int], ...], covariance: np.ndarray) -> float:
    """Integrate the density itself: a step limits the range, a delta takes derivatives of the density at zero."""
    precision = jnp.linalg.inv(jnp.asarray(covariance))
    d = len(atoms)

    def density(*z: jax.Array) -> jax.Array:
        point = jnp.stack(z)
        return jnp.exp(-point @ precision @ point / 2) / jnp.sqrt(jnp.linalg.det(2 * jnp.pi * covariance))

    sign = 1
    for axis, (kind, m) in enumerate(atoms):
        for _ in range(m if kind == "delta" else 0):
            density, sign = jax.grad(density, argnums=axis), -sign
    nodes, weights = np.polynomial.legendre.leggauss(64)
    lines, masses = [], []
    for axis, (kind, m) in enumerate(atoms):
        reach = 9 * sqrt(covariance[axis, axis])
        low, high = (0, reach) if kind == "step" else (-reach, reach)
        line = np.array([0.0]) if kind == "delta" else (high - low) / 2 * nodes + (high + low) / 2
        lines.append(line)
        masses.append(np.ones(1) if kind == "delta" else weights * (high - low) / 2 * line**m)
    grid = [g.reshape(-1) for g in np.meshgrid(*lines, indexing="ij")]
    mass = np.prod(np.meshgrid(*masses, indexing="ij"), axis=0).reshape(-1)
    assert len(grid) == d
    return sign * float(jax.jit(jax.vmap(density))(*grid) @ mass)


@pytest.mark.parametrize("atoms", ATOMS, ids=lambda a: " ".join(f"{kind}{m}" for kind, m in a))
def test_moments_and_deltas(atoms: tuple[tuple[str, int], ...]) -> None:
    """64 Gauss-Legendre nodes on 9 standard deviations resolve the Gaussian to about 1e-12."""
    covariance = COVARIANCE[: len(atoms), : len(atoms)]
    value = float(expectations([tuple({atom: 1.0} for atom in atoms)], jnp.asarray(covariance), RULE)[0])
    expected = integrate(atoms, covariance)
    assert value == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("atoms", [ATOMS[1], ATOMS[4], ATOMS[8]])
def test_direct_integration_sees_a_wrong_covariance(atoms: tuple[tuple[str, int], ...]) -> None:
    covariance = COVARIANCE[: len(atoms), : len(atoms)].copy()
    value = float(expectations([tuple({atom: 1.0} for atom in atoms)], jnp.asarray(covariance), RULE)[0])
    covariance[0, 1] = covariance[1, 0] = covariance[0, 1] * (1 + 1e-4)
    assert abs(value - integrate(atoms, covariance)) > 1e-7


def test_combinations_are_linear_and_share_nothing_wrong() -> None:
    """Products evaluated together equal products evaluated alone: remembered sub-results are not mixed up."""
    covariance = jnp.asarray(COVARIANCE[:3, :3])
    factors = [{("step", 1): 0.8, ("one", 1): 0.2}, {("delta", 0): 1.5}, {("step", 0): 1.0, ("one", 0): -0.5}]
    wanted = list(itertools.permutations(factors))
    together = expectations(wanted, covariance, RULE)
    for product, value in zip(wanted, together, strict=True):
        assert float(value) == float(expectations([product], covariance, RULE)[0])
        total = 0.0
        for choice in itertools.product(*(f.items() for f in product)):
            weight = np.prod([w for _, w in choice])
            total += weight * float(expectations([tuple({a: 1.0} for a, _ in choice)], covariance, RULE)[0])
        assert float(value) == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize("ratio", [2.0, -2.0])
def test_proportional_variables(ratio: float) -> None:
    """z_2 = ratio z_1 exactly: E[z_1 theta(z_1) z_2 theta(z_2)] is ratio/2 for a positive ratio, else zero."""
    covariance = jnp.asarray([[1.0, ratio], [ratio, ratio**2]])
    relu = {("step", 1): 1.0}
    value, slope = expectations([(relu, relu), (STEP, STEP)], covariance, RULE)
    assert float(value) == (ratio / 2 if ratio > 0 else 0.0)
    assert float(slope) == (0.5 if ratio > 0 else 0.0)


def test_normal_distribution_of_the_witness() -> None:
    """The one-factor integral itself: independent variables give 2^-d."""
    assert one_factor(np.array([1e-9, 1e-9])) == pytest.approx(norm.cdf(0) ** 2, abs=1e-9)
