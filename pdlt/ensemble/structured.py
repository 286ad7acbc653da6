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
from pdlt.ensemble.network import ESTIMATORS, OUTPUTS
from pdlt.ensemble.normals import normal
from pdlt.ensemble.specs import NAMED, Cumulant, Moment
from pdlt.ensemble.sweeps import Head, Kernels, Layer, Memory, Oracle, forward, kernels
from pdlt.errors import PdltError
from pdlt.networks import MLP

Array = Any
#: Which sweeps an observable needs: the first, the first two, ...
SWEEPS = {name: 1 + k for k, group in enumerate(("KV", ("Theta", *"ABDF"), "PQ", "RSTU")) for name in group}


#: Which axis counts the networks. Arrays of several layers have these first, so that a scan over layers moves nothing.
NETWORKS = Layer(1, 1, None, None, None, 1, 1, 1, 1)


class Dense:
    """Real weights: the memory is W."""

    def start(self, shape: tuple[int, ...], scale: Array, key: Array) -> Memory:
        """Draw W."""
        return scale * normal(key, shape)

    def right(self, memory: Memory, v: Array, noise: Array) -> tuple[Array, Memory]:
        """Return v W^T and W."""
        return v @ memory.T, memory

    def left(self, memory: Memory, u: Array, noise: Array) -> tuple[Array, Memory]:
        """Return u W and W."""
        return u @ memory, memory


def sampler(
    net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int = OUTPUTS
) -> Sample:
    """Return a function (key, samples) -> (means, finite) that draws real weights; as in the sampler `network`.

    Raises:
        PdltError: for a moment that only the sampler `jets` measures.
    """
    return sampler_from(Dense(), net, x, moments, layers, outputs)


def workload(
    net: MLP, n_inputs: int, n_0: int, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int = OUTPUTS
) -> float:
    """Return a rough number of bytes that one network needs."""
    width = net.width[: max(layers) - 1]
    weights = sum(m * n for m, n in zip(width[1:], width[:-1], strict=True))
    # Twice the weights: random bits become normals out of place.
    products, entries = sizes(n_inputs, moments, outputs)
    return 8.0 * (3 * products * sum(width) + 2 * weights + entries)


def sizes(n_inputs: int, moments: tuple[Moment, ...], outputs: int) -> tuple[int, int]:
    """Return how many vectors each hidden weight matrix is multiplied with, and the size of the kernels, roughly."""
    sweeps = max(SWEEPS[_name(moment)] for moment in moments)
    products = n_inputs + sum(_asked(n_inputs, outputs)[: sweeps - 1])
    return products, 4 * (outputs * n_inputs) ** sweeps  # of the largest kernel a sum of a few


def sampler_from(
    oracle: Oracle, net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int
) -> Sample:
    """Return the sampler whose hidden weights are those of an oracle; the rows of the heads are always drawn.

    Every measured layer has its own head of neurons on the shared forward sweep. If the oracle draws as it is
    asked, what the sweeps of one head found out of W is not told to the next head: each layer has its exact law, but
    kernels in different layers are independent of each other given the forward sweep.
    """
    names = [_name(moment) for moment in moments]
    sigma = [net.activation.jax(k) for k in range(max(SWEEPS[name] for name in names))]
    last, n_inputs = max(layers), len(x)
    gram = x @ x.T / x.shape[1]
    root = _root(net.C_b[0] + net.C_W[0] * gram)

    def measure(layer: int, key: Array, below: list[Layer], z: Array) -> Kernels:
        """Return the kernels of every network in a layer, given the layers below and the last preactivations."""
        own_key, *keys = jax.random.split(key, 1 + len(below))
        n = net.width[layer - 2]
        weight, bias = _normal(own_key, [(len(z), outputs, n), (len(z), outputs, 1)])

        def one(below: list[Layer], weight: Array, z: Array) -> Kernels:
            head = Head(
                weight=np.sqrt(net.C_W[layer - 1] / n) * weight,
                lambda_b=net.lambda_b[layer - 1],
                rate=net.lambda_W[layer - 1] / n,
                z=z,
                gram=jnp.asarray(net.lambda_b[0] + net.lambda_W[0] * gram),
            )
            return kernels(oracle, sigma, below, head)

        renewed = [_renewed(run, key, len(sigma), outputs) for run, key in zip(below, keys, strict=True)]
        found = jax.vmap(one, ([NETWORKS for _ in below], 0, 0))(renewed, weight, z)
        return found._replace(z=found.z + np.sqrt(net.C_b[layer - 1]) * bias)

    def sample(key: Array, samples: int) -> tuple[list[Array], Array]:
        start_key, hidden_key, *head_keys = jax.random.split(key, 2 + len(layers))
        start = jnp.einsum("ab,sbn->san", jnp.asarray(root), normal(start_key, (samples, n_inputs, net.width[0])))
        hidden = _hidden(oracle, net, (samples, n_inputs), hidden_key, last)
        axes = [NETWORKS for _ in hidden]
        sweep = jax.vmap(partial(forward, oracle, sigma), (0, axes), (axes, 0, 0))
        hidden, z, finite = sweep(start, hidden)
        measured = [
            measure(layer, key, _start(hidden, layer - 2), z if layer == last else _item(hidden, layer - 2).z)
            for layer, key in zip(layers, head_keys, strict=True)
        ]
        means = [jnp.stack([_mean(name, found, outputs) for found in measured]) for name in names]
        return means, finite.all(axis=0)

    return sample


def _hidden(oracle: Oracle, net: MLP, networks: tuple[int, int], key: Array, last: int) -> list[Layer]:
    """Return the hidden weight matrices below layer `last`, stacked over runs of equal shape, with forward noise.

    `networks` are the numbers of networks and of inputs.
    """
    scales = np.array([net.C_b, net.C_W, net.lambda_b, net.lambda_W])
    runs = [(shape, list(run)) for shape, run in groupby(range(1, last - 1), key=lambda k: net.width[k - 1 : k + 1])]
    hidden = []
    samples, n_inputs = networks
    for run_key, ((n, m), k) in zip(jax.random.split(key, len(runs)), runs, strict=True):  # W^(k+1) is indexed k
        start_key, noise_key = jax.random.split(run_key)
        C_b, C_W, lambda_b, lambda_W = jnp.asarray(scales[:, k])
        scale = jnp.sqrt(C_W / n)[:, None, None, None]
        memory = oracle.start((len(k), samples, m, n), scale, start_key)
        noise = _normal(noise_key, [(len(k), samples, n_inputs, m), (len(k), samples, 1, m)])
        z = jnp.zeros((len(k), samples, n_inputs, n))
        hidden.append(Layer(memory, noise, C_b, lambda_b, lambda_W / n, z))
    return hidden


def _renewed(run: Layer, key: Array, sweeps: int, outputs: int) -> Layer:
    """Return stacked layers with the noise of a head's sweeps."""
    *networks, n_inputs, n = run.z.shape
    m = run.noise[0].shape[-1]
    asked = _asked(n_inputs, outputs)[: sweeps - 1]
    shapes = [(*networks, count, size) for count, size in zip(asked, (n, m, n), strict=False)]
    return run._replace(noise=_normal(key, shapes))


def _asked(n_inputs: int, outputs: int) -> tuple[int, int, int]:
    """Return with how many vectors the sweeps of a head multiply a matrix: backward, tangent, adjoint."""
    return outputs * n_inputs, outputs * n_inputs**2, (outputs * n_inputs) ** 2


def _normal(key: Array, shapes: list[tuple[int, ...]]) -> tuple[Array, ...]:
    """Return standard normal arrays from one call, because each call takes long to compile."""
    sizes = [math.prod(shape) for shape in shapes]
    flat = normal(key, (sum(sizes),))
    starts = np.cumsum([0, *sizes])
    return tuple(flat[i : i + size].reshape(shape) for i, size, shape in zip(starts, sizes, shapes, strict=False))


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


def _mean(name: str, found: Kernels, outputs: int) -> Array:
    """Return the mean of an estimator over networks, the first axis, and over all pairs of different outputs."""
    i, j = np.nonzero(~np.eye(outputs, dtype=bool))
    pairs = jax.vmap(ESTIMATORS[name][1], (None, 0, 0))
    return jax.vmap(pairs, (0, None, None))(found, i, j).mean(axis=(0, 1))


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
            'sampler="jets" or "path".'
        )
    return known[moment].name
