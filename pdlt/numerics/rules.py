"""Integration rules for a standard Gaussian in d dimensions, as nodes and weights.

Each family has numbered levels of increasing resolution; two neighbouring levels share no nodes, so that the
difference of their results is an honest estimate of the coarser one's error.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rule:
    """Nodes of shape (M, d) and weights of shape (M,): E f(u) = sum_m w_m f(u_m) for u ~ N(0, 1_d)."""

    nodes: np.ndarray
    weights: np.ndarray


#: Nodes per dimension at each level; level 0 and 1 are always run.
TRAPEZOID_POINTS = {
    1: (96, 144, 256, 512, 1024, 2048, 4096),
    2: (48, 72, 108, 160, 240, 360),
    3: (32, 48, 72, 108),
    4: (24, 36, 54, 72),
}

#: Radius of the ball at level 0 and its growth per level: the Gaussian outside is below 1e-10 or so.
RADIUS = {1: 7.5, 2: 7.5, 3: 7.25, 4: 7.0}
GROWTH = {1: 0.75, 2: 0.75, 3: 0.5, 4: 0.25}


def trapezoid(dimension: int, level: int) -> Rule:
    """Return the product trapezoidal rule on a ball, exponentially accurate for analytic activations.

    Nodes outside the ball, where the Gaussian is below the rounding error of the sum, are left out. The ball grows
    with the level, so that integrands which outgrow it show up in the difference between levels.
    """
    points = TRAPEZOID_POINTS[dimension][level]
    radius = RADIUS[dimension] + GROWTH[dimension] * level
    step = 2 * radius / points
    # Even levels straddle the origin and odd ones meet it, so that a spike there (a steep activation, a large kernel)
    # that falls between the nodes of one level is seen by its neighbour and shows up in their difference.
    line = (np.arange(points) + (0.5 if level % 2 == 0 else 0.0)) * step - radius
    nodes = np.stack(np.meshgrid(*[line] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    square = (nodes**2).sum(1)
    nodes, square = nodes[square < radius**2], square[square < radius**2]
    weights = np.exp(-square / 2) * (step / np.sqrt(2 * np.pi)) ** dimension
    return Rule(nodes, weights)


def hermite(dimension: int, degree: int) -> Rule:
    """Return the product Gauss-Hermite rule that is exact for polynomials up to `degree` in each variable."""
    line, weight = np.polynomial.hermite_e.hermegauss(degree // 2 + 1)
    weight = weight / weight.sum()
    nodes = np.stack(np.meshgrid(*[line] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    weights = np.stack(np.meshgrid(*[weight] * dimension, indexing="ij"), -1).reshape(-1, dimension).prod(1)
    return Rule(nodes, weights)


def legendre(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights on [-1, 1], doubled at each level; level 0 has the arrays of level 1."""
    points, weights = np.polynomial.legendre.leggauss(24 * 2**level)
    extra = (0, 24 if level == 0 else 0)
    return np.pad(points, extra), np.pad(weights, extra)


def sobol(dimension: int, log2_points: int, replicate: int) -> Rule:
    """Return a scrambled Sobol' sequence mapped to the Gaussian; replicates are independent scramblings."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    seed = np.random.default_rng([20250815, dimension, log2_points, replicate])
    uniform = qmc.Sobol(dimension, rng=seed).random_base2(log2_points)
    half = 2.0 ** -(log2_points + 30)
    return Rule(ndtri(np.clip(uniform, half, 1 - half)), np.full(len(uniform), 1.0 / len(uniform)))


def padded(rule: Rule, size: int) -> Rule:
    """Return the rule with nodes of weight zero added up to `size`, so that compiled code can be shared."""
    extra = size - len(rule.weights)
    return Rule(np.pad(rule.nodes, ((0, extra), (0, 0))), np.pad(rule.weights, (0, extra)))
