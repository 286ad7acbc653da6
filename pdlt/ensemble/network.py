"""Sampler `network`: real weights, real networks, derivatives by automatic differentiation.

Parameters are written as W = W_0 + sqrt(lambda_W / n) xi and b = b_0 + sqrt(lambda_b) xi, so that every
tangent kernel is a plain contraction of derivatives in xi at xi = 0: H = J J^T, dH = g . Hess z . g, and so
on. To measure layer l, a head of fresh output neurons is put on the shared hidden layers 1 ... l-1. Neurons of one
layer are independent given the layer before, so two suffice; estimators are averaged over all ordered pairs.

This sampler is the witness: it shares nothing with the others but the description of the network, and draws with
`jax.random.normal`, not with `normals`.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble.jets import Sample
from pdlt.ensemble.specs import NAMED, Cumulant, Moment
from pdlt.errors import PdltError
from pdlt.networks import MLP

Array = Any

OUTPUTS = 2  # output neurons of a head, unless told otherwise; at least 2

# i and j are two different output neurons. z[i] has shape (N,), H[i][j] (N, N), dH[i][j][k] (N, N, N) with the
# twice differentiated output first, R the contraction ddI_{iijj}, h[i][j] the vectors Hess(z_i) grad(z_j),
# (N, N, P). Axes of each product are the slots of the spec in order: F, for instance, is (1, 3, 2, 4).
ESTIMATORS: dict[str, tuple[int, Callable[[Any, Any, Any], Array]]] = {
    # name: (derivatives of the output needed, estimator)
    "K": (0, lambda f, i, j: jnp.einsum("p,q->pq", f.z[i], f.z[i])),
    "V": (0, lambda f, i, j: jnp.einsum("p,q,r,s->pqrs", f.z[i], f.z[i], f.z[j], f.z[j])),
    "Theta": (1, lambda f, i, j: f.H(i, i)),
    "A": (1, lambda f, i, j: jnp.einsum("pq,rs->pqrs", f.H(i, i), f.H(j, j))),
    "B": (1, lambda f, i, j: jnp.einsum("pq,rs->prqs", f.H(i, j), f.H(i, j))),
    "D": (1, lambda f, i, j: jnp.einsum("p,q,rs->pqrs", f.z[i], f.z[i], f.H(j, j))),
    "F": (1, lambda f, i, j: jnp.einsum("p,q,rs->prqs", f.z[i], f.z[j], f.H(i, j))),
    "P": (2, lambda f, i, j: jnp.einsum("pqr,s->psqr", f.dH(i, j, j), f.z[i])),
    "Q": (2, lambda f, i, j: jnp.einsum("pqr,s->pqrs", f.dH(i, i, j), f.z[j])),
    "R": (3, lambda f, i, j: f.ddI(i, i, j, j)),
    "S": (2, lambda f, i, j: f.ddII(i, i, j, j)),
    "T": (2, lambda f, i, j: jnp.einsum("pqrs->prqs", f.ddII(i, j, i, j))),
    "U": (2, lambda f, i, j: jnp.einsum("pqrs->psqr", f.ddII(i, j, j, i))),
}


class Derivatives:
    """Outputs and tangent kernels of one network with M outputs, each computed when first asked for.

    Args:
        outputs: maps the P standardised parameters xi to the outputs, shape (M, N).
        size: P.
    """

    def __init__(self, outputs: Callable[[Array], Array], size: int) -> None:
        self._outputs = outputs
        self._origin = jnp.zeros(size)
        self.z: Array = outputs(self._origin)
        self._gradients: Array = None
        self._curvatures: Array = None

    @property
    def g(self) -> Array:
        """Gradients of the outputs, shape (M, N, P)."""
        if self._gradients is None:
            self._gradients = jax.jacrev(self._outputs)(self._origin)
        return self._gradients

    @property
    def h(self) -> Array:
        """Hessians of the outputs times gradients, h[i, :, j, :] = Hess(z_i) g_j, shape (M, N, M, N, P)."""
        if self._curvatures is None:
            jacobian = jax.jacrev(self._outputs)
            along = jax.vmap(lambda v: jax.jvp(jacobian, (self._origin,), (v,))[1])
            self._curvatures = jnp.moveaxis(jax.vmap(along)(self.g), (0, 1), (2, 3))
        return self._curvatures

    def H(self, i: int, j: int) -> Array:
        """Tangent kernel H_{ij; 12}."""
        return jnp.einsum("ax,bx->ab", self.g[i], self.g[j])

    def dH(self, i: int, j: int, k: int) -> Array:
        """Second derivative of z_i along the gradients of z_j and z_k: dH_{ijk; 012}."""
        return jnp.einsum("abx,cx->abc", self.h[i, :, j], self.g[k])

    def ddI(self, i: int, j: int, k: int, m: int) -> Array:
        """Third derivative of z_i along three gradients: ddI_{ijkm; 0123}."""

        def third(u: Array, v: Array, w: Array) -> Array:
            def first(xi: Array) -> Array:
                return jax.jvp(lambda y: self._outputs(y)[i], (xi,), (u,))[1]

            def second(xi: Array) -> Array:
                return jax.jvp(first, (xi,), (v,))[1]

            return jax.jvp(second, (self._origin,), (w,))[1]

        every = jax.vmap(jax.vmap(jax.vmap(third, (None, None, 0)), (None, 0, None)), (0, None, None))
        return jnp.moveaxis(every(self.g[j], self.g[k], self.g[m]), -1, 0)

    def ddII(self, i: int, j: int, k: int, m: int) -> Array:
        """Hess(z_i) g_k . Hess(z_j) g_m: ddII_{ijkm; 1234}."""
        return jnp.einsum("acx,bdx->abcd", self.h[i, :, k], self.h[j, :, m])


def sampler(
    net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int = OUTPUTS
) -> Sample:
    """Return a function (key, samples) -> (means, finite); arguments and result as in the sampler `jets`.

    `outputs` is the number of output neurons, at least 2: more give more pairs to average over.

    Raises:
        PdltError: for a moment that only the sampler `jets` measures.
    """
    estimators = [_estimator(moment)[1] for moment in moments]
    sigma = _pointwise(net) if net.activation.slopes is not None else net.activation.jax(0)
    hidden = [(net.width[layer - 1], net.fan_in(layer, x.shape[1])) for layer in range(1, max(layers))]
    columns = jnp.asarray(x).T
    pairs = list(permutations(range(outputs), 2))

    def one(key: Array) -> tuple[list[list[Array]], Array]:
        keys = jax.random.split(key, 2 * max(layers))
        trunk = [_draw(net, keys[k], k + 1, shape) for k, shape in enumerate(hidden)]
        measured = []
        for layer in layers:
            head = _draw(net, keys[max(layers) + layer - 1], layer, (outputs, net.width[layer - 2]))
            f = _derivatives(net, sigma, columns, [*trunk[: layer - 1], head])
            measured.append([sum(estimate(f, i, j) for i, j in pairs) / len(pairs) for estimate in estimators])
        return measured, _finite(sigma, columns, trunk)

    def sample(key: Array, samples: int) -> tuple[list[Array], Array]:
        measured, finite = jax.vmap(one)(jax.random.split(key, samples))
        means = [jnp.stack([layer[k].mean(axis=0) for layer in measured]) for k in range(len(moments))]
        return means, finite.all(axis=0)

    return sample


def workload(
    net: MLP, n_inputs: int, n_0: int, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int = OUTPUTS
) -> float:
    """Return a rough number of bytes that one network needs."""
    order = max(_estimator(moment)[0] for moment in moments)
    hidden = range(1, max(layers))
    size = outputs * (net.width[hidden[-1] - 1] + 1) + sum(net.width[k - 1] * (net.fan_in(k, n_0) + 1) for k in hidden)
    # Parameter-sized vectors: weights; gradients; Hessian-vector products; directions of third derivatives.
    directions, thirds = outputs * n_inputs, outputs * (outputs - 1) * n_inputs**3
    vectors = np.cumsum([1, 1 + directions, 1 + 2 * directions**2, 5 + 4 * thirds])[order]
    return 8.0 * (size * float(vectors) + 4 * n_inputs * sum(net.width[k - 1] for k in hidden))


def _derivatives(net: MLP, sigma: Callable, columns: Array, layers: list[tuple[Array, Array]]) -> Derivatives:
    """Return the derivatives of a network with the given weights and biases, inputs as columns."""
    sizes = [part.size for weights_biases in layers for part in weights_biases]
    cuts = np.cumsum(sizes)[:-1]

    def outputs(xi: Array) -> Array:
        parts = jnp.split(xi, cuts)
        state = columns
        for k, (weight, bias) in enumerate(layers):
            if k > 0:
                state = sigma(state)
            n = weight.shape[1]
            weight = weight + np.sqrt(net.lambda_W[k] / n) * parts[2 * k].reshape(weight.shape)
            bias = bias + np.sqrt(net.lambda_b[k]) * parts[2 * k + 1]
            state = weight @ state + bias[:, None]
        return state

    return Derivatives(outputs, sum(sizes))


def _draw(net: MLP, key: Array, layer: int, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return random weights of the given shape and biases of a layer."""
    weight_key, bias_key = jax.random.split(key)
    weight = np.sqrt(net.C_W[layer - 1] / shape[1]) * jax.random.normal(weight_key, shape)
    return weight, np.sqrt(net.C_b[layer - 1]) * jax.random.normal(bias_key, shape[:1])


def _finite(sigma: Callable, columns: Array, trunk: list[tuple[Array, Array]]) -> Array:
    """Return for layers 2 ... whether the activations they are made of are finite."""
    state, found = columns, []
    for k, (weight, bias) in enumerate(trunk):
        state = weight @ (state if k == 0 else sigma(state)) + bias[:, None]
        found.append(jnp.isfinite(sigma(state)).all())
    return jnp.stack(found)


def _pointwise(net: MLP) -> Callable[[Array], Array]:
    """Return a kinked activation whose derivatives are the pointwise ones, also exactly at the kink."""

    def order(k: int) -> Callable[[Array], Array]:
        function = jax.custom_jvp(net.activation.jax(k))

        def rule(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
            return order(k)(*primals), order(k + 1)(*primals) * tangents[0]

        function.defjvp(rule)
        return function

    return order(0)


def _estimator(moment: Moment) -> tuple[int, Callable[[Any, Any, Any], Array]]:
    known: dict[Moment, Cumulant] = {c.pairs: c for c in NAMED.values()}
    if moment not in known:
        raise PdltError(
            f'Argument `sampler`: "network" measures only {", ".join(NAMED)}; other joint cumulants need '
            'sampler="jets" or "path".'
        )
    return ESTIMATORS[known[moment].name]
