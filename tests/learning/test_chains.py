"""Chains of events: sums over steps one by one, divided differences in high precision, and limits."""

from itertools import combinations

import mpmath
import numpy as np
import pytest

from pdlt.learning.corrections.chains import Decay
from pdlt.learning.corrections.modes import FEW, Modes

RATES = (0.0, 0.7, 0.2, 1.9, 0.7)


def summed(rates, eta, steps):
    """eta^m times the sum over steps of events in descending order, one term after the other."""
    m = len(rates) - 1
    total = 0.0
    for events in combinations(range(steps), m):
        edges = [steps, *(s for s in reversed(events)), -1]
        factors = [
            (1 - eta * rate) ** (later - earlier - 1)
            for rate, later, earlier in zip(rates, edges, edges[1:], strict=False)
        ]
        total += np.prod(factors)
    return (-eta) ** m * total


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("eta", [0.1, 0.8])
def test_chains_of_descent_are_sums_over_steps(length, eta):
    for steps in (0, 1, 3, 7):
        found = Decay(float(steps), eta).chain(*RATES[:length])
        assert found == pytest.approx(summed(RATES[:length], eta, steps), rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("time", [1e-3, 1.0, 40.0, 3e6])
def test_chains_of_flow_are_divided_differences(time):
    # Distinct rates, 60 digits: the quotients of the definition.
    rates = [mpmath.mpf(r) for r in (0, "1e-4", "0.03", "0.031", 5)]
    with mpmath.workdps(60):
        column = [mpmath.exp(-r * time) for r in rates]
        for order in range(1, len(rates)):
            pairs = zip(column, column[1:], strict=False)
            column = [(b - a) / (rates[i + order] - rates[i]) for i, (a, b) in enumerate(pairs)]
            wanted = float(column[0])
            found = float(Decay(time).chain(*(float(r) for r in rates[: order + 1])))
            # Twenty-five squarings of rounded matrices at the longest time.
            assert found == pytest.approx(wanted, rel=1e-9)


def test_small_steps_are_flow():
    eta = 1e-6
    found = Decay(1e6, eta).chain(*RATES)
    # The difference is of relative order eta times rates and times.
    assert found == pytest.approx(float(Decay(1.0).chain(*RATES)), rel=2e-5)


@pytest.mark.parametrize("eta", [0.0, 0.3])
def test_the_end_is_the_limit(eta):
    late, end = Decay(400.0 if eta == 0 else 1200.0, eta), Decay(np.inf, eta)
    for rates in ((0.0, 0.5), (0.0, 0.5, 0.5, 2.0), (0.4, 0.9), (0.0,)):
        assert end.chain(*rates) == pytest.approx(float(late.chain(*rates)), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("eta", [0.0, 0.3])
def test_products_of_residuals_decay_at_the_joint_rate(eta):
    decay = Decay(5.0, eta)
    joint = decay.chain(decay.joint(np.array(0.3), np.array(1.1), np.array(0.3)))
    assert joint == pytest.approx(float(decay.chain(0.3) ** 2 * decay.chain(1.1)), rel=1e-13)


@pytest.mark.parametrize("eta", [0.0, 0.05])
def test_few_rates_stand_for_many(eta):
    values = np.geomspace(30, 1e-3, 60)
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    modes = Modes.of(values, vectors, np.ones((60, 1)), eta)
    assert FEW < len(modes.rates) < 40
    # To the tolerance of 1e-4 of the largest decay, of which sums over times keep less.
    for time in (3.0, 100.0, np.inf):
        decay = Decay(time, eta)
        wanted = (vectors * decay.chain(0.0, values, decay.joint(values, np.array(0.4)))) @ vectors.T
        found = np.tensordot(decay.chain(0.0, modes.rates, decay.joint(modes.rates, np.array(0.4))), modes.vertices, 1)
        assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()
