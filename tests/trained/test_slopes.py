"""Residuals against width: exact data give exact powers, noisy ones powers within their errors."""

import numpy as np
import pytest

from pdlt.errors import PdltError
from pdlt.trained.slopes import fit_powers, residuals, slope

N = np.array([16, 32, 64, 128])
C = np.array([[0.7, -2.0, 0.1], [1.5, 0.4, -0.9]])
ERROR = np.full((4, 2, 3), 1e-6)


def column(k):
    return (1.0 * N[:, None, None]) ** -k


def test_exact_series():
    residual = C * column(2) + 3 * C**2 * column(3)
    fit = fit_powers(N, residual, ERROR)
    assert (
        np.allclose(fit.values[0], C) and np.allclose(fit.values[1], 3 * C**2) and np.allclose(fit.chi2, 0, atol=1e-9)
    )
    assert fit.dof == 2 and fit.values.shape == (2, 2, 3)
    measured = residual + 2 + C * column(1)
    assert np.allclose(residuals(N, measured, [np.full((2, 3), 2.0), C]), residual)
    found = slope(N, residual, ERROR, corrections=1)
    assert abs(found.power - 2) < 1e-4 and np.allclose(found.amplitudes, C, rtol=1e-2)
    plain = slope(N, C * column(2.5), ERROR)
    assert abs(plain.power - 2.5) < 1e-5 and plain.stderr_independent < plain.stderr


def test_errors_are_those_of_repeated_measurements():
    """Independent entries: z-scores of powers and coefficients are standard normal; correlated ones stay below."""
    rng, powers, coefficients, bounds = np.random.default_rng(0), [], [], []
    sigma = np.broadcast_to(2e-4 * (16 / N[:, None, None]), ERROR.shape)
    for _ in range(200):
        together = rng.normal(size=(4, 1, 1)) * np.sign(C)
        for noise in (rng.normal(size=ERROR.shape), together):
            found = slope(N, C * column(2) + sigma * noise, sigma)
            (powers if noise is not together else bounds).append(
                (found.power - 2) / (found.stderr_independent if noise is not together else found.stderr)
            )
        coefficients.append((fit_powers(N, C * column(2) + sigma * noise, sigma).values[0] - C) / 1.0)
    assert 0.85 < np.std(powers) < 1.15 and np.abs(np.mean(powers)) < 0.25
    assert 0.8 < np.std(bounds) < 1.15
    error = fit_powers(N, C * column(2), sigma).stderr[0]
    assert np.allclose(np.std(coefficients, axis=0) / error, 1, atol=0.2)


def test_a_wrong_coefficient_is_seen():
    """A prediction whose 1/n is one percent off leaves a power 1 behind, which fit and slope both show."""
    rng = np.random.default_rng(1)
    sigma = np.broadcast_to(1e-5 * (16 / N[:, None, None]), ERROR.shape)
    right = C * column(2) + sigma * rng.normal(size=ERROR.shape)
    wrong = right + 0.05 * C * column(1)
    assert np.abs(fit_powers(N, right, sigma, (1, 2, 3)).z(1)).max() < 4
    assert np.abs(fit_powers(N, wrong, sigma, (1, 2, 3)).z(1)).max() > 8
    assert abs(slope(N, right, sigma).power - 2) < 0.02 < 2 - slope(N, wrong, sigma).power


def test_noise_has_no_power():
    rng = np.random.default_rng(2)
    found = slope(N, 1e-6 * rng.normal(size=ERROR.shape), ERROR)
    assert np.isnan(found.power) and np.isnan(found.stderr)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([16, 16, 32, 64], ERROR, ERROR), "`widths` must be different positive numbers"),
        ((N[:3], ERROR, ERROR), "one row for each of 3 widths"),
        ((N, ERROR, 0 * ERROR), "errors must be positive"),
        ((N, np.nan * ERROR, ERROR), "must hold finite numbers"),
        ((N[:1], ERROR[:1], ERROR[:1]), "at least 2 widths"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(PdltError, match=message):
        fit_powers(*arguments)
    with pytest.raises(PdltError, match=message):
        slope(*arguments)
