"""Real networks with their weights given: outputs, tangent kernel and hidden kernels, layer by layer.

The tangent kernel of a perceptron needs no derivatives by parameters one by one. With the activations s^(l-1) that
enter layer l and the sensitivities delta^(l) = d z^(L) / d z^(l) of the outputs, gradients by weights are outer
products, so

    H_{i1 i2; 12} = sum_l (lambda_b + (lambda_W / n_{l-1}) s^(l-1)_1 . s^(l-1)_2) delta^(l)_{1 i1} . delta^(l)_{2 i2}.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from pdlt.ensemble.normals import normal
from pdlt.finite.architecture import Architecture, Weights
from pdlt.networks import MLP

Array = Any


def drawn(architecture: Architecture, key: Array, networks: int) -> Weights:
    """Return weights ~ N(0, C_W / n_{l-1}) and biases ~ N(0, C_b) with a first axis over networks."""
    net, found, at = architecture.net, [], 0
    numbers = normal(key, (networks, architecture.size))
    for (rows, columns), C_b, C_W in zip(architecture.shapes, net.C_b, net.C_W):
        weight = numbers[:, at : at + rows * columns].reshape(networks, rows, columns)
        at += rows * columns
        found.append((math.sqrt(C_W / columns) * weight, math.sqrt(C_b) * numbers[:, at : at + rows]))
        at += rows
    return tuple(found)


def reflected(weights: Weights) -> Weights:
    """Return the weights with the signs of the last layer flipped: as likely, with outputs -z and the same H."""
    (weight, bias) = weights[-1]
    return (*weights[:-1], (-weight, -bias))


def preactivations(net: MLP, weights: Weights, x: Array) -> list[Array]:
    """Return z^(1) ... z^(L) of one network, shapes (N, n_l), for inputs of shape (N, n_0)."""
    sigma = net.activation.jax(0)
    found: list[Array] = []
    for weight, bias in weights:
        state = sigma(found[-1]) if found else x
        found.append(state @ weight.T + bias[None, :])
    return found


def tangent_kernel(net: MLP, weights: Weights, x: Array) -> Array:
    """Return H of one network, shape (N, N, n_L, n_L): H_{i1 i2; 12} at [1, 2, i1, i2]."""
    sigma, slope = net.activation.jax(0), net.activation.jax(1)
    z = preactivations(net, weights, x)
    outputs = z[-1].shape[1]
    delta = jnp.broadcast_to(jnp.eye(outputs)[None], (len(x), outputs, outputs))
    total: Array = 0.0
    for k in reversed(range(net.depth)):
        state = sigma(z[k - 1]) if k else x
        gram = net.lambda_b[k] + net.lambda_W[k] / state.shape[1] * (state @ state.T)
        total = total + gram[:, :, None, None] * jnp.einsum("aip,bjp->abij", delta, delta)
        if k:
            delta = (delta @ weights[k][0]) * slope(z[k - 1])[:, None, :]
    return total


def as_matrix(H: Array) -> Array:
    """Return a tangent kernel as a matrix over pairs of point and output."""
    size = H.shape[0] * H.shape[2]
    return H.transpose(0, 2, 1, 3).reshape(size, size)


def hidden_kernels(net: MLP, weights: Weights, x: Array) -> Array:
    """Return C_b + (C_W / n_l) sum_j sigma_j sigma_j, scales of layer l + 1, for l = 1 ... L-1: shape (L-1, N, N)."""
    states = [net.activation.jax(0)(z) for z in preactivations(net, weights, x)[:-1]]
    scales = zip(net.C_b[1:], np.array(net.C_W[1:]) / np.array(net.width))
    return jnp.stack([C_b + scale * (state @ state.T) for state, (C_b, scale) in zip(states, scales)])
