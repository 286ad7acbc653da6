"""What `simulate_training` measures, network by network: against plain loops in numpy, and against closed forms."""

import json

import jax
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.finite import FiniteNetwork, solve
from pdlt.networks import MLP
from pdlt.trained import simulate as driver
from pdlt.trained import simulate_training
from pdlt.trained.blocks import initial_weights
from pdlt.trained.linearised import linear_moments, relaxed
from pdlt.trained.networks import tangent_kernel
from pdlt.trained.observables import moment_shapes
from pdlt.trained.problem import Problem

# Everything differs between layers, so that no two of them can be exchanged unnoticed.
NET = MLP(
    3, (4, 3), "tanh", C_b=[0.1, 0.2, 0.3], C_W=[1.2, 1.5, 0.9], lambda_b=[0.3, 0.2, 0.5], lambda_W=[0.7, 1.1, 0.9]
)
# The last input repeats the first one, with other labels.
X = np.array([[0.9, -0.4], [0.1, 1.3], [-1.1, 0.3], [0.9, -0.4]])
Y = np.array([[1.0, 0.2], [-1.5, 0.4], [0.3, -0.8], [-1.0, -0.2]])
POINTS = np.array([[0.2, 0.2], [0.1, 1.3]])
SAMPLES = 100  # two blocks


def start(problem, observables=None, pairs=True):
    """The weights that the networks of a run start from, reflections included, one array per weight and bias."""
    spec = {**driver._spec(problem, driver.chosen(observables, problem), 0, pairs), "linearised": 0}
    blocks = [initial_weights(problem, spec, k) for k in range(SAMPLES // 50)]
    weights = [[np.concatenate(part) for part in zip(*layer)] for layer in zip(*blocks)]
    if pairs:
        signs = [*[1] * (len(weights) - 1), -1]
        weights = [[np.concatenate([w, s * w]) for w in layer] for layer, s in zip(weights, signs)]
    return weights


def forward(weights, x):
    """Activations that enter each layer, and the outputs, of all networks: (M, N, n_l)."""
    states = [np.broadcast_to(x, (len(weights[0][0]), *x.shape))]
    for k, (weight, bias) in enumerate(weights):
        z = np.einsum("mij,maj->mai", weight, states[-1]) + bias[:, None, :]
        states.append(z if k == len(weights) - 1 else np.tanh(z))
    return states


def gradients(weights, x, signal):
    """Derivatives of sum(signal * outputs) by every weight and bias, per network."""
    states, found = forward(weights, x), []
    delta = np.broadcast_to(signal, states[-1].shape)
    for k in reversed(range(len(weights))):
        found.append([np.einsum("mai,maj->mij", delta, states[k]), delta.sum(axis=1)])
        delta = np.einsum("mai,mij->maj", delta, weights[k][0]) * (1 - states[k] ** 2)
    return found[::-1]


def rates(net, weights):
    return [[net.lambda_W[k] / w.shape[2], net.lambda_b[k]] for k, (w, _) in enumerate(weights)]


def moved(weights, slopes, h, net):
    return [[w - h * r * g for w, g, r in zip(*layer)] for layer in zip(weights, slopes, rates(net, weights))]


def slopes(weights, x, y):
    return gradients(weights, x, forward(weights, x)[-1] - y)


def runge_kutta(weights, x, y, time, steps, net):
    h = time / steps
    for _ in range(steps):
        first = slopes(weights, x, y)
        second = slopes(moved(weights, first, h / 2, net), x, y)
        third = slopes(moved(weights, second, h / 2, net), x, y)
        fourth = slopes(moved(weights, third, h, net), x, y)
        for one, weight in ((first, 1), (second, 2), (third, 2), (fourth, 1)):
            weights = moved(weights, one, h * weight / 6, net)
    return weights


def tangent(weights, x, net):
    """H of every network from gradients of single outputs: (M, N, N, n_L, n_L)."""
    outputs = len(weights[-1][0][0])
    rows = []
    for a in range(len(x)):
        for i in range(outputs):
            own = gradients(weights, x[a : a + 1], np.eye(outputs)[i])
            scaled = [np.sqrt(r) * g for layer in zip(own, rates(net, weights)) for g, r in zip(*layer)]
            rows.append(np.concatenate([g.reshape(len(g), -1) for g in scaled], axis=1))
    J = np.stack(rows, axis=1)
    H = np.einsum("mrp,msp->mrs", J, J)
    return H.reshape(len(J), len(x), outputs, len(x), outputs).swapaxes(2, 3)


def hidden(weights, x, net):
    states = forward(weights, x)[1:-1]
    return np.stack(
        [net.C_b[k + 1] + net.C_W[k + 1] * np.einsum("maj,mbj->mab", s, s) / s.shape[2] for k, s in enumerate(states)],
        1,
    )


@pytest.mark.parametrize("rule", ["flow", "gd"])
def test_plain_loops_over_the_same_networks(rule):
    times, eta, names = ([0, 0.4, 1.1], None, None) if rule == "flow" else ([2, 5], 0.11, ["mean", "kernel_velocity"])
    problem = Problem.of(NET, X, Y, POINTS, times, rule, eta, 1e-9)
    run = simulate_training(NET, X, Y, POINTS, times, rule, eta, names, SAMPLES, linearised=0, tolerance=1e-9)
    weights = start(problem, names)
    block = np.tile(np.repeat([0, 1], 25), 2)
    initial, before = weights, 0
    for k, time in enumerate(times):
        if rule == "flow" and time > before:
            weights = runge_kutta(weights, X, Y, time - before, 60, NET)
        for _ in range(0 if rule == "flow" else time - before):
            weights = moved(weights, slopes(weights, X, Y), eta, NET)
        before = time
        z = forward(weights, POINTS)[-1]
        means = np.stack([z[block == b].mean(axis=0) for b in (0, 1)])
        apart = np.einsum("api,bqj->abpqij", means, means)
        H, H_0 = tangent(weights, POINTS, NET), tangent(initial, POINTS, NET)
        H_train = tangent(weights, X, NET).mean(axis=0)
        aligned = np.einsum("ai,abij,bj", Y, H_train, Y) / ((Y**2).sum() * np.sqrt((H_train**2).sum()))
        expected = {
            "mean": z.mean(axis=0),
            "covariance": np.einsum("mpi,mqj->pqij", z, z) / len(z) - (apart[0, 1] + apart[1, 0]) / 2,
            "kernel": H.mean(axis=0),
            "kernel_change": (H - H_0).mean(axis=0),
            "alignment": aligned,
        }
        change = (hidden(weights, POINTS, NET) - hidden(initial, POINTS, NET)).mean(axis=0)
        expected["hidden_kernel_change"] = change
        for name, value in expected.items():
            if name not in run:
                continue
            assert np.allclose(run[name].isel(time=k), value, rtol=0, atol=2e-8), (name, time)
        # Its derivative along the velocity, by central differences: the error is of the order of their step squared.
        h, slope = 1e-4, slopes(weights, X, Y)
        ahead, behind = (tangent(moved(weights, slope, s * h, NET), POINTS, NET).mean(axis=0) for s in (1, -1))
        assert np.allclose(run.kernel_velocity.isel(time=k), (ahead - behind) / (2 * h), rtol=0, atol=1e-6)
    # Errors: two blocks, so the standard error of a mean is half of their distance.
    assert np.allclose(run.mean_stderr.isel(time=-1), np.abs(means[0] - means[1]) / 2, atol=2e-8)


def test_deep_linear_network_of_one_input_in_closed_form():
    """z = V.U x has H = lambda x^2 (|V|^2 + |U|^2 / n); H^2 - 4 lambda^2 x^2 z^2 / n does not change in training."""
    n, x, y, rate = 3, 0.8, 1.3, 0.9
    net, names = MLP(2, n, "linear", C_W=1.4, lambda_W=rate), ["mean", "kernel_change"]
    data = np.array([[x]]), np.array([[y]]), np.array([[x]]), [40.0]
    run = simulate_training(net, *data, observables=names, samples=SAMPLES, pairs=False, linearised=0)
    (U, _), (V, _) = start(Problem.of(net, *data, "flow", None, 1e-6), names, pairs=False)
    z = np.einsum("mj,mj->m", V[:, 0], U[:, :, 0]) * x
    H = rate * x**2 * ((V**2).sum(axis=(1, 2)) + (U**2).sum(axis=(1, 2)) / n)
    assert np.isclose(run["mean"].values.item(), y, rtol=1e-5)
    change = np.sqrt(H**2 + 4 * rate**2 * x**2 * (y**2 - z**2) / n) - H
    assert np.isclose(run.kernel_change.values.item(), change.mean(), rtol=1e-5)
    wrong = np.sqrt(H**2 + 2 * rate**2 * x**2 * (y**2 - z**2) / n) - H
    assert not np.isclose(run.kernel_change.values.item(), wrong.mean(), rtol=1e-2)


def test_linearised_networks_are_those_of_pdlt_finite():
    """Repeated inputs with conflicting labels, two outputs; fast and slow modes, and one that stays."""
    times = [0.0, 0.7, 30.0]
    problem = Problem.of(NET, X, Y, POINTS, times, "flow", None, 1e-6)
    network = FiniteNetwork(NET, 2, 2, seed=3)
    shapes = moment_shapes(["mean", "covariance", "hidden_kernel_change", "kernel_change", "kernel_velocity"], problem)
    learned = []
    for sign in (1, -1):
        own = FiniteNetwork(NET, 2, 2, seed=3)
        own.__dict__["weights"] = (*network.weights[:-1], tuple(sign * w for w in network.weights[-1]))
        learned.append(solve(own, X, Y, times))
    z = np.stack([path.outputs(POINTS).reshape(len(times), -1) for path in learned])
    with x64():
        moments = jax.jit(lambda own: [linear_moments(problem, own, shapes, signs) for signs in (1, 2)])
        one, two = moments(network.weights)
    assert np.allclose(one["first"], z[0], atol=1e-9) and np.allclose(two["first"], z.mean(axis=0), atol=1e-9)
    outer = np.einsum("sti,stj->stij", z, z)
    assert np.allclose(one["second"], outer[0], atol=1e-9) and np.allclose(two["second"], outer.mean(axis=0), atol=1e-9)
    # Kernels along the parameters of the linearised network, by central differences.
    h, path = 1e-4, learned[0].parameters
    ahead, behind = (np.stack([network.ntk(POINTS, None, s * h * xi) for xi in path]) for s in (1, -1))
    assert np.allclose(one["kernel_change"], (ahead - behind) / (2 * h), atol=1e-6)


def test_steps_of_a_linear_mode():
    """What gradient descent has absorbed of a mode, step by step; 0 and rounding around it stay finite."""
    s, eta = np.array([0.0, 1e-14, -1e-14, 0.01, 1.0, 4.9, 5.0, 7.0, 9.9, 10.5]), 0.2
    a = np.zeros_like(s)
    for k in range(7):
        with x64():
            assert np.allclose(relaxed(s, float(k), "gd", eta), a, rtol=1e-12, atol=0), k
        a = a + eta * (1 - s * a)


def test_tangent_kernel_of_a_relu_network_is_that_of_its_jacobian():
    net = MLP(3, 5, "relu", C_b=0.1, C_W=2.0, lambda_b=0.3, lambda_W=1.0)
    network = FiniteNetwork(net, 2, 2, seed=1)
    with x64():
        H = jax.jit(lambda own: tangent_kernel(net, own, X))(network.weights)
    assert np.allclose(H, network.ntk(X), atol=1e-12)


def test_the_spec_is_plain_data():
    problem = Problem.of(NET, X, Y, POINTS, [1.0], "flow", None, 1e-6)
    spec = json.loads(json.dumps({**driver._spec(problem, ("mean",), 0, True), "linearised": 0}))
    again = Problem.from_description(spec, problem.numbers())
    assert again.net == NET and np.array_equal(again.y_train, Y) and np.array_equal(again.x_test, POINTS)
