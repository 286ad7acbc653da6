r"""Systems with closed forms, written so that they can be checked by hand.

Nothing here uses pdlt. Conventions as in pdlt: z^(1) = b + W x, E[W W] = C_W / n_{l-1}, learning rates lambda_b and
lambda_W / n_{l-1}; tensors such as V are n_{l-1} times the cumulant.

1. Deep linear and deep ReLU networks, no bias, one input
---------------------------------------------------------
Given layer l, every preactivation is Gaussian with variance G = (C_W / n) sum_j sigma(z_j)^2, an average of n
independent terms with z_j ~ N(0, G_previous). Hence G is a product over the hidden layers of independent averages:

    linear:  C_W chi^2_n / n,             second moment over squared mean  1 + 2/n
    ReLU:    C_W (average of z^2 [z>0]),  second moment over squared mean  1 + 5/n,

because Var(z^2) / (E z^2)^2 = 2 and Var(z^2 [z>0]) / (E z^2 [z>0])^2 = (3/2) / (1/4) - 1 = 5. So

    E[G^2] / E[G]^2 = prod_l (1 + c / n_l),   V^(L) = n_{L-1} K^2 (prod_{l<L} (1 + c / n_l) - 1).

2. Homogeneous activations, no bias, one input: all second moments of (z, H), at any finite width
-------------------------------------------------------------------------------------------------
p = 1 (linear) or 1/2 (ReLU) is the probability that a neuron is active; the recursion for the seven moments is in
`homogeneous_moments`. Expanded in 1/n it gives V, D, F, A, B to every order.

3. Scale-invariant activations at criticality, biases in the learning rate only
-------------------------------------------------------------------------------
sigma(z) = a_plus z (z > 0), a_minus z (z < 0), C_b = 0, C_W = 1 / A_2 with A_2 = (a_plus^2 + a_minus^2) / 2. Then
K is constant and every tensor is a polynomial in the depth (`scale_invariant`).

4. Kernels in closed form
-------------------------
<sigma sigma> for ReLU (arc-cosine kernels of degree 1 and, for sigma', 0; Cho and Saul 2009) and for erf (the
arcsine kernel; Williams 1998).
"""

from fractions import Fraction
from math import acos, asin, cos, pi, sin, sqrt

import numpy as np

#: Var(f) / E[f]^2 of the square of one neuron's activation, under a Gaussian.
SPREAD = {"linear": 2, "relu": 5}

#: ReLU, C_W = 2, lambda_W = 1, x.x/n_0 = 1: leading (V, D, F, A, B) by layer. Integers as printed in the literature
#: notes of the project, independent of `homogeneous_moments`.
RELU_INTEGERS = {
    2: (20, 12, 4, 8, 2),
    3: (40, 36, 12, 38, 10),
    4: (60, 72, 24, 104, 28),
    8: (140, 336, 112, 1008, 280),
}


def four_point_vertex(activation: str, widths: list[int], kernel: float) -> tuple[float, float]:
    """Return (V, V_1) of system 1 at the last layer, where E[G] = `kernel`; n is the last of the hidden widths."""
    c, n = SPREAD[activation], widths[-1]
    first = sum(Fraction(c, m) for m in widths)
    second = sum(Fraction(c, a) * Fraction(c, b) for i, a in enumerate(widths) for b in widths[:i])
    return float(n * first) * kernel**2, float(n * n * second) * kernel**2


def homogeneous_moments(p: Fraction, C_W: Fraction, lambda_W: Fraction, g: Fraction, depth: int, terms: int) -> dict:
    """Return V, D, F, A, B of system 2 at layer `depth` as power series in 1/n, equal hidden widths.

    With s = sigma(z)^2 summed over neurons and s' the indicators: E[s s] = 3 p n m0 + p^2 n (n - 1) m0 and so on;
    v = C_W / n, c = lambda_W / n, r = p n, q = p^2 n (n - 1). In units of powers of e = 1/n:
    v^2 r = C_W^2 p e, v^2 q = C_W^2 p^2 (1 - e), and likewise for v c and c^2.
    """
    e = _Series([0, 1], terms)
    one = _Series([1], terms)
    r, q = p * e, p * p * (one - e)
    vv, vc, cc = C_W * C_W, C_W * lambda_W, lambda_W * lambda_W
    m0 = vv * g * g * one
    d1 = d2 = vc * g * g * one
    f = b = 0 * one
    a1 = a2 = cc * g * g * one
    for _ in range(depth - 1):
        s4 = (3 * r + q) * m0
        sT, sM = r * d1 + q * d2, r * d1 + q * f
        tau, tau2 = r * a1 + q * a2, r * a1 + q * b
        m0, d2_new = vv * s4, vc * s4 + vv * sT
        a2_new = cc * s4 + 2 * vc * sT + vv * tau
        d1, d2, f = d2_new + 2 * vv * sM, d2_new, vv * sM
        a1, a2, b = a2_new + 2 * vv * tau2, a2_new, vv * tau2
    kernel = (C_W * p) ** (depth - 1) * C_W * g
    theta = lambda_W * g
    for layer in range(1, depth):
        theta = lambda_W * p * (C_W * p) ** (layer - 1) * C_W * g + C_W * p * theta
    cumulants = {"V": m0 - kernel**2 * one, "D": d2 - kernel * theta * one, "F": f, "A": a2 - theta**2 * one, "B": b}
    return {name: [float(x) for x in series.coefficients[1:]] for name, series in cumulants.items()}


class _Series:
    """A polynomial in e = 1/n, cut after a number of terms, with exact coefficients."""

    def __init__(self, coefficients: list, terms: int) -> None:
        padded = [Fraction(c) for c in coefficients] + [Fraction(0)] * terms
        self.coefficients, self.terms = padded[:terms], terms

    def __add__(self, other: "_Series") -> "_Series":
        return _Series([a + b for a, b in zip(self.coefficients, other.coefficients, strict=True)], self.terms)

    def __sub__(self, other: "_Series") -> "_Series":
        return self + (-1) * other

    def __mul__(self, other: "_Series") -> "_Series":
        product = [Fraction(0)] * self.terms
        for i, a in enumerate(self.coefficients):
            for j, b in enumerate(other.coefficients[: self.terms - i]):
                product[i + j] += a * b
        return _Series(product, self.terms)

    def __rmul__(self, number: Fraction | int) -> "_Series":
        return _Series([number * a for a in self.coefficients], self.terms)


def scale_invariant(a_minus: float, a_plus: float, K: float, lambda_b: float, lambda_W: float, layer: int) -> dict:
    """Return the closed forms of system 3 (pointwise derivatives where sigma'' occurs)."""
    A2, A4 = (a_plus**2 + a_minus**2) / 2, (a_plus**4 + a_minus**4) / 2
    a = A4 / A2**2
    nu, kW = 3 * a - 1, lambda_W * A2 * K
    k = lambda_b + kW
    pairs = layer * (layer - 1) / 2
    squares = (layer - 1) * layer * (2 * layer - 1) / 6
    return {
        "K": K,
        "Theta": k * layer,
        "V": nu * K**2 * (layer - 1),
        "F": a * K * k * pairs,
        "B": a * k**2 * squares,
        "D": K * (kW * nu + k * (a - 1)) * pairs,
        "A": (kW**2 * nu + kW * k * (a - 1) + k**2 * (a - 1)) * squares + kW * k * (a - 1) * pairs,
        "Q": a * kW * k * (layer - 1) * layer * (layer + 1) / 6,
        "P": 0.0,
        "R": 0.0,
        "U": 0.0,
        "K_1": 0.0,
        "Theta_1": 0.0,
    }


def arc_cosine(degree: int, kernel: np.ndarray) -> float:
    """Return <theta theta> (degree 0) or <relu relu> (degree 1) under a (2, 2) covariance."""
    angle = acos(kernel[0, 1] / sqrt(kernel[0, 0] * kernel[1, 1]))
    if degree == 0:
        return (pi - angle) / (2 * pi)
    return sqrt(kernel[0, 0] * kernel[1, 1]) * (sin(angle) + (pi - angle) * cos(angle)) / (2 * pi)


def arcsine(kernel: np.ndarray) -> float:
    """Return <erf erf> under a (2, 2) covariance."""
    return 2 / pi * asin(2 * kernel[0, 1] / sqrt((1 + 2 * kernel[0, 0]) * (1 + 2 * kernel[1, 1])))
