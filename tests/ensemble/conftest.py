"""How measurements are judged: by z-scores, and only where the measurement has power."""

import numpy as np
import pytest

Z = 4.5  # a false alarm in 150,000 per number; seeds are fixed, so a test that passes stays so


class Judge:
    """Largest z-scores of measurements, per observable."""

    threshold = Z

    @staticmethod
    def against(run, expected):
        """Return {name: largest |measured - expected| / stderr} over layers and inputs.

        `expected` maps names to arrays, or to pairs of an array and its own standard error.
        """
        return {name: Judge._largest(run, name, value) for name, value in expected.items()}

    @staticmethod
    def between(first, second):
        """Return {name: largest |z|} of the difference of two runs."""
        names = [name for name in first if not name.endswith("_stderr")]
        pairs = {name: (second[name].values, second[f"{name}_stderr"].values) for name in names}
        return Judge.against(first, pairs)

    @staticmethod
    def power(run, names):
        """Return {name: largest |value| / stderr}: how far from zero the measurement is."""
        return {name: Judge._largest(run, name, 0.0 * run[name].values) for name in names}

    @staticmethod
    def _largest(run, name, expected):
        value, error = expected if isinstance(expected, tuple) else (expected, 0.0)
        difference = np.abs(run[name].values - value)
        sigma = np.hypot(run[f"{name}_stderr"].values, error)
        exact = sigma <= 1e-13 * np.abs(run[name].values)
        assert np.all(difference[exact] <= 1e-12 * np.abs(run[name].values)[exact]), name
        return float((difference / np.where(exact, np.inf, sigma)).max())


@pytest.fixture
def judge():
    return Judge
