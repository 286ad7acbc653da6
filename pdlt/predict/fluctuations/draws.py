"""One neuron's preactivations and their derivatives along free directions, from scrambled Sobol' points.

Preactivations are Gaussian with covariance K. Every quantity formed of them is linear in the derivatives along each
direction and contains two of these, so that only their covariance Theta matters: they are made of signs instead of
Gaussian numbers, whose squares do not fluctuate.
"""

import numpy as np

#: Eigenvalues below this times the largest are the rounding of dependent inputs.
_ROUNDING = 8 * np.finfo(float).eps


class Draws:
    """The draws of one layer.

    Args:
        kernel, theta: K and Theta, shape (M, M), positive semidefinite.
        directions: number D of free directions.
    """

    def __init__(self, kernel: np.ndarray, theta: np.ndarray, directions: int) -> None:
        plain, tangent = _root(kernel), _root(theta)
        self._roots = [plain] + [tangent] * directions
        # The first coordinates of Sobol' points are the most even: principal components in the order of their weight.
        shares = [(root**2).sum(0) / max((root**2).sum(), np.finfo(float).tiny) for root in self._roots]
        self._order = np.argsort(-np.concatenate(shares), kind="stable")

    @property
    def dimensions(self) -> int:
        """Coordinates of a point."""
        return len(self._order)

    def __call__(self, seed: tuple[int, ...], log2_points: int) -> np.ndarray:
        """Return z, z_a, z_b, ... of 2^log2_points neurons, shape (1 + D, points, M); seeds give independent ones."""
        from scipy.special import ndtri
        from scipy.stats import qmc

        points = qmc.Sobol(self.dimensions, rng=np.random.default_rng(seed)).random_base2(log2_points)
        uniform = np.empty_like(points)
        uniform[:, self._order] = points
        half = 2.0 ** -(log2_points + 30)
        first = self._roots[0].shape[1]
        normal = ndtri(np.clip(uniform[:, :first], half, 1 - half))
        signs = np.where(uniform[:, first:] < 0.5, -1.0, 1.0)
        parts = np.split(signs, np.cumsum([root.shape[1] for root in self._roots[1:]])[:-1], axis=1)
        return np.stack([part @ root.T for part, root in zip([normal, *parts], self._roots, strict=False)])


def _root(matrix: np.ndarray) -> np.ndarray:
    """Return R with R R^T = matrix, shape (M, rank), columns by descending norm."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > _ROUNDING * len(values) * max(values[-1], 0.0)
    return (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]
