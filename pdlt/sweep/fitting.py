"""Weighted least squares of a series in 1/n, and powers of n: numbers in, numbers out, no networks.

The measurements of different widths are independent and close to normal, so chi^2 of a fit that can describe them has
its textbook distribution, and errors propagate exactly through the linear fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A degree suffices if chance lowers chi^2 as much as the next one or two degrees do at least this often.
ACCEPT = 0.1
#: Measured values are not better known than this, relative to the largest: rounding.
_ROUNDING = 1e-13
#: Standard errors between zero and residuals that are to show a power, and the error with which it tells something.
_SEEN = 5.0
_TELLING = 0.5


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit of measured(n) = c_first/n^first + ... + c_degree/n^degree.

    Attributes:
        first: the lowest power of 1/n that was fitted; lower ones were given and subtracted.
        degree: the highest power.
        sufficient: the lowest degree that is not improved upon by the next ones, None if there is none or the degree
            was given. The degree is one higher, so that what the series leaves out has room in the errors.
        chosen: whether the degree was chosen by chi^2.
        values: the coefficients, shape (degree - first + 1,).
        covariance: of the coefficients, shape (degree - first + 1, degree - first + 1).
        chi2, dof: the sum of squared residuals over errors, and the number of widths minus that of coefficients.
    """

    first: int
    degree: int
    sufficient: int | None
    chosen: bool
    values: np.ndarray
    covariance: np.ndarray
    chi2: float
    dof: int

    @property
    def stderr(self) -> np.ndarray:
        """Standard errors of the coefficients."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def p_value(self) -> float:
        """How often chance gives a larger chi^2; nan without degrees of freedom."""
        return chi2_tail(self.chi2, self.dof)

    @property
    def biased(self) -> bool:
        """Whether no degree sufficed: powers that were left out may exceed the errors."""
        return self.chosen and self.sufficient is None

    def power(self, j: int) -> tuple[float, float]:
        """Return the coefficient of n^-j and its standard error."""
        k = j - self.first
        return float(self.values[k]), float(self.stderr[k])

    def at(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the fitted series and its standard error at widths n, without the given lower powers."""
        design = np.asarray(n, dtype=float)[:, None] ** -np.arange(self.first, self.degree + 1.0)
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design)
        return design @ self.values, np.sqrt(np.maximum(variance, 0))

    def distance(self, expected: Sequence[float]) -> tuple[float, float]:
        """Return chi^2 of the first coefficients against expected ones, and its p-value, correlations included."""
        m = min(len(expected), len(self.values))
        difference, block = self.values[:m] - np.asarray(expected[:m]), self.covariance[:m, :m]
        scale = np.sqrt(np.diag(block))
        if not (scale > 0).all():
            return float("nan"), float("nan")
        correlation = block / np.outer(scale, scale)
        chi2 = float(difference / scale @ np.linalg.solve(correlation, difference / scale))
        return chi2, chi2_tail(chi2, m)


def fit_series(
    n: np.ndarray,
    y: np.ndarray,
    stderr: np.ndarray,
    degree: int | None = None,
    given: Sequence[float] = (),
    least: int = 0,
) -> Fit:
    """Fit a series in 1/n.

    Args:
        n: widths, shape (m,), all different.
        y: measured values, shape (m,), with independent normal errors `stderr`.
        stderr: shape (m,).
        degree: the highest power of 1/n; None to choose it: one more than the lowest that suffices, which is one whose
            chi^2 the next one or two degrees do not lower significantly. What a short series leaves out is smooth and
            shows in the next powers; scatter, which chi^2 as a whole would also react to, does not. If no degree
            suffices, the highest one possible, and the fit says so (`Fit.biased`).
        given: coefficients of the lowest powers that are known; only higher ones are fitted.
        least: the least degree to choose, as far as there are widths for it.

    Raises:
        ValueError: if there are fewer widths than coefficients.
    """
    n, y, stderr = (np.asarray(a, dtype=float) for a in (n, y, stderr))
    first = len(given)
    y = y - sum((c / n**j for j, c in enumerate(given)), np.zeros_like(y))
    largest = np.abs(y).max(initial=0.0) + sum(abs(c) for c in given)
    sigma = np.maximum(stderr, _ROUNDING * largest)
    highest = first + len(n) - 1  # as many coefficients as widths
    if degree is not None:
        if not first <= degree <= highest:
            raise ValueError(f"degree {degree} with {len(n)} widths and {first} given coefficients")
        return _solve(n, y, sigma, first, degree, None, chosen=False)
    lowest = min(max(first, least - 1), highest)
    chi2 = {d: _solve(n, y, sigma, first, d, None, chosen=True).chi2 for d in range(lowest, highest + 1)}
    for candidate in range(lowest, highest):
        steps = range(1, min(2, highest - candidate) + 1)
        if all(chi2_tail(chi2[candidate] - chi2[candidate + step], step) >= ACCEPT for step in steps):
            return _solve(n, y, sigma, first, candidate + 1, candidate, chosen=True)
    return _solve(n, y, sigma, first, highest, None, chosen=True)


def _solve(
    n: np.ndarray, y: np.ndarray, sigma: np.ndarray, first: int, degree: int, sufficient: int | None, chosen: bool
) -> Fit:
    powers = np.arange(first, degree + 1.0)
    if not sigma.any():  # zero at every width, exactly
        nothing = np.zeros(len(powers))
        return Fit(first, degree, sufficient, chosen, nothing, np.diag(nothing), 0.0, len(n) - len(powers))
    # In units of the smallest width all columns are of order one.
    unit = n.min()
    design = (unit / n)[:, None] ** powers / sigma[:, None]
    q, r = np.linalg.qr(design)
    root = np.linalg.inv(r)
    scale = unit**powers
    values = root @ (q.T @ (y / sigma))
    chi2 = float(((design @ values - y / sigma) ** 2).sum())
    covariance = root @ root.T * np.outer(scale, scale)
    return Fit(first, degree, sufficient, chosen, values * scale, covariance, chi2, len(n) - len(powers))


def chi2_tail(chi2: float, dof: int) -> float:
    """Return the probability of a larger chi^2; nan without degrees of freedom."""
    from scipy.special import gammaincc

    return float(gammaincc(dof / 2, max(chi2, 0.0) / 2)) if dof > 0 else float("nan")


@dataclass(frozen=True)
class Power:
    """The power p with which a residual falls: residual = c n^-p, or c n^-p exp(b_1/n + b_2/n^2 + ...).

    Attributes:
        p, stderr: the power; nan if the residuals do not resolve it.
        corrections: how many b were fitted.
        chi2, dof: of the fit.
    """

    p: float
    stderr: float
    corrections: int
    chi2: float
    dof: int


UNRESOLVED = Power(float("nan"), float("nan"), 0, float("nan"), 0)


def fit_power(n: np.ndarray, residual: np.ndarray, stderr: np.ndarray, corrections: int | None = 0) -> Power:
    """Fit a power of n to residuals by weighted least squares.

    All residuals take part, noisy ones by their weight: to leave out those that happen to be small would bias the
    power. Without corrections p is a mean of local slopes, which the orders after the first neglected one change by
    about b/n; with them it is nearer to its limit, and less precise.

    Args:
        n, residual, stderr: shape (m,).
        corrections: number of terms b_i/n^i; None for one more than suffices by the rule of `fit_series`, so that the
            first one left out is inside the error.

    Returns:
        `UNRESOLVED` unless the residuals are together five standard errors from zero and p is known within 0.5.
    """
    n, residual = np.asarray(n, dtype=float), np.asarray(residual, dtype=float)
    largest = np.abs(residual).max(initial=0.0)
    if not largest:
        return UNRESOLVED
    sigma = np.maximum(np.asarray(stderr, dtype=float), _ROUNDING * largest)
    if corrections is None:
        chi2 = [_solve_power(n, residual, sigma, count).chi2 for count in range(len(n) - 1)]
        enough = (k for k in range(len(chi2) - 1) if chi2_tail(chi2[k] - chi2[k + 1], 1) >= ACCEPT)
        corrections = 1 + next(enough, len(n))
    if len(n) < 2 + corrections:
        return UNRESOLVED
    found = _solve_power(n, residual, sigma, corrections)
    seen = (residual**2 / sigma**2).sum() - found.chi2 > _SEEN**2
    return found if seen and found.stderr < _TELLING else UNRESOLVED


def _solve_power(n: np.ndarray, residual: np.ndarray, sigma: np.ndarray, corrections: int) -> Power:
    from scipy.optimize import least_squares

    # In units of the smallest width, with the largest residual and a sign in front: all parameters of order one.
    ratio = n / n.min()
    sign = np.sign((residual / sigma**2).sum())
    unit = np.abs(residual).max()
    y, error = sign * residual / unit, sigma / unit
    columns = np.stack([np.ones_like(ratio), -np.log(ratio), *(ratio**-i for i in range(1, corrections + 1))], axis=1)

    def model(parameters: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.minimum(np.exp(columns @ parameters), 1e100)

    start = np.zeros(columns.shape[1])
    start[1] = 1.0
    best = least_squares(
        lambda q: (model(q) - y) / error, start, lambda q: model(q)[:, None] * columns / error[:, None], method="lm"
    )
    _, r = np.linalg.qr(best.jac)
    if not (np.abs(np.diag(r)) > 1e-12 * np.abs(r).max()).all():
        return UNRESOLVED
    root = np.linalg.inv(r)
    stderr = float(np.sqrt((root @ root.T)[1, 1]))
    return Power(float(best.x[1]), stderr, corrections, float(2 * best.cost), len(n) - columns.shape[1])
