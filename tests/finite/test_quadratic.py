"""Quadratic models and what they learn: against numpy written out, automatic differentiation, and really training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import pdlt
from pdlt import PdltError
from pdlt._jax import x64
from pdlt.ensemble.network import Derivatives
from pdlt.finite import (
    Expanded,
    FiniteNetwork,
    QuadraticModel,
    linearisation_distance,
    meta_kernel,
    nearly_kernel,
    solve,
    train,
)

NET = pdlt.MLP(2, 5, "tanh", 0.3, 1.4, 0.7, 1.1)
X = np.array([[0.9, -0.4], [0.2, 1.3], [-0.8, 0.1]])

RNG = np.random.default_rng(0)
PHI, PSI = RNG.normal(size=(5, 9)), RNG.normal(size=(5, 9, 9)) / 3
PSI = (PSI + PSI.transpose(0, 2, 1)) / 2
W = RNG.normal(size=(2, 9)) / 3
TRAIN, POINTS, Y = [[0], [1], [2]], [[i] for i in range(5)], RNG.normal(size=(3, 2))


def listed(epsilon):
    return QuadraticModel(PHI, PSI, epsilon=epsilon, weights=W)


def features(x):
    return jnp.concatenate([jnp.cos(x), jnp.sin(2 * x)], axis=1)


def meta_features(x):
    return features(x)[:, :, None] * features(x)[:, None, :]


def test_given_features_by_hand():
    model = listed(0.3)
    effective = PHI[:, None, :] + 0.3 * np.einsum("njk,ik->nij", PSI, W)
    by_hand = PHI @ W.T + 0.15 * np.einsum("ij,njk,ik->ni", W, PSI, W)
    np.testing.assert_allclose(model(POINTS), by_hand, rtol=1e-12)
    J = np.zeros((5, 2, 2, 9))
    for i in range(2):
        J[:, i, i] = effective[:, i]
    np.testing.assert_allclose(model.jacobian(POINTS), J.reshape(5, 2, 18), rtol=1e-12)
    kernel = np.einsum("aim,bim->abi", effective, effective)
    np.testing.assert_allclose(np.einsum("abii->abi", model.ntk(POINTS)), kernel, rtol=1e-12)
    meta = 0.3 * np.einsum("ajk,bij,cik->abci", PSI, effective, effective)
    found = meta_kernel(model, POINTS)
    np.testing.assert_allclose(np.einsum("abciii->abci", found), meta, atol=1e-13)
    assert np.abs(found[..., 0, 1, 1]).max() == 0  # outputs share no weights


def test_features_as_functions():
    x = np.linspace(-1, 2, 4)[:, None]
    phi = np.concatenate([np.cos(x), np.sin(2 * x)], axis=1)
    psi = phi[:, :, None] * phi[:, None, :]
    weights = [[0.4, -0.7]]
    model = QuadraticModel(features, meta_features, epsilon=0.5, weights=weights)
    tables = QuadraticModel(phi, psi, epsilon=0.5, weights=weights)
    rows = np.arange(4)[:, None]
    np.testing.assert_allclose(model(x), tables(rows), rtol=1e-12)
    y = [0.3, -0.2]
    one, two = train(model, x[:2], y, [0.7, 3.0]), train(tables, rows[:2], y, [0.7, 3.0])
    np.testing.assert_allclose(one.outputs(x), two.outputs(rows), rtol=1e-9)
    assert QuadraticModel(features, meta_features, epsilon=0.5).shape == (1, 1)


def test_training_by_hand():
    model, times = listed(0.4), [0.5, 3.0]

    def velocity(t, w):
        V = w.reshape(2, 9)
        slopes = PHI[:3, None] + 0.4 * np.einsum("njk,ik->nij", PSI[:3], V)
        r = PHI[:3] @ V.T + 0.2 * np.einsum("ij,njk,ik->ni", V, PSI[:3], V) - Y
        return -np.einsum("ni,nij->ij", r, slopes).ravel()

    witness = scipy.integrate.solve_ivp(velocity, (0, 3), W.ravel(), "DOP853", times, rtol=1e-11, atol=1e-12).y.T
    np.testing.assert_allclose(train(model, TRAIN, Y, times).parameters, witness, atol=1e-9)


@pytest.fixture(scope="module")
def network():
    return FiniteNetwork(NET, 2, 2, seed=3)


def test_the_expansion_of_a_network(network):
    model, weights = network.quadratic(), network.weights
    step = np.random.default_rng(1).normal(size=network.start.size) / 10
    with x64():
        f = lambda xi: network.architecture.evaluate(weights, xi, X)  # noqa: E731
        psi = np.asarray(jax.jit(jax.hessian(f))(jnp.zeros(step.size)))
    by_hand = network(X) + network.jacobian(X) @ step + (psi @ step @ step) / 2
    np.testing.assert_allclose(model(X, step), by_hand, rtol=1e-11)
    np.testing.assert_allclose(model.jacobian(X, step), network.jacobian(X) + psi @ step, atol=1e-12)
    J = network.jacobian(X)
    by_hand = np.einsum("aipq,bjp,ckq->abcijk", psi, J, J, optimize=True)
    np.testing.assert_allclose(meta_kernel(network, X), by_hand, atol=1e-11)
    np.testing.assert_allclose(meta_kernel(model, X, X[:1], X[1:]), by_hand[:, :1, 1:], atol=1e-11)
    # epsilon scales the bend, and an expansion of order k leaves out order k + 1.
    np.testing.assert_allclose(network.quadratic(epsilon=0)(X, step), network.linearised()(X, step), rtol=1e-12)
    for order in (1, 2, 3):
        left = [np.abs(Expanded(network, order)(X, h * step) - network(X, h * step)).max() for h in (0.2, 0.1)]
        assert math.log2(left[0] / left[1]) == pytest.approx(order + 1, abs=0.15)


@pytest.mark.parametrize(("rule", "learning_rate", "time"), [("flow", None, 80.0), ("gd", 0.1, 600)])
def test_the_closed_form_is_exact_to_first_order(rule, learning_rate, time):
    """What it leaves out quarters with half the epsilon; without the path of training (G) it only halves."""
    left, left_path_out, left_change = [], [], []
    for epsilon in (0.05, 0.025):
        model = listed(epsilon)
        found = nearly_kernel(model, TRAIN, Y, rule=rule, learning_rate=learning_rate)
        trained = train(model, TRAIN, Y, [time], rule=rule, learning_rate=learning_rate)
        np.testing.assert_allclose(trained.outputs(TRAIN)[0], Y, atol=1e-8)
        np.testing.assert_allclose(found.outputs(TRAIN), Y, atol=1e-12)
        machine = solve(model, TRAIN, Y, [np.inf], rule=rule, learning_rate=learning_rate)
        np.testing.assert_allclose(found.kernel_machine(POINTS), machine.outputs(POINTS)[0], atol=1e-12)
        left.append(np.abs(trained.outputs(POINTS)[0] - found.outputs(POINTS)).max())
        # Parameters nearest to those of the kernel machine that fit the labels: not where training ends.
        J = model.jacobian(TRAIN).reshape(6, -1)
        G = found.shift_1 - np.linalg.pinv(J) @ (J @ found.shift_1)
        without = found.outputs(POINTS) - model.jacobian(POINTS) @ G
        left_path_out.append(np.abs(trained.outputs(POINTS)[0] - without).max())
        change = trained.ntk(POINTS)[0] - model.ntk(POINTS)
        left_change.append(np.abs(change - found.kernel_change(POINTS)).max())
        moved = model.jacobian(POINTS, trained.parameters[0])
        assert np.abs(moved - found.features(POINTS)).max() < epsilon**2
    assert left[0] / left[1] == pytest.approx(4, rel=0.15)
    assert left_change[0] / left_change[1] == pytest.approx(4, rel=0.15)
    assert left_path_out[0] / left_path_out[1] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("learning_rate", [None, 0.05])
def test_the_dual_form_needs_kernel_and_meta_kernel_only(network, learning_rate):
    y, test = np.array([[0.5, -1.0], [0.3, 0.9]]), X[2:]
    x, eta = X[:2], learning_rate or 0.0
    rule = {} if learning_rate is None else {"rule": "gd", "learning_rate": learning_rate}
    flat = lambda kernel: kernel.transpose(0, 2, 1, 3).reshape(-1, 4)  # noqa: E731
    k, k_test = flat(network.ntk(x)), flat(network.ntk(test, x))
    r = (network(x) - y).ravel()
    a, U = np.linalg.eigh(k)
    rho = U.T @ r
    w = U @ (np.outer(rho * (1 - eta * a) / a, rho) / (a[:, None] + a - eta * np.outer(a, a))) @ U.T
    end = np.linalg.solve(k, r)

    def q(points):
        """sum_bc mu_bxc w_bc + mu_xbc end_b end_c / 2"""
        first = meta_kernel(network, x, points, x).transpose(0, 3, 1, 4, 2, 5).reshape(4, -1, 4)
        second = meta_kernel(network, points, x, x).transpose(0, 3, 1, 4, 2, 5).reshape(-1, 4, 4)
        return np.einsum("bxc,bc->x", first, w) + np.einsum("xbc,b,c->x", second, end, end) / 2

    by_hand = q(test) - k_test @ np.linalg.solve(k, q(x))
    np.testing.assert_allclose(nearly_kernel(network, x, y, **rule).correction(test).ravel(), by_hand, rtol=1e-9)


def tangents(model, x):
    """Return (z, H, dH, ddI, ddII) of a model with one output on one point, by the sampler `network`."""
    with x64():

        @jax.jit
        def found(arrays, xi):
            f = Derivatives(lambda step: model.architecture.evaluate(arrays, xi + step, x).T, model.start.size)
            return [f.z, f.H(0, 0), f.dH(0, 0, 0), f.ddI(0, 0, 0, 0), f.ddII(0, 0, 0, 0)]

        return np.array([float(kernel.sum()) for kernel in found(model.arrays, model.start)])


def test_a_quadratic_model_knows_ddII_but_no_ddI():
    network = FiniteNetwork(NET, 2, seed=3)
    of_network, of_model = tangents(network, X[:1]), tangents(network.quadratic(), X[:1])
    np.testing.assert_allclose(of_model[[0, 1, 2, 4]], of_network[[0, 1, 2, 4]], rtol=1e-10)
    assert of_model[3] == pytest.approx(0, abs=1e-12) and abs(of_network[3]) > 1e-3


def test_what_a_quadratic_model_misses_is_ddI():
    """On one point z - z_quadratic = -E ddI e^3 c_2 / H^2 up to n^-2: derivations/15 without what the model knows. The
    cubic model knows it."""
    left = []
    for seed in range(3):
        network = FiniteNetwork(pdlt.MLP(2, 4096, "tanh", 0.3, 1.4, 0.7, 1.1), 2, seed=seed)
        x, t = X[:1], 0.5
        z, H, _, ddI, ddII = tangents(network, x)
        y, e, E = z + 1.5, -1.5, math.exp(-H * t)
        models = network, network.quadratic(), Expanded(network, 3)
        end, *ends = (train(model, x, [y], [t]).outputs(x).item() for model in models)
        factor = E * e**3 * (t - 2 * (1 - E) / H + (1 - E**2) / (2 * H)) / H**2
        left.append([end - ends[0], end - ends[0] + factor * ddI, end - ends[1], end - ends[0] + factor * ddII])
    distance, formula, cubic, wrong = np.abs(left).max(axis=0)
    assert formula < 0.02 * distance and cubic < 0.02 * distance and wrong > 0.3 * distance


def test_two_linear_layers_are_their_own_quadratic_model():
    """Also in ensembles: the distance to the expansion vanishes, though the kernel moves."""
    net = pdlt.MLP(2, 6, "linear", 0.3, 1.4, 0.7, 1.1)
    found = linearisation_distance(net, X[:2], [1.0, -0.5], [1.0], widths=[6], networks=40, tolerance=1e-7, order=2)
    assert found.rms.value.item() < 1e-6 and found.kernel_change.value.item() > 1e-2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Expanded(NET, 2), "`model` must be a pdlt.finite.FiniteNetwork, an expansion"),
        (lambda: Expanded(listed(1), 0), "`order` must be an integer from 1 to 6, but got 0"),
        (lambda: FiniteNetwork(NET, 2, seed=0).quadratic(epsilon=np.nan), "`epsilon` must be a finite number"),
        (lambda: QuadraticModel(PHI, meta_features, epsilon=1), "must both be functions or both be arrays"),
        (lambda: QuadraticModel(PHI, PSI[:, :4], epsilon=1), "(N, m, m), but are of shapes (5, 9) and (5, 4, 9)"),
        (lambda: QuadraticModel(PHI * np.nan, PSI, epsilon=1), "features[0, 0] is nan"),
        (lambda: QuadraticModel(PHI, PSI, epsilon=1, weights=W[:, :3]), "`weights` must be of shape (n_L, 9)"),
        (lambda: QuadraticModel(PHI, PSI, epsilon=1, inputs=2), "`inputs` must be 1, the number of a row"),
        (lambda: QuadraticModel(lambda x: np.cos(x), meta_features, epsilon=1), "(jax.numpy, not numpy), but raised"),
        (lambda: listed(1)([[0.5]]), "`x` must hold row numbers from 0 to 4, but got 0.5"),
        (lambda: listed(1)([[5]]), "`x` must hold row numbers from 0 to 4, but got 5"),
        (lambda: nearly_kernel(listed(1), [[0], [0]], [[1, 1], [2, 1]]), "cannot learn these labels"),
        (lambda: nearly_kernel(QuadraticModel(0 * PHI, PSI, epsilon=1), [[0]], [1]), "its Jacobian is 0"),
        (lambda: nearly_kernel(listed(1), TRAIN, Y, rule="gd", learning_rate=1.0), "`learning_rate` must be below"),
        (lambda: meta_kernel(listed(1), [[0]], [[7]]), "`x1` must hold row numbers"),
    ],
)  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(PdltError) as raised:
        make()
    assert message in str(raised.value)


def test_equal_inputs_with_equal_labels_are_learned():
    once, twice = nearly_kernel(listed(0.1), [[0]], Y[:1]), nearly_kernel(listed(0.1), [[0], [0]], Y[[0, 0]])
    np.testing.assert_allclose(twice.outputs(POINTS), once.outputs(POINTS), atol=1e-12)
