"""Sampler `jets`: the exact law of the finite network's jet covariance, without weight matrices.

The jet of a neuron is the vector of its preactivation and of the preactivation's derivatives along auxiliary
Gaussian directions in parameter space, for every input. Given layer l, the jets of layer l+1 are independent
Gaussian vectors over neurons, exactly and at any width, with covariance

    G'_(Sa)(Tb) = C_b [S=T=0] + lambda_b [S=T={s}] + (1/n) sum_j ( C_W phi_Sa phi_Tb
                  + lambda_W sum_{s in S and T} phi_{S-s,a} phi_{T-s,b} )(u_j),      u_j ~ N(0, G),

where phi_S is the derivative of sigma(z) along S (Faa di Bruno). The chain G^(1) -> G^(2) -> ... is all there
is to sample; observables are moments of G, so the last layer is integrated analytically.
"""

from collections.abc import Callable
from functools import partial
from itertools import chain, combinations, groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble.normals import normal
from pdlt.ensemble.specs import Moment, renamings, set_partitions
from pdlt.networks import MLP

Array = Any
Sample = Callable[[Array, int], tuple[list[Array], Array]]


def closure(moments: tuple[Moment, ...]) -> tuple[str, ...]:
    """Return the jets that a draw must contain: all subsets of the direction sets used, "" included."""
    used = {slot for moment in moments for pair in moment for slot in pair}
    subsets = chain.from_iterable(combinations(slot, k) for slot in used for k in range(len(slot) + 1))
    return tuple(sorted({"".join(subset) for subset in subsets}, key=lambda s: (len(s), s)))


def input_covariance(net: MLP, x: np.ndarray, jets: tuple[str, ...]) -> np.ndarray:
    """Return G of layer 1, which does not fluctuate: shape (jets, N, jets, N)."""
    gram = x @ x.T / x.shape[1]
    g = np.zeros((len(jets), len(x), len(jets), len(x)))
    for k, jet in enumerate(jets):
        if len(jet) == 0:
            g[k, :, k, :] = net.C_b[0] + net.C_W[0] * gram
        elif len(jet) == 1:
            g[k, :, k, :] = net.lambda_b[0] + net.lambda_W[0] * gram
    return g


def semidefinite_factor(g: Array) -> Array:
    """Return F with F F^T = g for positive semidefinite matrices g of shape (samples, m, m).

    Cholesky, except that a pivot at rounding level of its diagonal entry is exactly zero (more inputs than
    input dimensions, duplicated inputs, x = 0): its column is then zero too. No jitter is added.
    """
    m = g.shape[-1]
    g = jnp.moveaxis(g, 0, -1)  # samples last: the inner loops run over them
    floor = 8 * m * jnp.finfo(g.dtype).eps * jnp.einsum("iis->is", g)

    def column(k: Array, factor: Array) -> Array:
        rest = g[:, k] - jnp.sum(factor * factor[k][None], axis=1)
        pivot = rest[k]
        regular = pivot > floor[k]
        scale = jnp.where(regular, 1 / jnp.sqrt(jnp.where(regular, pivot, 1.0)), 0.0)
        rows = jnp.arange(m)[:, None] >= k
        return factor.at[:, k].set(jnp.where(rows, rest * scale[None], 0.0))

    return jnp.moveaxis(jax.lax.fori_loop(0, m, column, jnp.zeros_like(g)), -1, 0)


def sampler(net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...]) -> Sample:
    """Return a function (key, samples) -> (means, finite), to be compiled.

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        moments: the moments of G wanted.
        layers: measured layers, increasing, all above 1.

    Returns:
        A function whose `means` holds, for each moment of k components, the mean over `samples` draws, of
        shape (measured layers,) + (N,) * 2k with slots as axes; `finite` says for layers 2 ... whether G is
        finite.
    """
    jets = closure(moments)
    index = {jet: k for k, jet in enumerate(jets)}
    n_inputs = len(x)
    start = input_covariance(net, x, jets)
    letters = "".join(jet for jet in jets if len(jet) == 1)
    gathers = [
        [tuple(np.array([[index[slot] for slot in way[k]] for way in ways]).T) for k in range(len(moment))]
        for moment in moments
        for ways in [[w for w in renamings(moment, letters) if all(s in index for pair in w for s in pair)]]
    ]
    scales = np.array([net.C_b, net.C_W, net.lambda_b, net.lambda_W]).T
    last = max(layers)

    def step(width: int, g: Array, key_scales: tuple[Array, Array]) -> tuple[Array, Array]:
        key, scale = key_scales
        noise = normal(key, (g.shape[0], width, len(jets) * n_inputs))
        u = jnp.einsum("snk,sjk->snj", noise, semidefinite_factor(g))
        phi = _activate(net, jets, u.reshape(*u.shape[:2], len(jets), n_inputs)).reshape(u.shape)
        mean = jnp.einsum("sna,snb->sab", phi, phi) / width
        following = _next_covariance(mean, jets, n_inputs, scale)
        return following, following

    def sample(key: Array, samples: int) -> tuple[list[Array], Array]:
        size = len(jets) * n_inputs
        g = jnp.broadcast_to(jnp.asarray(start.reshape(size, size)), (samples, size, size))
        keys = jax.random.split(key, last - 1)
        history = []
        # Equal neighbouring widths share one compiled step, so compilation does not grow with depth.
        for width, run in groupby(range(1, last), key=lambda layer: net.width[layer - 1]):
            steps = np.array(list(run))
            xs = (keys[steps - 1], jnp.asarray(scales[steps]))
            g, every = jax.lax.scan(partial(step, width), g, xs)
            history.append(every)
        gs = jnp.concatenate(history)
        finite = jnp.isfinite(gs).all(axis=(1, 2, 3))
        measured = gs[np.array(layers) - 2].reshape(-1, samples, len(jets), n_inputs, len(jets), n_inputs)
        return [_moment(measured, gather) for gather in gathers], finite

    return sample


def workload(net: MLP, n_inputs: int, n_0: int, moments: tuple[Moment, ...], layers: tuple[int, ...]) -> float:
    """Return a rough number of bytes that one sample needs."""
    jets = closure(moments)
    size = len(jets) * n_inputs
    width = max(net.width[: max(layers) - 1])
    product = max(2, *(2 * len(m) - 2 for m in moments))  # axes of the largest intermediate product
    most = max(len(renamings(m, "".join(j for j in jets if len(j) == 1))) for m in moments)
    return 8.0 * (6 * width * size + (max(layers) + 4) * size**2 + 4 * most * len(layers) * n_inputs**product)


def _activate(net: MLP, jets: tuple[str, ...], u: Array) -> Array:
    """Return phi_S for all jets: u and the result have shape (samples, neurons, jets, N)."""
    index = {jet: k for k, jet in enumerate(jets)}
    sigma = [net.activation.jax(k)(u[..., 0, :]) for k in range(max(map(len, jets)) + 1)]
    phi = []
    for jet in jets:
        total = jnp.zeros_like(sigma[0])
        for partition in set_partitions(jet):
            term = sigma[len(partition)]
            for block in partition:
                term = term * u[..., index["".join(block)], :]
            total = total + term
        phi.append(total)
    return jnp.stack(phi, axis=-2)


def _next_covariance(mean: Array, jets: tuple[str, ...], n_inputs: int, scale: Array) -> Array:
    """Return the next layer's G from the neurons' mean of phi phi^T, both of shape (samples, m, m)."""
    C_b, C_W, lambda_b, lambda_W = scale
    index = {jet: k for k, jet in enumerate(jets)}
    mean = mean.reshape(-1, len(jets), n_inputs, len(jets), n_inputs)
    g = C_W * mean
    g = g.at[:, 0, :, 0, :].add(C_b)
    for letter in (jet for jet in jets if len(jet) == 1):
        g = g.at[:, index[letter], :, index[letter], :].add(lambda_b)
        # The fresh weights' own direction: each jet that contains it inherits from the jet without it.
        into = np.array([k for k, jet in enumerate(jets) if letter in jet])
        out_of = np.array([index[jets[k].replace(letter, "")] for k in into])
        inherited = mean[:, out_of][:, :, :, out_of]
        inherited = jnp.transpose(inherited, (1, 3, 0, 2, 4))  # as indexing with two arrays orders the axes
        g = g.at[:, into[:, None], :, into[None, :], :].add(lambda_W * inherited)
    return g.reshape(-1, len(jets) * n_inputs, len(jets) * n_inputs)


def _moment(g: Array, gather: list[tuple[Array, Array]]) -> Array:
    """Return the mean over samples and over equivalent directions of a product of components of G.

    Args:
        g: shape (layers, samples, jets, N, jets, N).
        gather: for each component the jets of its two slots, one entry per equivalent choice of directions.
    """
    # Two index arrays separated by a slice: their common axis comes first, (ways, layers, samples, N, N).
    factors = [g[:, :, first, :, second, :] for first, second in gather]
    axes = "ijklmnopqtuvwxyz"
    operands = [f"RLS{axes[2 * k : 2 * k + 2]}" for k in range(len(factors))]
    product = jnp.einsum(f"{','.join(operands)}->L{axes[: 2 * len(factors)]}", *factors)
    return product / (factors[0].shape[0] * g.shape[1])
