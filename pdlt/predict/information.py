"""How much two groups of outputs know about each other, as a function of the strength of the 1/n effects.

Given the kernel Ghat of the last layer, the outputs on one input are independent N(0, Ghat); Ghat fluctuates between
networks, with relative variance kappa2 = V/(n K^2) at leading order. Outputs that share a fluctuating variance are not
independent: this is how a finite network correlates features. The expansion in kappa2 is derived in
derivations/11_optimal_depth.py and is that of PDLT (arXiv:2106.10165), appendix A.
"""

import numbers
from functools import lru_cache

import numpy as np

from pdlt._arguments import count
from pdlt.errors import PdltError


def relative_entropy(coupling: float, neurons: int) -> float:
    """Return the relative entropy of `neurons` outputs to the Gaussian of the same covariance, to cubic order.

    D_m = m (m+2) kappa2^2 / 16 - m (m+2) (m+8) kappa2^3 / 48 + O(kappa2^4); the third cumulant of Ghat does not enter
    at this order.

    Args:
        coupling: kappa2, the relative variance of Ghat.
        neurons: m, a positive integer.

    Raises:
        PdltError: for bad arguments.
    """
    kappa, m = _coupling(coupling), count("neurons", neurons)
    return m * (m + 2) * (kappa**2 / 16 - (m + 8) * kappa**3 / 48)


def mutual_information(coupling: float, n_1: int, n_2: int) -> float:
    """Return the mutual information (in nats) of two groups of outputs on one input, to cubic order in kappa2.

    I = D_(n_1+n_2) - D_(n_1) - D_(n_2) = (n_1 n_2 / 8) [kappa2^2 - kappa2^3 (20 + 3 (n_1 + n_2)) / 6].

    Args:
        coupling: kappa2, the relative variance of Ghat.
        n_1, n_2: sizes of the two groups.

    Raises:
        PdltError: for bad arguments.
    """
    kappa, first, second = _coupling(coupling), count("n_1", n_1), count("n_2", n_2)
    return first * second / 8 * (kappa**2 - kappa**3 * (20 + 3 * (first + second)) / 6)


def optimal_coupling(outputs: int = 1) -> float:
    """Return the kappa2 at which the mutual information to cubic order is largest: 4 / (20 + 3 n_L).

    The cubic term is then two thirds of the quadratic one. The maximum belongs to the truncated series (see
    `lognormal_mutual_information`): it marks the depth from which on the 1/n expansion fails to describe the network.

    Args:
        outputs: n_L; how it is split into two groups does not matter. For n_L = 1 the formula is used as it stands.

    Raises:
        PdltError: if `outputs` is not a positive integer.
    """
    return 4 / (20 + 3 * count("outputs", outputs))


def lognormal_mutual_information(coupling: float, n_1: int, n_2: int, nodes: int = 80) -> float:
    """Return the mutual information of two groups of outputs for a log-normal Ghat, to all orders in kappa2.

    Ghat is log-normal for scale-invariant activations without biases when depth and width go to infinity together. The
    integrals over Ghat (Gauss-Hermite) and over the squared norm of the outputs (Gauss-Laguerre) are good to about six
    digits for kappa2 up to 1.

    Args:
        coupling: kappa2 = exp(variance of log Ghat) - 1.
        n_1, n_2: sizes of the two groups.
        nodes: quadrature nodes in each direction.

    Raises:
        PdltError: for bad arguments.
    """
    kappa, first, second = _coupling(coupling), count("n_1", n_1), count("n_2", n_2)
    whole, *parts = (_lognormal_entropy(kappa, m, nodes) for m in (first + second, first, second))
    return whole - sum(parts)


def _lognormal_entropy(kappa: float, neurons: int, nodes: int) -> float:
    """Return the relative entropy to N(0, 1) of `neurons` outputs whose common variance is log-normal with mean 1."""
    x, outer = _hermite(nodes)
    s, inner = _laguerre(nodes, neurons)
    deviation = np.sqrt(np.log1p(kappa))
    G = np.exp(deviation * x - deviation**2 / 2)
    square = np.multiply.outer(G, 2 * s)  # |z|^2 given G is G times a chi-square
    # log of p(z) / N(z; 0, 1), which depends on |z|^2 only
    exponents = -square[..., None] / 2 * (1 / G - 1) - neurons / 2 * np.log(G)
    top = exponents.max(axis=-1)
    logs = top + np.log(np.exp(exponents - top[..., None]) @ outer)
    return float(outer @ logs @ inner)


@lru_cache(maxsize=4)
def _hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return x, w / w.sum()


@lru_cache(maxsize=16)
def _laguerre(nodes: int, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import roots_genlaguerre

    s, w = roots_genlaguerre(nodes, neurons / 2 - 1)
    return s, w / w.sum()


def _coupling(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < np.inf:
        raise PdltError(f"Argument `coupling` must be a finite number, not negative, but got {value!r}.")
    return float(value)
