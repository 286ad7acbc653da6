"""Exact observables of networks with one hidden layer, by quadrature. Knows no theory, and no derivative from pdlt.

Given the hidden preactivations z_k (k = 1 ... n), which are independent Gaussians over k with covariance G, everything
in layer 2 is a sum over hidden neurons that can be written down with the chain rule. With s = sigma(z_k) and its
derivatives s', s'', s''', indices of inputs, Theta_ab the tangent kernel of layer 1 (a constant), v = C_W / n and
c = lambda_W / n of layer 2, W_i the weights into output i,

    H_ij,12    = [i=j] (lambda_b + c sum s_1 s_2) + sum W_i W_j s'_1 s'_2 Theta_12
    dH_ijk,012 = sum W_i W_j W_k s''_0 s'_1 s'_2 Theta_01 Theta_02
                 + c [i=j] sum s_1 s'_0 s'_2 W_k Theta_02 + c [i=k] sum s_2 s'_0 s'_1 W_j Theta_01

and so on for ddH. The weights W are averaged by hand; terms of different hidden neurons are independent, so n times a
connected correlator is a single neuron's, exactly. What is left are Gaussian averages over the inputs' z.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf, expit

from pdlt.calibration.layerwise import slopes
from pdlt.networks import MLP

Array = Any
STEP, REACH = 0.3, 8.0  # of the trapezoidal rule, in standard deviations: exact to 1e-11 for what is used here
ARC = 24  # Gauss-Legendre nodes on an arc between two kinks

PHI = 1 / math.sqrt(2 * math.pi)


def _tanh(z: Array) -> list[Array]:
    t = np.tanh(z)
    return [t, 1 - t**2, -2 * t * (1 - t**2), -2 * (1 - t**2) * (1 - 3 * t**2)]


def _sin(z: Array) -> list[Array]:
    return [np.sin(z), np.cos(z), -np.sin(z), -np.cos(z)]


def _erf(z: Array) -> list[Array]:
    g = 2 / math.sqrt(math.pi) * np.exp(-(z**2))
    return [erf(z), g, -2 * z * g, (4 * z**2 - 2) * g]


def _gelu(z: Array) -> list[Array]:
    normal, density = (1 + erf(z / math.sqrt(2))) / 2, PHI * np.exp(-(z**2) / 2)
    return [z * normal, normal + z * density, (2 - z**2) * density, (z**3 - 4 * z) * density]


def _sigmoid(z: Array) -> list[Array]:
    s = expit(z)
    first = s * (1 - s)
    return [s, first, first * (1 - 2 * s), first * (1 - 6 * s + 6 * s**2)]


def _softplus(z: Array) -> list[Array]:
    return [np.logaddexp(0.0, z), *_sigmoid(z)[:3]]


def _silu(z: Array) -> list[Array]:
    s = _sigmoid(z)
    return [z * s[0], s[0] + z * s[1], 2 * s[1] + z * s[2], 3 * s[2] + z * s[3]]


#: sigma and its first three derivatives, written by hand.
SMOOTH: dict[str, Callable[[Array], list[Array]]] = {
    "tanh": _tanh,
    "sin": _sin,
    "erf": _erf,
    "gelu": _gelu,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "silu": _silu,
}


def solvable(net: MLP, x: np.ndarray) -> bool:
    """Return whether `moments` knows the network: one hidden layer; with a kink, inputs in a plane."""
    if net.depth != 2:
        return False
    if slopes(net) is not None:
        return _factor(net.C_b[0] + net.C_W[0] * x @ x.T / x.shape[1]).shape[1] <= 2
    return net.activation.name in SMOOTH and len(x) <= 3


def moments(net: MLP, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the named observables in layer 2, with the axes of `pdlt.simulate`; derivatives are pointwise.

    Args:
        net: a network that is `solvable`.
        x: inputs, shape (N, n_0).
    """
    gram = x @ x.T / x.shape[1]
    t = net.lambda_b[0] + net.lambda_W[0] * gram  # Theta of layer 1
    z, weights = _nodes(net, _factor(net.C_b[0] + net.C_W[0] * gram))
    s = _derivatives(net, z)
    C, rate, lambda_b = net.C_W[1], net.lambda_W[1], net.lambda_b[1]

    def mean(spec: str, *factors: Array) -> Array:
        return np.einsum(f"{spec}", *factors, optimize=True)

    def average(*orders: int) -> Array:
        """Return E s^(k)_a s^(l)_b ... for the orders k, l, ... of the derivatives."""
        letters = "abcd"[: len(orders)]
        return mean(f"x,{','.join('x' + a for a in letters)}->{letters}", weights, *(s[k] for k in orders))

    def times(tensor: Array, *pairs: str) -> Array:
        """Return the tensor [a, b, c, d] times Theta_pair for each pair of its indices."""
        return mean(f"abcd,{','.join(pairs)}->abcd", tensor, *(t for _ in pairs))

    s_s, ds_ds = average(0, 0), average(1, 1)
    K = net.C_b[1] + C * s_s
    tangent = ds_ds * t
    Theta = lambda_b + rate * s_s + C * tangent
    four = average(0, 0, 0, 0) - np.multiply.outer(s_s, s_s)
    mixed = times(average(0, 0, 1, 1), "cd") - np.multiply.outer(s_s, tangent)
    slopes = times(average(1, 1, 1, 1), "ab", "cd")
    hh = rate**2 * four + rate * C * (mixed + mean("cdab->abcd", mixed))
    hh = hh + C**2 * (slopes - np.multiply.outer(tangent, tangent))
    curved = times(average(2, 1, 1, 0), "ab", "ac")  # s''_0 s'_1 s'_2 s_3
    twice = times(average(2, 2, 1, 1), "ab", "ac", "bd")  # s''_1 s''_2 s'_3 s'_4
    half = times(average(1, 2, 0, 1), "ab", "bd")  # s'_1 s''_2 s_3 s'_4
    T = C**2 * twice + rate * C * (half + mean("badc->abcd", half)) + rate**2 * times(average(1, 1, 0, 0), "ab")
    return {
        "K": K,
        "Theta": Theta,
        "V": C**2 * four,
        "D": C * (rate * four + C * mixed),
        "A": hh,
        "F": mean("abcd->acbd", C**2 * times(average(0, 0, 1, 1), "cd")),
        "B": mean("abcd->acbd", C**2 * slopes),
        "P": C**2 * curved,
        "Q": C**2 * curved + rate * C * times(average(1, 0, 1, 0), "ac"),
        "R": C**2 * times(average(3, 1, 1, 1), "ab", "ac", "ad") + rate * C * times(average(2, 0, 1, 1), "ac", "ad"),
        "S": C**2 * twice + rate * C * times(average(1, 1, 1, 1), "ac", "bd"),
        "T": mean("abcd->acbd", T),
        "U": mean("abcd->adbc", C**2 * twice),
    }


def _derivatives(net: MLP, z: Array) -> list[Array]:
    sides = slopes(net)
    if sides is None:
        return SMOOTH[net.activation.name](z)
    slope = np.where(z > 0, sides[1], sides[0])
    return [slope * z, slope, np.zeros_like(z), np.zeros_like(z)]


def _factor(g: np.ndarray) -> np.ndarray:
    """Return F of full rank, shape (N, r), with F F^T = g."""
    values, axes = np.linalg.eigh(g)
    kept = values > 1e-12 * max(values[-1], 1e-300)
    return axes[:, kept] * np.sqrt(values[kept])


def _nodes(net: MLP, factor: np.ndarray) -> tuple[Array, Array]:
    """Return nodes z, shape (nodes, N), and weights of an average over N(0, F F^T)."""
    rank = factor.shape[1]
    if slopes(net) is not None and rank == 2:
        return _polar(factor)
    if slopes(net) is not None and rank == 1:
        line, weight = np.polynomial.hermite_e.hermegauss(40)  # even: no node at the kink; exact for even products
    else:
        line = np.arange(-REACH, REACH + STEP / 2, STEP)
        weight = np.exp(-(line**2) / 2)
    grids = np.meshgrid(*[line] * rank, indexing="ij")
    weights = np.prod(np.meshgrid(*[weight] * rank, indexing="ij"), axis=0).ravel() if rank else np.ones(1)
    e = np.stack([grid.ravel() for grid in grids], axis=1) if rank else np.zeros((1, 0))
    return e @ factor.T, weights / weights.sum()


def _polar(factor: np.ndarray) -> tuple[Array, Array]:
    """Return nodes and weights that are exact for piecewise quadratic and quartic functions of two Gaussians.

    On the arcs between the kinks Gauss-Legendre nodes; radially the generalised Gauss-Laguerre rule in r^2/2.
    """
    kinks = [math.atan2(row[1], row[0]) + turn for row in factor if np.any(row) for turn in (math.pi / 2, -math.pi / 2)]
    ends = np.unique(np.mod(kinks, 2 * math.pi))
    node, weight = np.polynomial.legendre.leggauss(ARC)
    half = np.diff(np.append(ends, ends[0] + 2 * math.pi)) / 2
    angle = (ends[:, None] + half[:, None] * (1 + node)).ravel()
    share = (half[:, None] * weight).ravel() / (2 * math.pi)
    square, radial = np.polynomial.laguerre.laggauss(8)
    r = np.sqrt(2 * square)
    e = np.stack([np.multiply.outer(r, f(angle)).ravel() for f in (np.cos, np.sin)], axis=1)
    return e @ factor.T, np.multiply.outer(radial, share).ravel()
