"""Input distributions on which kernels of the overlap share their eigenfunctions: the sphere and the Boolean cube."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sphere:
    """The uniform distribution on the sphere in `dimension` >= 2 dimensions; the circle is dimension 2.

    Integrals are over the angle: at t = 1 kernels of kinked activations behave like (1 - t)^(1/2) or (1 - t)^(3/2),
    which is smooth in theta.
    """

    dimension: int

    @property
    def highest(self) -> int | None:
        """There is no highest degree."""
        return None

    @property
    def levels(self) -> int:
        """How often quadrature may be refined."""
        return 4

    def multiplicity(self, degree: int) -> int:
        """Return the dimension of the space of harmonics of a degree."""
        d, k = self.dimension, degree
        return math.comb(k + d - 1, k) - (math.comb(k + d - 3, k - 2) if k > 1 else 0)

    def rule(self, degree: int, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Return angles theta (M,) and probabilities (M,): Gauss-Legendre for the density sin(theta)^(d-2).

        The rule resolves f P_k up to the degree given, and covers the angles at which the density is not negligible.
        """
        x, w = np.polynomial.legendre.leggauss((64 + 2 * degree) * 2**level)
        power = self.dimension - 2
        half = np.pi / 2
        if power:
            # Negligible: below e^-90 even relative to the norm of P_k, which is multiplicity^(-1/2).
            bound = 90 + math.log(self.multiplicity(degree))
            half = math.acos(math.exp(-bound / power))
        latitude = half * x
        # The logarithm of the cosine without loss of digits, where the cosine is near 1 and where it is near 0.
        square = np.minimum(np.sin(latitude) ** 2, 0.75)
        logarithm = np.where(np.abs(latitude) < 1, np.log1p(-square) / 2, np.log(np.cos(latitude)))
        w = w * np.exp(power * logarithm)
        return np.pi / 2 + latitude, w / math.fsum(w)

    def polynomials(self, degree: int, angles: np.ndarray) -> np.ndarray:
        """Return normalised Gegenbauer polynomials P_0 ... P_degree, shape (degree + 1, M), by their recurrence."""
        t, d = np.cos(angles), self.dimension
        rows = [np.ones_like(t), t]
        for k in range(1, degree):
            rows.append(((2 * k + d - 2) * t * rows[k] - k * rows[k - 1]) / (k + d - 2))
        return np.array(rows[: degree + 1])


@dataclass(frozen=True)
class Cube:
    """The uniform distribution on {-1, 1}^dimension: sums over the Hamming distance j, t = 1 - 2 j / dimension."""

    dimension: int

    @property
    def highest(self) -> int | None:
        """The degree of the parity of all components."""
        return self.dimension

    @property
    def levels(self) -> int:
        """Nothing to refine: sums are exact."""
        return 1

    def multiplicity(self, degree: int) -> int:
        """Return the number of parities of `degree` components."""
        return math.comb(self.dimension, degree)

    def rule(self, degree: int, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Return angles (M,) and probabilities (M,): the binomial distribution of the Hamming distance, exact."""
        from scipy.stats import binom

        distance = np.arange(self.dimension + 1)
        return np.arccos(1 - 2 * distance / self.dimension), binom.pmf(distance, self.dimension, 0.5)

    def polynomials(self, degree: int, angles: np.ndarray) -> np.ndarray:
        """Return normalised Krawtchouk polynomials P_0 ... P_degree, shape (degree + 1, M).

        P_k(j) is the mean of a parity of k components over the corners at distance j; the angles are those of `rule`.
        The recurrence in k is stable up to d/2; P_{d-k}(j) = (-1)^j P_k(j) gives the others.
        """
        d = self.dimension
        distance = np.arange(d + 1)
        rows = [np.ones(d + 1), 1 - 2 * distance / d]
        for k in range(1, min(degree, d // 2)):
            rows.append(((d - 2 * distance) * rows[k] - k * rows[k - 1]) / (d - k))
        sign = (-1.0) ** distance
        return np.array([rows[k] if k <= d // 2 else sign * rows[d - k] for k in range(degree + 1)])


#: What `pdlt.learning.continuum` integrates over.
Space = Sphere | Cube
