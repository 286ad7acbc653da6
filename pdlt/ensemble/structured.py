"""Sampler `structured`: real weights, tangent kernels by sweeps over the layers instead of nested autodiff.

The same networks, heads and estimators as in `network`, and the same values for the same weights; but no tensor has
the size of the parameters times anything, so that wide and deep networks fit. The hidden weights are asked for
products with vectors only (`sweeps.Oracle`); the sampler `conditioned` is this one with another oracle.
"""

import math
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble.jets import Sample
from pdlt.ensemble.network import ESTIMATORS
from pdlt.ensemble.specs import NAMED, Cumulant, Moment
from pdlt.ensemble.sweeps import Head, Kernels, Layer, Memory, Oracle, forward, kernels
from pdlt.errors import PdltError
from pdlt.networks import MLP

Array = Any
#: Which sweeps an observable needs: the first, the first two, ...
SWEEPS = {name: 1 + k for k, group in enumerate(("KV", ("Theta", *"ABDF"), "PQ", "RSTU")) for name in group}


class Dense:
    """Real weights: the memory is W."""

    def start(self, m: int, n: int, scale: Array, key: Array) -> Memory:
        """Draw W."""
        return scale * jax.random.normal(key, (m, n))

    def right(self, memory: Memory, v: Array, noise: Array) -> tuple[Array, Memory]:
        """Return v W^T and W."""
        return v @ memory.T, memory

    def left(self, memory: Memory, u: Array, noise: Array) -> tuple[Array, Memory]:
        """Return u W and W."""
        return u @ memory, memory


def sampler(net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...]) -> Sample:
    """Return a function (key, samples) -> (means, finite) that draws real weights; as in the sampler `jets`.

    Raises:
        PdltError: for a moment that only the sampler `jets` measures.
    """
    return sampler_from(Dense(), net, x, moments, layers)


def workload(net: MLP, n_inputs: int, n_0: int, moments: tuple[Moment, ...], layers: tuple[int, ...]) -> float:
    """Return a rough number of bytes that one network needs."""
    width = net.width[: max(layers) - 1]
    weights = sum(m * n for m, n in zip(width[1:], width[:-1], strict=True))
    # Twice the weights: random bits become normals out of place.
    return 8.0 * (3 * products(n_inputs, moments) * sum(width) + 2 * weights)


def products(n_inputs: int, moments: tuple[Moment, ...]) -> int:
    """Return how many vectors each hidden weight matrix is multiplied with."""
    sweeps = max(SWEEPS[_name(moment)] for moment in moments)
    return sum((n_inputs, 2 * n_inputs, 2 * n_inputs**2, 4 * n_inputs**2)[:sweeps])


def sampler_from(
    oracle: Oracle, net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...]
) -> Sample:
    """Return the sampler whose hidden weights are those of an oracle; the rows of the heads are always drawn.

    Every measured layer has its own head of two neurons on the shared forward sweep. If the oracle draws as it is
    asked, what the sweeps of one head found out of W is not told to the next head: each layer has its exact law, but
    kernels in different layers are independent of each other given the forward sweep.
    """
    names = [_name(moment) for moment in moments]
    sigma = [net.activation.jax(k) for k in range(max(SWEEPS[name] for name in names))]
    last, n_inputs = max(layers), len(x)
    gram = x @ x.T / x.shape[1]
    root = _root(net.C_b[0] + net.C_W[0] * gram)

    def one(key: Array) -> tuple[list[Kernels], Array]:
        start_key, hidden_key, *head_keys = jax.random.split(key, 2 + len(layers))
        start = jnp.asarray(root) @ jax.random.normal(start_key, (n_inputs, net.width[0]))
        hidden, z, finite = forward(oracle, sigma, start, _hidden(oracle, net, n_inputs, hidden_key, last))
        measured = []
        for layer, head_key in zip(layers, head_keys, strict=True):
            own_key, *keys = jax.random.split(head_key, 1 + len(hidden))
            n = net.width[layer - 2]
            noise = jax.random.normal(own_key, (2, n + 1))
            head = Head(
                weight=np.sqrt(net.C_W[layer - 1] / n) * noise[:, :n],
                lambda_b=net.lambda_b[layer - 1],
                rate=net.lambda_W[layer - 1] / n,
                z=z if layer == last else _item(hidden, layer - 2).z,
                gram=jnp.asarray(net.lambda_b[0] + net.lambda_W[0] * gram),
            )
            below = [_renewed(run, k, len(sigma)) for run, k in zip(_start(hidden, layer - 2), keys, strict=False)]
            found = kernels(oracle, sigma, below, head)
            measured.append(found._replace(z=found.z + np.sqrt(net.C_b[layer - 1]) * noise[:, n:]))
        return measured, finite

    def sample(key: Array, samples: int) -> tuple[list[Array], Array]:
        measured, finite = jax.vmap(one)(jax.random.split(key, samples))
        means = [jnp.stack([_mean(name, layer) for layer in measured]) for name in names]
        return means, finite.all(axis=0)

    return sample


def _hidden(oracle: Oracle, net: MLP, n_inputs: int, key: Array, last: int) -> list[Layer]:
    """Return the hidden weight matrices below layer `last`, stacked over runs of equal shape, with forward noise."""
    scales = np.array([net.C_b, net.C_W, net.lambda_b, net.lambda_W])
    runs = [(shape, list(run)) for shape, run in groupby(range(1, last - 1), key=lambda k: net.width[k - 1 : k + 1])]
    hidden = []
    for run_key, ((n, m), k) in zip(jax.random.split(key, len(runs)), runs, strict=True):  # W^(k+1) is indexed k
        noise_key, *keys = jax.random.split(run_key, 1 + len(k))
        C_b, C_W, lambda_b, lambda_W = jnp.asarray(scales[:, k])
        start = jax.vmap(partial(oracle.start, m, n))
        memory = start(jnp.sqrt(C_W / n), jnp.stack(keys))
        noise = _normal(noise_key, len(k), [(n_inputs, m), (1, m)])
        hidden.append(Layer(memory, noise, C_b, lambda_b, lambda_W / n, jnp.zeros((len(k), n_inputs, n))))
    return hidden


def _renewed(run: Layer, key: Array, sweeps: int) -> Layer:
    """Return stacked layers with the noise of a head's sweeps."""
    count, n_inputs, n = run.z.shape
    m = run.noise[0].shape[-1]
    shapes = [(2 * n_inputs, n), (2 * n_inputs**2, m), (4 * n_inputs**2, n)]
    return run._replace(noise=_normal(key, count, shapes[: sweeps - 1]))


def _normal(key: Array, count: int, shapes: list[tuple[int, int]]) -> tuple[Array, ...]:
    """Return standard normal arrays of shapes (count, ...) from one call, because each call takes long to compile."""
    cuts = np.cumsum([0, *map(math.prod, shapes)])
    flat = jax.random.normal(key, (count, cuts[-1]))
    return tuple(flat[:, i:j].reshape(count, *shape) for i, j, shape in zip(cuts, cuts[1:], shapes, strict=False))


def _item(runs: list[Layer], k: int) -> Layer:
    """Return layer number k of stacked runs."""
    for run in runs:
        if k < len(run.rate):
            return jax.tree.map(lambda leaf, k=k: leaf[k], run)
        k -= len(run.rate)
    raise IndexError(k)


def _start(runs: list[Layer], count: int) -> list[Layer]:
    """Return the first layers of stacked runs."""
    kept = []
    for run in runs:
        if count > 0:
            kept.append(jax.tree.map(lambda leaf, count=count: leaf[:count], run))
        count -= len(run.rate)
    return kept


def _mean(name: str, found: Kernels) -> Array:
    """Return the mean of an estimator over networks, the first axis, and over the two labellings of the outputs."""
    estimate = ESTIMATORS[name][1]
    return jax.vmap(lambda f: (estimate(f, 0, 1) + estimate(f, 1, 0)) / 2)(found).mean(axis=0)


def _root(g: np.ndarray) -> np.ndarray:
    """Return F with F F^T = g; the root of an eigenvalue at rounding level is 0, so that equal inputs stay equal."""
    values, axes = np.linalg.eigh(g)
    floor = 8 * len(g) * np.finfo(g.dtype).eps * values[-1]
    return axes * np.sqrt(np.where(values > floor, values, 0.0))


def _name(moment: Moment) -> str:
    known: dict[Moment, Cumulant] = {c.pairs: c for c in NAMED.values()}
    if moment not in known:
        raise PdltError(
            f"Argument `sampler`: real networks measure only {', '.join(NAMED)}; other joint cumulants need "
            'sampler="jets".'
        )
    return known[moment].name
