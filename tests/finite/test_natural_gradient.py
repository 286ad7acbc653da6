"""Metrics and the methods that use them, beyond what derivations/14_natural_gradient.py checks."""

import jax
import numpy as np
import pytest

import pdlt
from pdlt import PdltError
from pdlt._jax import x64
from pdlt.finite import (
    EmpiricalNatural,
    FiniteNetwork,
    GaussNewton,
    Gradient,
    KullbackLeibler,
    NaturalGradient,
    SaddleFreeNewton,
    empirical_fisher,
    fisher,
    natural_kernel,
    solve,
    train,
)

NET = pdlt.MLP(2, 3, "tanh", 0.3, 1.4, 0.7, 1.1)
X = np.array([[0.9, -0.4], [0.2, 1.3]])
Y = np.array([[0.4, -1.0], [-0.3, 0.8]])
SIGMA = np.array([[0.5, 0.2], [0.2, 0.4]])


@pytest.fixture(scope="module")
def network():
    return FiniteNetwork(NET, 2, 2, seed=9)


def test_fisher_is_the_mean_empirical_one_over_labels_of_the_model(network):
    """4000 draws of labels from the model: entries above 3 standard deviations of noise within 4.5 errors of F."""
    rng, F = np.random.default_rng(4), fisher(network, X, noise=SIGMA)
    labels = network(X) + rng.multivariate_normal(np.zeros(2), SIGMA, size=(4000, 2))
    # The empirical metric for many labels at once: g = J^T Sigma^-1 (y - z), by hand.
    g = np.einsum("sai,ij,ajp->sap", labels - network(X), np.linalg.inv(SIGMA), network.jacobian(X))
    draws = np.einsum("sap,saq->spq", g, g) / 2
    np.testing.assert_allclose(draws[0], empirical_fisher(network, X, labels[0], noise=SIGMA), rtol=1e-10)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    seen = error > 0
    z = (draws.mean(axis=0) - F)[seen] / error[seen]
    assert np.abs(z).max() < 4.5
    twice = (draws.mean(axis=0) - 2 * F)[seen] / error[seen]  # a sum over the points
    assert np.abs(twice).max() > 20


def test_natural_kernel_is_the_noise_times_the_number_of_points(network):
    kernel = natural_kernel(network, X, noise=SIGMA)
    np.testing.assert_allclose(kernel, 2 * np.einsum("ab,ij->abij", np.eye(2), SIGMA), atol=1e-12)
    # With three parameters for four outputs (depth 1), a projector: trace 3 times N sigma^2 instead of 4.
    line = FiniteNetwork(pdlt.MLP(1, 1, "tanh", lambda_b=0.7), 2, seed=0)
    points = np.random.default_rng(0).normal(size=(4, 2))
    projector = natural_kernel(line, points, noise=0.25)[..., 0, 0]
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)  # N sigma^2 = 1
    assert np.trace(projector) == pytest.approx(3, rel=1e-12)


def test_steps_of_natural_descent_on_a_linear_model(network):
    """r -> (1 - eta N sigma^2) r, exactly; a real network follows up to eta^2 times its curvature."""
    arguments = {"rule": "gd", "learning_rate": 0.5, "method": NaturalGradient(0.3)}
    line = network.linearised()
    for found in (solve(line, X, Y, [3], **arguments), train(line, X, Y, [3], **arguments)):
        np.testing.assert_allclose(found.outputs(X)[0] - Y, (1 - 0.5 * 2 * 0.3) ** 3 * (network(X) - Y), rtol=1e-10)
    with pytest.raises(PdltError, match="must be below 2 / 0.6"):
        solve(line, X, Y, [3], rule="gd", learning_rate=3.4, method=NaturalGradient(0.3))


def test_duplicated_inputs_are_refused_or_projected(network):
    twice, labels = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1] + 1.0])
    with pytest.raises(PdltError, match=r"rank is 4, below both the number of training outputs \(6\).*project"):
        train(network, twice, labels, [1.0], method=GaussNewton())
    r = train(network, twice, labels, [1.0], method=GaussNewton(singular="project")).outputs(twice)[0] - labels
    r_0 = network(twice) - labels
    np.testing.assert_allclose(r[1], np.exp(-1) * r_0[1], rtol=1e-7)
    np.testing.assert_allclose(r[0] + r[2], np.exp(-1) * (r_0[0] + r_0[2]), rtol=1e-7)
    np.testing.assert_allclose(r[0] - r[2], r_0[0] - r_0[2], rtol=1e-12)  # the conflict stays


def test_the_empirical_flow_ends_when_the_first_point_is_fitted(network):
    method = EmpiricalNatural(0.5)
    end = method.end(network(X) - Y)
    with pytest.raises(
        PdltError, match=f"must stay below {end:.6g}, where the flow of the empirical Fisher metric ends"
    ):
        train(network, X, Y, [end], method=method)
    r = train(network, X, Y, [0.999 * end], method=method).outputs(X)[0] - Y
    squares = np.sort((r**2).sum(axis=1) / ((network(X) - Y) ** 2).sum(axis=1))
    assert squares[0] == pytest.approx(0.001, rel=1e-4) and squares[1] > 0.01
    twice = np.concatenate([X, X[:1]])
    with pytest.raises(PdltError, match="leave out inputs that occur twice"):
        train(network, twice, np.concatenate([Y, Y[:1]]), [0.1 * end], method=method)


def test_saddle_free_newton_is_gauss_newton_on_a_linear_model_and_near_a_fit(network):
    line = network.linearised()
    one, two = (train(line, X, Y, [0.8], method=m).parameters[0] for m in (SaddleFreeNewton(), GaussNewton()))
    np.testing.assert_allclose(one, two, atol=1e-8)
    # The velocity of a real network's outputs, for labels at a small distance h: -r up to a part of order h.
    direction = np.array([[1.0, -0.5], [0.3, 0.7]])
    parts = []
    for h in (1e-3, 1e-4):
        path = train(network, X, network(X) - h * direction, [1e-3], method=SaddleFreeNewton())
        moved = (path.outputs(X)[0] - network(X)) / (-np.expm1(-1e-3) * h)
        parts.append(np.abs(moved + direction).max())
    assert parts[0] < 0.3 and parts[0] / parts[1] == pytest.approx(10, rel=0.2)


def test_saddle_free_newton_leaves_a_saddle_that_holds_gradient_flow():
    """Weights of size 1e-4: gradient flow needs log(1e4)/c, with c = 0.2, saddle-free Newton log(1e4) and less."""
    tiny = FiniteNetwork(pdlt.MLP(2, 3, "tanh", C_W=1e-8), 2, seed=1)
    x, y = [[0.6, 0.2]], [0.9]
    slow, fast = (train(tiny, x, y, [12.0], method=m, tolerance=1e-6) for m in (Gradient(), SaddleFreeNewton(1e-6)))
    assert slow.losses(x, y)[0] > 0.99 * 0.405 and fast.losses(x, y)[0] < 1e-3


def test_methods_are_values():
    assert (
        KullbackLeibler(SIGMA) == KullbackLeibler(SIGMA.tolist()) and len({NaturalGradient(), NaturalGradient()}) == 1
    )
    S = KullbackLeibler(SIGMA).whitening(2)
    np.testing.assert_allclose(S @ SIGMA @ S, np.eye(2), atol=1e-14)


def test_velocities_are_pure_functions_that_map_over_networks(network):
    from pdlt.finite.training import training_velocity

    with x64():
        velocity = training_velocity(network.architecture, network.arrays, X, Y, NaturalGradient(0.3))
        many = np.asarray(jax.jit(jax.vmap(velocity))(np.stack([network.start, network.start + 0.1])))
    J = network.jacobian(X).reshape(4, -1)
    # Into a direction in which the outputs move by -N sigma^2 r, of all such the shortest: in the row space of J.
    np.testing.assert_allclose(J @ many[0], -0.6 * (network(X) - Y).reshape(-1), rtol=1e-10)
    assert np.linalg.matrix_rank(np.vstack([J, many[0]]), tol=1e-8) == 4


def test_a_cutoff_is_the_same_in_closed_form():
    """Eigenvalues of the Hessian below it stay where they are; without the cutoff all outputs move."""
    line = FiniteNetwork(pdlt.MLP(2, 6, "tanh", 0.3, 1.4, 0.7, 1.1), 3, seed=0).linearised()
    x, y, method = [[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]], [1.0, -0.5], SaddleFreeNewton(0.9)
    one, two = (found(line, x, y, [0.8], method=method).parameters for found in (solve, train))
    np.testing.assert_allclose(one, two, atol=1e-9)
    assert np.abs(one - solve(line, x, y, [0.8], method=SaddleFreeNewton()).parameters).max() > 0.05


def test_a_cutoff_is_relative_to_the_largest_eigenvalue_where_others_vanish(network):
    """Inputs that occur twice and small eigenvalues: what vanishes must not count as the largest."""
    small = FiniteNetwork(pdlt.MLP(2, 3, "tanh", 0.3, 1.4, 0.7e-4, 1.1e-4), 2, 2, seed=9)
    twice, labels = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1]])
    one, two = (f(small.linearised(), twice, labels, [0.8], method=SaddleFreeNewton(1e-3)) for f in (solve, train))
    np.testing.assert_allclose(one.outputs(X), two.outputs(X), atol=1e-8)


def test_the_empirical_flow_keeps_points_that_are_nearly_fitted(network):
    """Residuals of 1 and 1e-13: squares fall at the same speed, 2 N sigma^4, for both."""
    from pdlt.finite.training import training_velocity

    labels = network(X) - np.array([[1.0, 0.0], [0.0, 1e-13]])
    with x64():
        v = np.asarray(
            training_velocity(network.architecture, network.arrays, X, labels, EmpiricalNatural(0.5))(network.start)
        )
    falls = -2 * np.einsum("ai,aip,p->a", network(X) - labels, network.jacobian(X), v)
    np.testing.assert_allclose(falls, 2 * 2 * 0.5**2, rtol=1e-2)  # a velocity of 1e13 in double precision


def test_empirical_descent_ends_where_the_flow_does(network):
    method = EmpiricalNatural(0.5)
    end = method.end(network(X) - Y)
    with pytest.raises(PdltError, match="must stay below"):
        train(network, X, Y, [20], rule="gd", learning_rate=end / 20, method=method)
    train(network, X, Y, [15], rule="gd", learning_rate=end / 20, method=method)


def test_a_point_without_a_gradient_is_named():
    frozen = FiniteNetwork(pdlt.MLP(2, 3, "tanh", 0.3, 1.4, 0.0, 0.0), 2, seed=0)
    with pytest.raises(PdltError, match="that of point 0 vanishes"):
        train(frozen, X, [5.0, 5.0], [1e-3], method=EmpiricalNatural())


def test_covariances_are_symmetric_up_to_rounding():
    A = np.random.default_rng(0).normal(size=(5, 5))
    covariance = np.linalg.inv(A @ A.T)
    assert not np.array_equal(covariance, covariance.T)
    S = KullbackLeibler(covariance).whitening(5)
    np.testing.assert_allclose(S @ covariance @ S, np.eye(5), atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: NaturalGradient(0.0), "`noise` must be a positive number, but got 0.0"),
        (lambda n: EmpiricalNatural(float("nan")), "`noise` must be a positive number"),
        (lambda n: GaussNewton(singular="ignore"), '`singular` must be "raise" or "project"'),
        (lambda n: SaddleFreeNewton(2.0), "`cutoff` must be below 1"),
        (lambda n: KullbackLeibler([[1.0, 2.0], [2.0, 1.0]]), "smallest eigenvalue is -1"),
        (lambda n: KullbackLeibler([[1.0, 0.1], [0.2, 1.0]]), "symmetric positive definite"),
        (lambda n: KullbackLeibler("wide"), "`covariance` must be a positive number or"),
        (lambda n: train(n, X, Y, [1.0], method=KullbackLeibler(np.eye(3))), "`covariance` must have 2 rows"),
        (lambda n: fisher(NET, X), "`model` must be a pdlt.finite.FiniteNetwork"),
        (lambda n: natural_kernel(NET, X), "`model` must be a pdlt.finite.FiniteNetwork"),
        (lambda n: natural_kernel(n, X, [[np.nan, 0.0]]), "x2[0, 0] is nan"),
        (lambda n: fisher(n, X, noise=-1.0), "`noise` must be a positive number or"),
        (lambda n: fisher(FiniteNetwork(pdlt.MLP(3, 150, "tanh"), 2, seed=0), X), "at most 20000 parameters"),
        (lambda n: empirical_fisher(n, X, [[np.inf, 0], [0, 0]]), "y[0, 0] is inf"),
    ],
)  # fmt: skip
def test_bad_arguments(network, make, message):
    with pytest.raises(PdltError) as raised:
        make(network)
    assert message in str(raised.value)
