"""Kernels from sweeps against autodiff on the same weights, and the sampler without weights against real networks.

The law is tested on moments (of blocks of networks), not on cumulants: they are what a sampler returns.
"""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.ensemble import conditioned, jets, network, structured, sweeps
from pdlt.ensemble.specs import NAMED, cumulants, moments
from pdlt.errors import PdltError
from pdlt.networks import MLP

#: These programs compile for seconds and run for milliseconds.
QUICKLY = {"xla_backend_optimization_level": 0}
Z = 5.0  # 30 blocks: a two-sided false alarm in 40,000 per number; seeds are fixed
SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
#: Other numbers in each layer: an index off by one cannot hide.
OWN = {
    "C_b": (0.1, 0.2, 0, 0.3),
    "C_W": (1, 1.6, 1.3, 1.2),
    "lambda_b": (0.1, 0.5, 0, 0.7),
    "lambda_W": (1, 0.5, 2, 1.3),
}
TWO = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])


def blocks(sampler, net, x, names, layers=None, networks=200, number=30, **outputs):
    """Return for each observable's first moment its means over blocks, (number, layers, N, ...)."""
    wanted = [NAMED[name].pairs for name in names]
    with x64():
        draw = sampler.sampler(net, x, tuple(wanted), layers or (net.depth,), **outputs)
        block = jax.jit(lambda key: draw(key, networks), compiler_options=QUICKLY)
        means, finite = zip(*(block(key) for key in jax.random.split(jax.random.key(1), number)), strict=True)
        assert all(np.all(f) for f in finite)
        return {name: np.stack([np.asarray(mean[k]) for mean in means]) for k, name in enumerate(names)}


def scores(first, second):
    """Return {name: largest |z|} of the difference of the means of two sets of blocks."""

    found = {}
    for name in second:
        (m, v), (n, w) = ((b.mean(axis=0), b.var(axis=0, ddof=1) / len(b)) for b in (first[name], second[name]))
        sigma = np.sqrt(v + w)
        assert np.all(m[sigma == 0] == n[sigma == 0])  # the input 0
        found[name] = float((np.abs(m - n) / np.where(sigma > 0, sigma, np.inf)).max())
    return found


def both(net, x, outputs, seed=0):
    """Return the kernels of one network by sweeps and by autodiff."""
    rng = np.random.default_rng(seed)
    sizes = [x.shape[1], *net.width, outputs]
    weights = [rng.normal(size=(m, n)) * np.sqrt(1.5 / n) for m, n in zip(sizes[1:], sizes[:-1], strict=True)]
    biases = [rng.normal(size=m) for m in sizes[1:]]
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(weights, biases, strict=True)]
    plain = network._pointwise(net) if net.activation.slopes is not None else net.activation.jax(0)
    slow = network._derivatives(net, plain, jnp.asarray(x).T, layers)

    sigma = [net.activation.jax(k) for k in range(4)]
    z = [jnp.asarray(x) @ layers[0][0].T + layers[0][1][None]]
    for weight, bias in layers[1:-1]:
        z.append(sigma[0](z[-1]) @ weight.T + bias[None])
    hidden = [
        sweeps.Layer(
            w[None], ((), (), ()), *(jnp.asarray([c]) for c in (0.0, rate_b, rate_W / w.shape[1])), below[None]
        )
        for (w, _), rate_b, rate_W, below in zip(layers[1:-1], net.lambda_b[1:], net.lambda_W[1:], z, strict=False)
    ]
    gram = jnp.asarray(net.lambda_b[0] + net.lambda_W[0] * x @ x.T / x.shape[1])
    head = sweeps.Head(layers[-1][0], net.lambda_b[-1], net.lambda_W[-1] / sizes[-2], z[-1], gram)
    fast = sweeps.kernels(structured.Dense(), sigma, hidden, head)
    return fast._replace(z=fast.z + layers[-1][1][:, None]), slow


@pytest.mark.parametrize(
    "net, x, names, outputs",
    [
        (MLP(4, (5, 7, 4), "tanh", **OWN), TWO, NAMED, 2),
        (MLP(2, 5, "gelu", **SCALES), TWO, "BQST", 2),
        (MLP(3, 6, "leaky_relu(0.2)", **SCALES), TWO[:1], "APQSTU", 4),
        (MLP(3, (5, 4), "sin", **SCALES), TWO, NAMED, 3),
    ],
    ids=["own scales per layer", "no hidden matrix", "kinked", "three outputs"],
)
def test_sweeps_are_autodiff(net, x, names, outputs):
    """Every estimator of every observable, on the same weights; 1e-12 is rounding."""
    with x64():

        def every():
            kernels = both(net, x, outputs)
            return [[[estimate(f, i, j) for i, j in pairs] for _, estimate in estimators] for f in kernels]

        pairs = list(permutations(range(outputs), 2))
        estimators = [found for name, found in network.ESTIMATORS.items() if name in names]
        for fast, slow in zip(*jax.jit(every, compiler_options=QUICKLY)(), strict=True):
            np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12 * np.abs(slow).max())


@pytest.mark.parametrize("count", [1, 4])
def test_answers_are_those_of_one_matrix(count):
    """u (W v) = (u W) v whatever is asked when; of four vectors, one is repeated and one is 0."""
    sides = [("right", 4), ("left", 5), ("right", 4), ("left", 5)]
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(count, size)) for _, size in sides]
    for v in vectors if count > 1 else []:
        v[1:3] = v[0], 0 * v[0]

    def ask(noises):
        oracle, products = conditioned.Conditioned(), []
        memory = oracle.start((5, 4), 0.7, jax.random.key(0))
        for (side, _), v, noise in zip(sides, vectors, noises, strict=True):
            product, memory = getattr(oracle, side)(memory, jnp.asarray(v), noise)
            products.append(product)
        return products, memory

    with x64():
        noises = [rng.normal(size=(count, 9 - size)) for _, size in sides]
        products, memory = jax.jit(ask, compiler_options=QUICKLY)(noises)
    products = [np.asarray(product) for product in products]
    for k in (0, 2):
        for m in (1, 3):
            np.testing.assert_allclose(vectors[m] @ products[k].T, products[m] @ vectors[k].T, atol=1e-12)
    if count > 1:
        for product in products:
            np.testing.assert_allclose(product[1:3], [product[0], 0 * product[0]], atol=1e-12)
    for basis in (memory.right, memory.left):
        squares = np.asarray(basis) @ np.asarray(basis).T
        assert np.abs(squares - np.diag(np.round(np.diag(squares)))).max() < 1e-13


def test_real_networks():
    """Autodiff's own networks; 1/n effects are tens of percent at n = 6. For the others, see the next test.

    One side has three outputs.
    """
    net = MLP(4, (6, 7, 5), "tanh", **OWN)
    names = ["K", "Theta", *"VADFBPQ"]
    found = scores(blocks(conditioned, net, TWO[:1], names, outputs=3), blocks(network, net, TWO[:1], names))
    assert max(found.values()) < Z, found


def test_all_observables():
    """Two inputs against `jets`, which has less noise."""
    net = MLP(4, 6, "tanh", **SCALES)
    names = list(NAMED)
    found = scores(blocks(conditioned, net, TWO, names), blocks(jets, net, TWO, names))
    assert max(found.values()) < Z, found


def test_planted_errors_are_caught(monkeypatch):
    """Leaving out the products known on the other side of W, or not projecting the fresh part on what they leave."""
    product = conditioned._product

    def one_sided(v, asked, images, other, other_images, noise):
        return product(v, asked, images, other[:0], other_images[:0], noise)

    def unprojected(v, asked, images, other, other_images, noise):
        inside, outside, new = conditioned._orthonormal(v, asked)
        fresh = noise + new @ other_images.T @ other
        return inside @ images + outside @ fresh, new, fresh

    net, names = MLP(5, 4, "tanh", **SCALES), ["A", "P"]
    exact = blocks(jets, net, TWO[:1], names, networks=1500)
    for planted in (one_sided, unprojected):
        monkeypatch.setattr(conditioned, "_product", planted)
        found = scores(blocks(conditioned, net, TWO[:1], names, networks=2500), exact)
        assert max(found.values()) > 2 * Z, (planted, found)


def test_more_inputs_than_neurons():
    """Four inputs, one twice and one 0, three neurons: the inputs' products fill the space, with rank to spare."""
    x = np.array([[0.0], [0.7], [0.7], [-0.3]])
    net, names = MLP(4, 3, "sin", C_W=1.2, lambda_W=1.0), ["K", "B", "P"]
    first, second = (blocks(sampler, net, x, names, networks=100) for sampler in (conditioned, jets))
    np.testing.assert_allclose(first["B"][:, :, 1], first["B"][:, :, 2], rtol=1e-9)
    found = scores(first, second)
    assert max(found.values()) < Z, found


def test_homogeneous_activation():
    """ReLU without biases, one input: E K and E Theta have no correction, and E G^2 / (E G)^2 = (1 + 5/n)^(L - 1)."""
    n, kernel = 6, 2 * float(TWO[0] @ TWO[0]) / 3
    net = MLP(4, n, "relu", C_W=2.0, lambda_W=0.7)
    expected = {"K": kernel, "Theta": 4 * 0.7 * kernel / 2, "V": kernel**2 * (1 + 5 / n) ** 3}
    measured = blocks(conditioned, net, TWO[:1], list(expected), networks=2000)
    found = scores(measured, {name: np.full_like(measured[name], value) for name, value in expected.items()})
    assert max(found.values()) < Z, found


@pytest.mark.parametrize("sampler", [conditioned, structured, network])
def test_all_pairs_of_outputs_are_averaged(sampler):
    """Four outputs: the mean does not move, and the variance falls (to a sixth, were the six pairs independent)."""
    net = MLP(2, 6, "tanh", **SCALES)
    two, four = (blocks(sampler, net, TWO[:1], ["V"], number=60, outputs=outputs) for outputs in (2, 4))
    assert max(scores(two, four).values()) < Z
    assert np.var(four["V"]) < np.var(two["V"]) / 1.5


def test_several_layers():
    """Every layer has the law of its own network, whose last layer it is."""
    net, names = MLP(4, 6, "tanh", **OWN), ["Theta", "B"]
    both_layers = blocks(conditioned, net, TWO[:1], names, layers=(2, 3))
    exact = blocks(jets, net, TWO[:1], names, layers=(2, 3))
    assert max(scores(both_layers, exact).values()) < Z


def test_other_cumulants_are_refused():
    wanted = moments(cumulants(["a1 a2 | b3 b4 | 5 6"]))
    with pytest.raises(PdltError, match="jets"):
        conditioned.sampler(MLP(3, 6, "tanh"), TWO, wanted, (3,))
