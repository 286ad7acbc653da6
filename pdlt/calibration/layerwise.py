"""Exact moments, layer by layer, of networks whose activation is linear on both sides of the origin. Knows no theory.

sigma(z) = a_+ z for z > 0 and a_- z for z < 0. Two symmetries make the moments of z, H, dH and ddH close, at any width,
with biases, and for all that an observable needs:

* Neurons of a layer are exchangeable under rotations (their rows of weights are isotropic Gaussians), so a moment on
  one and the same neuron is the sum over the three ways to pair its four factors, as for a Gaussian.
* Flipping the row of weights and the bias of neuron k flips z_k, H_kl, dH_kll, ... and nothing else. So the side of the
  kink on which each neuron is, is a fair coin that is independent of even products, and sigma', which depends on the
  side alone, enters through the means p_2 = (a_+^2 + a_-^2)/2 and p_4 = (a_+^4 + a_-^4)/2.

The sum over the neurons k, l of a layer then has n terms with k = l, of weight p_4, and n (n-1) with k != l, of weight
p_2^2. Several inputs are on different sides of the kink, so with a kink there may be one input only; a linear network
(a_+ = a_-) may have any number. Derivatives are pointwise: sigma'' = 0.
"""

from math import comb
from typing import Any

import numpy as np

from pdlt.networks import MLP

Array = Any


def solvable(net: MLP, n_inputs: int) -> bool:
    """Return whether `moments` knows the network on that many inputs."""
    sides = slopes(net)
    return sides is not None and (n_inputs == 1 or sides[0] == sides[1])


def moments(net: MLP, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the named observables in the last layer, with the axes of `pdlt.simulate`.

    Args:
        net: a network that is `solvable`.
        x: inputs, shape (N, n_0).
    """
    p_2, p_4 = slope_mean(net, 2), slope_mean(net, 4)
    gram = x @ x.T / x.shape[1]
    K, Theta = net.C_b[0] + net.C_W[0] * gram, net.lambda_b[0] + net.lambda_W[0] * gram
    # Indices a b c d belong to the factors as written; i and j are two different neurons.
    Z = np.multiply.outer(K, K)  # z_i z_i z_j z_j
    D = np.multiply.outer(K, Theta)  # z_i z_i H_jj
    A = np.multiply.outer(Theta, Theta)  # H_ii H_jj
    F = B = P = Q = R = S = T = U = np.zeros_like(Z)  # z_i z_j H_ij; H_ij H_ij; dH_ijj z_i; dH_iij z_j;
    # ddI_iijj; ddII_iijj, ddII_ijij, ddII_ijji
    for layer in range(1, net.depth):
        n = net.width[layer - 1]
        C_b, lambda_b, v, c = net.C_b[layer], net.lambda_b[layer], net.C_W[layer] / n, net.lambda_W[layer] / n

        def neurons(different: Array, same: Array, n: int = n) -> Array:
            return n * p_4 * same + n * (n - 1) * p_2**2 * different

        zzH = D + F + _to(F, "abdc")  # the same neuron everywhere
        HH = A + B + _to(B, "abdc")
        dHz = P + Q + _to(Q, "acbd")
        ddI = R + _to(R, "acbd") + _to(R, "adbc")
        ddII = S + T + U
        sum_Z = neurons(Z, Z + _to(Z, "acbd") + _to(Z, "adbc"))
        sum_D, sum_F, sum_A, sum_B = neurons(D, zzH), neurons(F, zzH), neurons(A, HH), neurons(B, HH)
        sum_P, sum_Q = neurons(P, dHz), neurons(Q, dHz)
        sum_R, sum_S, sum_T, sum_U = neurons(R, ddI), neurons(S, ddII), neurons(T, ddII), neurons(U, ddII)

        z_z, h = n * v * p_2 * K, lambda_b + n * p_2 * (c * K + v * Theta)
        ones = np.ones_like(K)
        Z = C_b**2 + C_b * _sum(z_z, z_z) + v**2 * sum_Z
        D = C_b * np.multiply.outer(ones, h) + lambda_b * np.multiply.outer(z_z, ones) + v * c * sum_Z + v**2 * sum_D
        A = lambda_b * _sum(h, h) - lambda_b**2 + c**2 * sum_Z + c * v * (sum_D + _to(sum_D, "cdab")) + v**2 * sum_A
        F, B, P, U = v**2 * sum_F, v**2 * sum_B, v**2 * sum_P, v**2 * sum_U
        Q = v**2 * sum_Q + c * v * _to(sum_F, "bdac")
        R = v**2 * sum_R + c * v * _to(sum_P, "acdb")
        S = v**2 * sum_S + c * v * _to(sum_B, "acbd")
        T = v**2 * sum_T + c * v * (_to(sum_Q, "bdac") + _to(sum_Q, "acbd")) + c**2 * _to(sum_F, "cdab")
        K, Theta = C_b + z_z, h
    n = net.fan_in(net.depth, x.shape[1])
    connected = {"V": Z - np.multiply.outer(K, K), "D": D - np.multiply.outer(K, Theta)}
    connected |= {"A": A - np.multiply.outer(Theta, Theta), "P": P, "Q": Q, "R": R, "S": S}
    connected |= {"F": _to(F, "acbd"), "B": _to(B, "acbd"), "T": _to(T, "acbd"), "U": _to(U, "acdb")}
    return {"K": K, "Theta": Theta, **{name: n * value for name, value in connected.items()}}


def covariance_cumulant(net: MLP, x: np.ndarray, k: int) -> float:
    """Return n^(k-1) times the k-th cumulant of G_00 in the last layer, for one input and any k.

    Given G, the squares sigma(z)^2 of a layer are G times independent terms with moments p_2q (2q-1)!!. Without biases
    and for a linear network E G^k is the product of prod_j<k (1 + 2j/n) over the layers.
    """
    G = np.array([(net.C_b[0] + net.C_W[0] * float((x @ x.T).item()) / x.shape[1]) ** q for q in range(k + 1)])
    term = [slope_mean(net, 2 * q) * float(np.prod(np.arange(1, 2 * q, 2))) for q in range(k + 1)]
    for layer in range(1, net.depth):
        n = net.width[layer - 1]
        average = raw_moments([kappa / n**q for q, kappa in enumerate(cumulants(term))])
        powers = [net.C_W[layer] ** j * average[j] * G[j] for j in range(k + 1)]
        G = np.array(
            [sum(comb(q, j) * net.C_b[layer] ** (q - j) * powers[j] for j in range(q + 1)) for q in range(k + 1)]
        )
    return float(n ** (k - 1) * cumulants(list(G))[k - 1])


def cumulants(raw: list[float]) -> list[float]:
    """Return the cumulants kappa_1, kappa_2, ... given E 1, E x, E x^2, ..."""
    found: list[float] = []
    for q in range(1, len(raw)):
        found.append(raw[q] - sum(comb(q - 1, j - 1) * found[j - 1] * raw[q - j] for j in range(1, q)))
    return found


def raw_moments(kappa: list[float]) -> list[float]:
    """Return E 1, E x, E x^2, ... given the cumulants kappa_1, kappa_2, ..."""
    found = [1.0]
    for q in range(1, len(kappa) + 1):
        found.append(sum(comb(q - 1, j - 1) * kappa[j - 1] * found[q - j] for j in range(1, q + 1)))
    return found


def slopes(net: MLP) -> tuple[float, float] | None:
    """Return (a_-, a_+) of a network whose activation is linear on both sides of the origin, else None."""
    if net.activation.slopes is not None:
        minus, plus = net.activation.slopes
        return float(minus), float(plus)
    return (1.0, 1.0) if net.activation.name == "linear" else None


def slope_mean(net: MLP, power: int) -> float:
    """Return (a_+^m + a_-^m) / 2."""
    sides = slopes(net)
    if sides is None:
        raise ValueError(f"{net.activation} is not linear on both sides of the origin")
    return sum(slope**power for slope in sides) / 2


def _to(tensor: Array, indices: str) -> Array:
    """Return the tensor with elements [a, b, c, d] = tensor[indices]."""
    return np.einsum(f"{indices}->abcd", tensor)


def _sum(first: Array, second: Array) -> Array:
    """Return first[a, b] + second[c, d]."""
    return first[:, :, None, None] + second[None, None, :, :]
