"""Training of real networks and of linearised ones, against numpy and scipy written out by hand."""

import jax
import numpy as np
import pytest
import scipy.integrate

import pdlt
from pdlt import PdltError
from pdlt._jax import x64
from pdlt.finite import (
    Architecture,
    EmpiricalNatural,
    FiniteNetwork,
    GaussNewton,
    Gradient,
    SaddleFreeNewton,
    solve,
    train,
    trained,
)
from pdlt.finite.training import _failure

NET = pdlt.MLP(2, 4, "tanh", 0.3, 1.4, 0.7, 1.1)
X = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5], [-0.8, 0.1, 0.3]])
Y = np.array([0.4, -1.0, 0.7])
TEST = np.array([[0.3, -0.2, 0.5], [1.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def network():
    return FiniteNetwork(NET, 3, seed=5)


def slope_by_hand(theta, lambda_b=0.7, lambda_W=1.1):
    """Return -lambda times the gradient of 1/2 sum (z - y)^2, backpropagated by hand, theta = (W, b, w, c)."""
    W, b, w, c = theta[:12].reshape(4, 3), theta[12:16], theta[16:20], theta[20]
    s = np.tanh(X @ W.T + b)
    r = s @ w + c - Y
    back = r[:, None] * w * (1 - s**2)
    parts = (lambda_W / 3 * back.T @ X, lambda_b * back.sum(0), lambda_W / 4 * s.T @ r, lambda_b * r.sum())
    return -np.concatenate([np.ravel(part) for part in parts])


def flat(weights):
    return np.concatenate([part.ravel() for layer in weights for part in layer])


def test_gradient_flow_is_the_one_of_the_weights(network):
    times = [0.3, 2.0]
    found = train(network, X, Y, times)
    witness = scipy.integrate.solve_ivp(
        lambda t, theta: slope_by_hand(theta), (0, 2), flat(network.weights), "DOP853", times, rtol=1e-11, atol=1e-12
    ).y.T
    for parameters, weights in zip(found.parameters, witness):
        np.testing.assert_allclose(flat(network.weights_at(parameters)), weights, atol=1e-8)
    # The same with the fan-in left out of the learning rate is far away.
    wrong = scipy.integrate.solve_ivp(
        lambda t, theta: slope_by_hand(theta, lambda_W=2.2), (0, 2), flat(network.weights)
    )
    assert np.abs(flat(network.weights_at(found.parameters[-1])) - wrong.y[:, -1]).max() > 1e-2


def test_gradient_descent_is_exact(network):
    found, theta = train(network, X, Y, [0, 1, 20], rule="gd", learning_rate=0.1), flat(network.weights)
    for _ in range(20):
        theta = theta + 0.1 * slope_by_hand(theta)
    np.testing.assert_array_equal(found.parameters[0], network.start)
    np.testing.assert_allclose(flat(network.weights_at(found.parameters[2])), theta, rtol=1e-12)
    # The last layer is z = w s + c: its loss and outputs on the way.
    np.testing.assert_allclose(found.losses(X, Y), ((found.outputs(X)[..., 0] - Y) ** 2).sum(axis=1) / 2, rtol=1e-14)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-8, 1e-11])
def test_outputs_are_as_accurate_as_the_tolerance(network, tolerance):
    times, line = [0.0, 0.2, 1.0, 10.0], network.linearised()
    exact, found = solve(line, X, Y, times).outputs(TEST), train(line, X, Y, times, tolerance=tolerance).outputs(TEST)
    assert np.abs(found - exact).max() < 10 * tolerance


def test_closed_form_is_the_matrix_exponential(network):
    """The kernel by the Jacobian, the exponential by scipy: z(t) - y = exp(-H t) (z(0) - y)."""
    H = network.ntk(X)[..., 0, 0]
    r = network(X)[:, 0] - Y
    found = solve(network, X, Y, [0.7]).outputs(X)[0, :, 0] - Y
    np.testing.assert_allclose(found, scipy.linalg.expm(-0.7 * H) @ r, rtol=1e-10)
    H_test = network.ntk(TEST, X)[..., 0, 0]
    end = solve(network, X, Y, [np.inf]).outputs(TEST)[0, :, 0]
    np.testing.assert_allclose(end, network(TEST)[:, 0] - H_test @ np.linalg.solve(H, r), rtol=1e-9)


@pytest.mark.parametrize("part", [0.3, 0.9, 1.7])
def test_closed_form_of_gradient_descent(network, part):
    """Slow and overshooting learning rates: eta times the largest rate is `part`."""
    eta, line = part / np.linalg.eigvalsh(network.ntk(X)[..., 0, 0])[-1], network.linearised()
    arguments = {"rule": "gd", "learning_rate": eta}
    exact, found = solve(line, X, Y, [0, 1, 7], **arguments), train(line, X, Y, [0, 1, 7], **arguments)
    np.testing.assert_allclose(exact.parameters, found.parameters, atol=1e-13)
    late = [solve(line, X, Y, [t], **arguments).outputs(TEST)[0] for t in (10_000, np.inf)]
    np.testing.assert_allclose(late[0], late[1], rtol=1e-6)


def test_bound_of_the_learning_rate(network):
    largest = np.linalg.eigvalsh(network.ntk(X)[..., 0, 0])[-1]
    line = network.linearised()
    with pytest.raises(PdltError, match="below 2 / .* of this model"):
        solve(line, X, Y, [5], rule="gd", learning_rate=2.0001 / largest)
    solve(line, X, Y, [5], rule="gd", learning_rate=1.9999 / largest)
    # The bound is the true one: just above, the loss grows; just below, it falls.
    for part, grows in ((2.1, True), (1.9, False)):
        losses = train(line, X, Y, [0, 60], rule="gd", learning_rate=part / largest).losses(X, Y)
        assert (losses[1] > losses[0]) == grows


def test_conflicting_labels_of_one_input_end_at_their_mean(network):
    twice, labels = np.concatenate([X, X[:1]]), np.append(Y, Y[0] + 1.0)
    end = solve(network, twice, labels, [np.inf]).outputs(X)[0, :, 0]
    np.testing.assert_allclose(end, Y + [0.5, 0.0, 0.0], atol=1e-10)
    early = train(network.linearised(), twice, labels, [0.5]).outputs(TEST)
    np.testing.assert_allclose(solve(network, twice, labels, [0.5]).outputs(TEST), early, atol=1e-8)


def test_ensembles_by_vmap_are_single_networks():
    architecture, times = Architecture(NET, 3, 1), np.array([0.5])
    with x64():

        def one(seed):
            weights = architecture.draw(jax.random.key(seed))
            return trained(architecture, weights, np.zeros(architecture.size), X, Y[:, None], times, tolerance=1e-9)[0]

        many = np.asarray(jax.jit(jax.vmap(one))(np.arange(5, 8)))
    for seed, parameters in zip(range(5, 8), many):
        single = train(FiniteNetwork(NET, 3, seed=seed), X, Y, times, tolerance=1e-9).parameters[0]
        np.testing.assert_allclose(parameters, single, atol=1e-12)


def test_training_from_a_later_point_continues(network):
    """Linearised where training has arrived: the kernel after training is the linear model's."""
    path = train(network, X, Y, [0.5])
    late = network.linearised(path.parameters[0])
    np.testing.assert_allclose(late.ntk(X), path.ntk(X)[0], rtol=1e-12)
    assert np.abs(path.ntk(X)[0] - network.ntk(X)).max() > 0.05
    assert train(late, X, Y, [0.2]).losses(X, Y)[0] < path.losses(X, Y)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [0.1, np.nan, 0.2]}, "y[1, 0] is nan"),
        ({"y": [0.1, 0.2]}, "one row per input, but got an array of shape (2,)"),
        ({"y": [[0.1, 0.2]] * 3}, "of shape (3, 1), one row per input, but got an array of shape (3, 2)"),
        ({"y": ["a", "b", "c"]}, "`y` must be an array of finite numbers of shape (3, 1), but got list of type"),
        ({"times": [-1.0]}, "`times` must be increasing numbers that are not negative, but got [-1.0]"),
        ({"times": [2.0, 1.0]}, "`times` must be increasing"),
        ({"times": ["1"]}, "`times` must be increasing"),
        ({"times": [True]}, "`times` must be increasing"),
        ({"times": [1j]}, "`times` must be increasing"),
        ({"times": np.ma.masked_array([1.0, 2.0], [0, 1])}, "`times` must be increasing"),
        ({"times": [2**63 + 2**20], "rule": "gd", "learning_rate": 0.1}, "at most 1000000000 steps"),
        ({"times": [2**70], "rule": "gd", "learning_rate": 0.1}, "pdlt.finite.solve does any number of steps"),
        ({"times": []}, "`times` must be increasing"),
        ({"times": [np.nan]}, "`times` must be increasing"),
        ({"times": [np.inf]}, "pdlt.finite.solve gives the end of training of its linearisation"),
        ({"times": [0.5], "rule": "gd", "learning_rate": 0.1}, "numbers of steps for gd, but got [0.5]"),
        ({"rule": "sgd"}, '`rule` must be "flow" or "gd", but got \'sgd\''),
        ({"rule": "gd", "times": [3]}, "`learning_rate` must be a positive number, but got None"),
        ({"rule": "gd", "times": [3], "learning_rate": -0.1}, "must be a positive number, but got -0.1"),
        ({"rule": "gd", "times": [500], "learning_rate": 80.0}, "the bound for stability is"),
        ({"learning_rate": 0.1}, 'must be left out for rule="flow", but got 0.1'),
        ({"method": "natural"}, "`method` must be one of pdlt.finite's methods"),
        ({"tolerance": 1.0}, "`tolerance` must be a number from 1e-13 to 1e-2"),
        ({"model": NET}, "`model` must be a pdlt.finite.FiniteNetwork, an expansion of it"),
    ],
)  # fmt: skip
def test_bad_arguments(network, arguments, message):
    complete = {"model": network, "x": X, "y": Y, "times": [1.0], **arguments}
    with pytest.raises(PdltError) as raised:
        train(**complete)
    assert message in str(raised.value)


def test_a_flow_that_takes_too_many_steps_says_why(network):
    with pytest.raises(PdltError, match="must be reached within 100000 steps .* largest eigenvalue"):
        train(network, X, Y, [1e6], method=Gradient())


def test_bounds_are_those_of_the_method(network):
    """Gauss-Newton has rate 1 for every mode, whatever the tangent kernel."""
    arguments = {"rule": "gd", "times": [300], "x": X, "y": Y, "model": network.linearised()}
    with pytest.raises(PdltError, match="rate of the linearised network is 1, and the bound for stability is 2"):
        train(**arguments, learning_rate=1e6, method=GaussNewton())


def test_a_method_without_rates_is_given_no_bound(network):
    assert "largest rate is not known in advance" in _failure(network, X, "gd", EmpiricalNatural())


def test_a_flow_that_meets_a_kink_says_so():
    network = FiniteNetwork(pdlt.MLP(2, 30, "relu", 0.0, 2.0, 0.0, 1.0), 2, seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=4)
    with pytest.raises(PdltError, match=r"The activation has a kink.*`tolerance` \(1e-4\)"):
        train(network, x, y, [20.0])
    # On its way a looser tolerance arrives, and at smaller loss.
    path = train(network, x, y, [0.0, 5.0, 20.0], tolerance=1e-4)
    assert (np.diff(path.losses(x, y)) < 0).all()


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    """Two Jacobians fit, the five of a decomposition do not."""
    monkeypatch.setattr("pdlt.finite.memory.machine_memory", lambda: 8.0 * 3 * 7 * 31)
    network, x, y = FiniteNetwork(pdlt.MLP(2, 6, "tanh", 0.3), 3, seed=6), np.eye(7, 3), np.ones(7)
    assert network.jacobian(x).shape == (7, 1, 31)
    message = r"`x`: 5 arrays .* 7 outputs by 31 parameters, need about .* GiB, but this machine has .* GiB"
    with pytest.raises(PdltError, match=message):
        solve(network, x, y, [1.0])
    with pytest.raises(PdltError, match=message):
        train(network, x, y, [1.0], method=GaussNewton())
    with pytest.raises(PdltError, match="`x`: 2 arrays"):
        network.jacobian(np.eye(11, 3))
    with pytest.raises(PdltError, match="`model`: the Hessian and its eigenvectors, 31 parameters squared"):
        train(network, x, y, [1.0], method=SaddleFreeNewton())


def test_what_overflows_is_no_solution():
    network = FiniteNetwork(pdlt.MLP(2, 4, "relu", C_W=2.0), 2, seed=0)
    with pytest.raises(PdltError, match="overflows"):
        solve(network, np.full((1, 2), 1e200), [1.0], [1.0])
    with pytest.raises(PdltError, match="overflows"):
        solve(network, np.full((1, 2), 1e308), [1.0], [1.0], method=GaussNewton())


def test_only_methods_with_independent_modes_have_a_closed_form(network):
    with pytest.raises(PdltError, match="relaxes the modes of a linear model independently"):
        solve(network, X, Y, [1e-3], method=EmpiricalNatural())
