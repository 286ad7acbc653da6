"""By how much the tangent kernel moves while gradient flow fits one training point: the strength of feature learning.

One input, one output, loss (z - y)^2 / 2. The flow z' = -H (z - y), H' = -2 dH (z - y), dH' = -(ddI + 2 ddII)(z - y)
runs along a curve on which dH/dz = 2 dH/H, so that to second order in y - z(0)

    H(infinity) - H(0) = 2 (dH/H) (y - z) + ((ddI + 2 ddII)/H^2) (y - z)^2.

Its mean over initialisations is of order 1/n for smooth activations. With a kink it is of order n^(-1/2), because units
cross the kink. Both are derived and measured in derivations/12_feature_learning.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import erf, exp, pi, sqrt

import numpy as np

from pdlt.activations import Activation

#: E|z - y| in units of |y| for z ~ N(0, K) and y^2 = K.
_DISTANCE = sqrt(2 / pi) * exp(-1 / 2) + erf(1 / sqrt(2))


@dataclass(frozen=True)
class KernelChange:
    """Mean relative change of the NTK, E[H(infinity) - H(0)] / Theta, for a label with y^2 = K.

    Attributes:
        value: leading coefficient c of c n^-power, per depth.
        gross: the same with all terms counted positive: n^-power times this is the relative size of what is left out,
            as an order of magnitude.
        power: 1 for smooth activations, 1/2 for kinked ones.
    """

    value: np.ndarray
    gross: np.ndarray
    power: float


def smooth_change(tensors: Mapping[str, np.ndarray]) -> KernelChange:
    """Return the change for a smooth activation: -2 (P+2Q)/Theta^2 + [3R + 2(S+T+U)] 2K/Theta^3.

    Args:
        tensors: K, Theta, P, Q, R, S, T, U of one input, arrays over depth.
    """
    K, Theta = tensors["K"], tensors["Theta"]
    first = [-2 * tensors["P"] / Theta**2, -4 * tensors["Q"] / Theta**2]
    scale = 2 * K / Theta**3  # K + y^2 = 2K
    second = [3 * tensors["R"] * scale, *(2 * tensors[name] * scale for name in "STU")]
    terms = np.array([*first, *second])
    return KernelChange(terms.sum(axis=0), np.abs(terms).sum(axis=0), 1.0)


def kinked_change(activation: Activation, Theta: np.ndarray) -> KernelChange:
    """Return the change for a scale-invariant activation with a kink, at criticality.

    A unit of layer l moves with velocity v_+ = a_+ u + c above and v_- = a_- u + c below its kink, u from its own
    parameters and c from the layers before it: independent Gaussians, n Var u = Theta_l^2 / A_2 and
    n Var c = (A_4/A_2^2) sum over m < l of Theta_m^2. The units within reach of the kink change the kernel by

        -E|z - y| / (2 sqrt(2 pi K) Theta_L) sum over l of n E[(|v_+| - |v_-|)^2 (|v_+| + |v_-|)] / Theta_l.

    Args:
        activation: with `slopes` that are not None.
        Theta: the NTK of layers 1 ... L; what is returned are the changes for networks that end at each layer, whose
            learning rates are proportional to those of the given one.
    """
    assert activation.slopes is not None
    below, above = (float(s) for s in activation.slopes)
    A_2, A_4 = (above**2 + below**2) / 2, (above**4 + below**4) / 2
    own = Theta**2 / A_2
    earlier = A_4 / A_2**2 * np.concatenate([[0.0], np.cumsum(Theta**2)[:-1]])
    plus, minus = np.sqrt(above**2 * own + earlier), np.sqrt(below**2 * own + earlier)
    covariance = above * below * own + earlier
    product = plus * minus
    # E|v|^3 and E v^2 |w| of Gaussians. Where v_- is zero, so is the covariance.
    mixed = np.divide(covariance**2, product, out=np.zeros_like(product), where=product > 0)
    cubes = sqrt(2 / pi) * (2 * (plus**3 + minus**3) - (plus + minus) * (product + mixed))
    before = np.concatenate([[0.0], np.cumsum(cubes / Theta)[:-1]])
    value = -_DISTANCE / (2 * sqrt(2 * pi)) * before / Theta**2
    return KernelChange(value, np.maximum(np.abs(value), 1.0), 0.5)
