"""The integrator, on equations with known solutions: its order is measured, its tolerance kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.finite import integrate


def logistic(u):
    """u' = u (1 - u), solved from 0.3 by `grown`."""
    return u * (1 - u)


def grown(t):
    return 1 / (1 + 7 / 3 * np.exp(-t))


def local_orders():
    """Return the measured powers of h in one step's error and in its own estimate of it."""
    sizes, true, estimated = np.array([0.2, 0.1]), [], []
    with x64():
        u = jnp.array([0.3])
        for h in sizes:
            new, _, error = integrate.step(logistic, u, logistic(u), h)
            true.append(abs(float(new[0]) - grown(h)))
            estimated.append(abs(float(error[0])))
    return [np.log2(errors[0] / errors[1]) for errors in (true, estimated)]


def test_a_step_is_of_order_five_and_its_estimate_of_order_four():
    true, estimated = local_orders()
    assert true == pytest.approx(6, abs=0.4)
    assert estimated == pytest.approx(5, abs=0.4)


def test_a_wrong_coefficient_would_be_seen(monkeypatch):
    wrong = integrate._STAGES.copy()
    wrong[3, 1] *= 0.99
    monkeypatch.setattr(integrate, "_STAGES", wrong)
    assert local_orders()[0] < 4


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_tolerance_is_kept(tolerance):
    times = np.array([0.0, 0.1, 0.1, 3.0, 20.0])
    with x64():
        found = np.asarray(integrate.flow(logistic, jnp.array([0.3]), jnp.asarray(times), tolerance))[:, 0]
    assert np.abs(found - grown(times)).max() < 3 * tolerance


def test_every_network_of_a_map_has_its_own_steps():
    """Rates from 1 to 1000 at once, each as accurate as alone; from far away to a fixed point."""
    rates, times = np.array([1.0, 30.0, 1000.0]), np.array([0.01, 1.0])

    def one(rate):
        return integrate.flow(lambda u: -rate * (u - 2.0), jnp.zeros(1), jnp.asarray(times), 1e-8)[:, 0]

    with x64():
        together = np.asarray(jax.vmap(one)(jnp.asarray(rates)))
        alone = np.stack([one(rate) for rate in rates])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    np.testing.assert_allclose(together, 2 * -np.expm1(-rates[:, None] * times), rtol=1e-7)


def test_what_does_not_arrive_is_nan_and_not_a_number_that_looks_like_a_result():
    with x64():
        times = jnp.array([0.5, 2.0])
        singular = integrate.flow(lambda u: u**2, jnp.ones(1), times, 1e-8, max_steps=2000)  # 1 / (1 - t)
        slow = integrate.flow(lambda u: -1e6 * u, jnp.ones(1), times, 1e-8, max_steps=200)
    assert float(singular[0, 0]) == pytest.approx(2, rel=1e-7) and np.isnan(singular[1, 0])
    assert np.isnan(slow).all()


def test_descent_counts_steps():
    with x64():
        found = integrate.descend(lambda u: -u, jnp.array([1.0, -2.0]), jnp.array([0, 1, 1, 5]), 0.1)
    np.testing.assert_allclose(found, np.outer(0.9 ** np.array([0, 1, 1, 5]), [1.0, -2.0]), rtol=1e-14)
