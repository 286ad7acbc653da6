"""K and Theta of networks of error functions by a route of their own: one pair of inputs at a time, in many digits."""

import mpmath as mp
import numpy as np

SCALES = {"C_b": 0.2, "C_W": 1.3, "lambda_b": 0.4, "lambda_W": 0.7}
DIGITS = 50


def slow_kernels(x, depth=3):
    """K and Theta on inputs (N, n_0), shape (N, N) each; the arcsine kernel of Williams (1998) and its derivative."""
    found = exact_kernels(x, x, depth)
    return found[..., 0].astype(float), found[..., 1].astype(float)


def exact_kernels(x, x2, depth=3):
    """K and Theta as numbers of mpmath, shape (N, M, 2)."""
    with mp.workdps(DIGITS):
        return np.array([[_pair(a, b, depth) for b in x2] for a in x], dtype=object)


def _pair(a, b, depth):
    C_b, C_W, lambda_b, lambda_W = (mp.mpf(SCALES[key]) for key in ("C_b", "C_W", "lambda_b", "lambda_W"))
    gram = [mp.fdot(map(mp.mpf, u), map(mp.mpf, v)) / len(u) for u, v in ((a, a), (a, b), (b, b))]
    first, both, second = (C_b + C_W * g for g in gram)
    theta = lambda_b + lambda_W * gram[1]
    for _ in range(depth - 1):
        square = (1 + 2 * first) * (1 + 2 * second)
        product = 2 / mp.pi * mp.asin(2 * both / mp.sqrt(square))
        slope = 4 / mp.pi / mp.sqrt(square - 4 * both**2)
        theta = lambda_b + lambda_W * product + C_W * slope * theta
        first, second = (C_b + C_W * 2 / mp.pi * mp.asin(2 * k / (1 + 2 * k)) for k in (first, second))
        both = C_b + C_W * product
    return both, theta
