"""One real network: its weights, its outputs, its tangent kernel, against numpy written out by hand."""

import jax
import numpy as np
import pytest

import pdlt
from pdlt import PdltError
from pdlt._jax import x64
from pdlt.finite import Architecture, FiniteNetwork

NET = pdlt.MLP(3, (4, 5), "tanh", (0.3, 0.1, 0.0), (1.4, 1.0, 2.0), (0.7, 0.0, 0.2), (1.1, 0.5, 0.8))
X = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])


def by_hand(weights, x):
    z = x
    for layer, (W, b) in enumerate(weights):
        z = (np.tanh(z) if layer else z) @ W.T + b
    return z


def kernel_by_differences(network, x, lambda_b, scale_of):
    """Sum of lambda dz dz by central differences in the weights themselves, scaled by hand."""
    weights = [[W.copy(), b.copy()] for W, b in network.weights]
    total, h = 0.0, 1e-5
    for layer, parts in enumerate(weights):
        for part, rate in zip(parts, (scale_of(layer, parts[0]), lambda_b[layer])):
            for k in range(part.size):
                kept = part.flat[k]
                ends = []
                for sign in (1, -1):
                    part.flat[k] = kept + sign * h
                    ends.append(by_hand(weights, x))
                part.flat[k] = kept
                slope = (ends[0] - ends[1]) / (2 * h)
                total = total + rate * np.einsum("ai,bj->abij", slope, slope)
    return total


def test_outputs_are_those_of_the_weights():
    network = FiniteNetwork(NET, 3, 2, seed=7)
    np.testing.assert_allclose(network(X), by_hand(network.weights, X), rtol=1e-13)
    # Moved parameters: the weights they stand for.
    xi = np.random.default_rng(0).normal(size=network.start.size)
    np.testing.assert_allclose(network(X, xi), by_hand(network.weights_at(xi), X), rtol=1e-13)
    (W, _), (moved, _) = network.weights[1], network.weights_at(xi)[1]
    first = 4 * 3 + 4  # the first layer's weights and biases come first
    np.testing.assert_allclose(moved - W, np.sqrt(0.5 / 4) * xi[first : first + 20].reshape(5, 4), rtol=1e-12)


def test_tangent_kernel_is_the_sum_over_parameters_with_their_learning_rates():
    network = FiniteNetwork(NET, 3, 2, seed=7)
    H = network.ntk(X)
    assert H.shape == (2, 2, 2, 2)
    witness = kernel_by_differences(network, X, NET.lambda_b, lambda layer, W: NET.lambda_W[layer] / W.shape[1])
    np.testing.assert_allclose(H, witness, rtol=1e-7, atol=1e-9)  # differences: h^2 = 1e-10, times third derivatives
    wrong = kernel_by_differences(network, X, NET.lambda_b, lambda layer, W: NET.lambda_W[layer])
    assert np.abs(H / wrong - 1).max() > 0.1  # without the fan-in the comparison fails


def test_kernel_between_two_sets_is_a_block_of_the_kernel_of_both():
    network = FiniteNetwork(NET, 3, 2, seed=7)
    both = np.concatenate([X, -X[:1]])
    np.testing.assert_allclose(network.ntk(X, -X[:1]), network.ntk(both)[:2, 2:], rtol=1e-12)


def test_weights_have_the_variances_of_the_description():
    """Sample variances over 40,000 weights of all seeds: four standard errors, which a missing fan-in exceeds."""
    architecture = Architecture(pdlt.MLP(2, 20, "tanh", 0.3, 1.4), 10, 1)
    with x64():
        (W, b), (W_2, _) = jax.jit(jax.vmap(architecture.draw))(jax.random.split(jax.random.key(3), 200))

    def z(values, variance):
        squares = np.asarray(values).ravel() ** 2
        return (squares.mean() - variance) / (squares.std() / np.sqrt(squares.size))

    assert abs(z(W, 1.4 / 10)) < 4 and abs(z(b, 0.3)) < 4 and abs(z(W_2, 1.4 / 20)) < 4
    assert abs(z(W, 1.4)) > 50


def test_networks_of_a_map_are_those_of_their_seeds():
    with x64():
        weights = jax.jit(jax.vmap(lambda seed: Architecture(NET, 3, 2).draw(jax.random.key(seed))))(np.arange(3))
    for seed in range(3):
        for (W, b), (W_s, b_s) in zip(weights, FiniteNetwork(NET, 3, 2, seed=seed).weights):
            np.testing.assert_array_equal(W[seed], W_s)
            np.testing.assert_array_equal(b[seed], b_s)
    assert not np.allclose(weights[0][0][0], weights[0][0][1])


def test_linearisation_is_the_tangent_at_its_point():
    network = FiniteNetwork(NET, 3, 2, seed=7)
    rng = np.random.default_rng(1)
    point, step = 0.3 * rng.normal(size=(2, network.start.size))
    line = network.linearised(point)
    np.testing.assert_allclose(line(X), network(X, point), rtol=1e-13)
    moved = network(X, point) + network.jacobian(X, point) @ step
    np.testing.assert_allclose(line(X, point + step), moved, rtol=1e-12)
    # What it leaves out is quadratic: halving the step quarters it.
    left_out = [np.abs(network(X, point + h * step) - line(X, point + h * step)).max() for h in (0.02, 0.01)]
    assert left_out[0] / left_out[1] == pytest.approx(4, rel=0.05)
    # Its kernel is the network's at that point, everywhere.
    np.testing.assert_allclose(line.ntk(X, parameters=point + step), network.ntk(X, parameters=point), rtol=1e-11)
    assert np.abs(line.ntk(X) - network.ntk(X)).max() > 1e-2
    np.testing.assert_allclose(line.linearised(point + step)(X, point), line(X, point), rtol=1e-12)


def test_at_a_kink_the_slope_is_the_mean_one():
    """Without biases and on the input 0 every preactivation is exactly 0."""
    network = FiniteNetwork(pdlt.MLP(2, 6, "relu", C_W=2.0, lambda_b=1.0, lambda_W=0.0), 3, seed=0)
    J = network.jacobian([[0.0, 0.0, 0.0]])[0, 0]
    np.testing.assert_allclose(J[18:24], 0.5 * network.weights[1][0][0], rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FiniteNetwork("tanh", 3, seed=0), "`net` must be a pdlt.MLP"),
        (lambda: FiniteNetwork(NET, 0, seed=0), "`inputs` must be a positive integer, but got 0"),
        (lambda: FiniteNetwork(NET, 3, 1.5, seed=0), "`outputs` must be a positive integer"),
        (lambda: FiniteNetwork(NET, 3, seed=-1), "`seed` must be an integer from 0"),
        (lambda: FiniteNetwork(NET, 3, seed=0)([[1.0, 2.0]]), "must have 3 columns, the inputs of this network"),
        (lambda: FiniteNetwork(NET, 3, seed=0)(X * np.nan), "x[0, 0] is nan"),
        (lambda: FiniteNetwork(NET, 3, seed=0)(X, np.zeros(3)), "`parameters` must be 47 finite numbers"),
        (lambda: FiniteNetwork(NET, 3, seed=0)(X, "start"), "`parameters` must be 47 finite numbers, but got start"),
        (lambda: FiniteNetwork(NET, 3, seed=0).ntk(X, X * np.nan), "x2[0, 0] is nan"),
        (lambda: pdlt.finite.Linearised(NET), "`model` must be a pdlt.finite.FiniteNetwork"),
    ],
)  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(PdltError) as raised:
        make()
    assert message in str(raised.value)
