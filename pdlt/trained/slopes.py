"""What a prediction leaves out, against width: numbers in, numbers out, no networks and no predictions.

A series in 1/n that is right up to order k leaves residuals c_(k+1)/n^(k+1) + c_(k+2)/n^(k+2) + ... in every entry, a
time, a point and an output. Two questions are asked of residuals at several widths: which coefficients they have
(`fit_powers`; a coefficient of a power that was predicted is to be 0 within its error), and with which power of n they
fall (`slope`).

Measurements of different widths are independent. Entries of one width come from the same networks and are not, so
errors of what is pooled over entries are given for the worst correlation, in addition to none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt.errors import PdltError

#: Standard errors between zero and residuals that are to show a power.
SEEN = 5.0
#: Powers between which one is looked for.
POWERS = (-2.0, 8.0)


def residuals(widths: Any, measured: Any, coefficients: Sequence[Any]) -> np.ndarray:
    """Return measured - (c_0 + c_1/n + c_2/n^2 + ...), shape (W, ...).

    Args:
        widths: n, shape (W,).
        measured: shape (W, ...).
        coefficients: c_0, c_1, ..., each of shape (...).
    """
    n, values, _ = _checked(widths, measured, np.ones(np.shape(measured)))
    column = n.reshape(-1, *(1,) * (values.ndim - 1))
    return values - sum(np.asarray(c, dtype=float)[None] / column**k for k, c in enumerate(coefficients))


@dataclass(frozen=True, eq=False)
class PowersFit:
    """Weighted fits of sum_p c_p / n^p, one for each entry.

    Attributes:
        powers: the p.
        values, stderr: coefficients and standard errors, shape (powers, ...).
        chi2: sum of squared residuals over errors, shape (...).
        dof: number of widths minus that of powers.
    """

    powers: tuple[float, ...]
    values: np.ndarray
    stderr: np.ndarray
    chi2: np.ndarray
    dof: int

    def z(self, power: float) -> np.ndarray:
        """Return coefficients over their errors for one power, shape (...)."""
        k = self.powers.index(power)
        return self.values[k] / self.stderr[k]


@dataclass(frozen=True, eq=False)
class Slope:
    """One power p for all entries: residual = n^-p (c + d/n + ...), with c, d ... of every entry.

    Attributes:
        power: p; nan if the residuals together are not five standard errors from zero.
        stderr: of p for the worst correlation between entries.
        stderr_independent: of p for independent entries.
        amplitudes: c, shape (...).
        chi2, dof: of the fit of all entries.
    """

    power: float
    stderr: float
    stderr_independent: float
    amplitudes: np.ndarray
    chi2: float
    dof: int


def fit_powers(widths: Any, residual: Any, stderr: Any, powers: Sequence[float] = (2, 3)) -> PowersFit:
    """Fit powers of 1/n to the residuals of every entry by weighted least squares.

    Args:
        widths: n, shape (W,).
        residual, stderr: shape (W, ...); errors positive.
        powers: which, fewer than widths or as many.

    Raises:
        PdltError: if shapes do not fit, errors are not positive, or there are too few widths.
    """
    n, values, errors = _checked(widths, residual, stderr)
    _require(len(powers), len(n))
    flat, sigma = values.reshape(len(n), -1), errors.reshape(len(n), -1)
    scale = n.min() ** np.array(powers, dtype=float)
    fitted, covariance, left = _fit(n, flat, sigma, powers)
    shape = (len(powers), *values.shape[1:])
    root = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    return PowersFit(
        tuple(powers),
        (fitted * scale[:, None]).reshape(shape),
        (root * scale[:, None]).reshape(shape),
        (left**2).sum(axis=0).reshape(values.shape[1:]),
        len(n) - len(powers),
    )


def slope(widths: Any, residual: Any, stderr: Any, corrections: int = 0) -> Slope:
    """Fit one power of n to the residuals of all entries by weighted least squares.

    All entries take part, noisy ones by their weight: to leave out those that happen to be small would bias the power.

    Args:
        widths: n, shape (W,), at least two more than `corrections`.
        residual, stderr: shape (W, ...); errors positive.
        corrections: how many further powers n^-(p+1), n^-(p+2) ... every entry has. Without them p is a mean of local
            slopes, which the next order changes by about d/(c n).

    Raises:
        PdltError: as `fit_powers`.
    """
    from scipy.optimize import minimize_scalar

    n, values, errors = _checked(widths, residual, stderr)
    _require(corrections + 2, len(n))
    flat, sigma = values.reshape(len(n), -1), errors.reshape(len(n), -1)
    steps = np.arange(corrections + 1)

    def chi2(p: float) -> float:
        return float((_fit(n, flat, sigma, p + steps)[2] ** 2).sum())

    grid = np.linspace(*POWERS, 101)
    nearest = grid[int(np.argmin([chi2(p) for p in grid]))]
    width = grid[1] - grid[0]
    p = float(minimize_scalar(chi2, bounds=(nearest - width, nearest + width), method="bounded").x)
    fitted, _, left = _fit(n, flat, sigma, p + steps)
    # How much the model changes with p where its amplitudes may follow: the information that each entry has.
    columns = (n.min() / n)[:, None] ** (p + steps)
    moved = -np.log(n)[:, None] * (columns @ fitted) / sigma
    apart = _fit(n, moved * sigma, sigma, p + steps)[2]
    information = (apart**2).sum(axis=0)
    found, total = float((left**2).sum()), float(((flat / sigma) ** 2).sum())
    seen = total - found > SEEN**2
    return Slope(
        p if seen else float("nan"),
        float(np.sqrt(information).sum() / information.sum()) if seen else float("nan"),
        float(information.sum() ** -0.5) if seen else float("nan"),
        (fitted[0] * n.min() ** p).reshape(values.shape[1:]),
        found,
        flat.size - fitted.size - 1,
    )


def _fit(
    n: np.ndarray, values: np.ndarray, sigma: np.ndarray, powers: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coefficients (powers, E) of (n_min/n)^p, covariances (E, powers, powers), scaled residuals (W, E)."""
    columns = (n.min() / n)[:, None] ** np.asarray(powers, dtype=float)
    design = columns[None] / sigma.T[:, :, None]
    q, r = np.linalg.qr(design)
    target = (values / sigma).T
    fitted = np.linalg.solve(r, np.einsum("ewp,ew->ep", q, target)[..., None])[..., 0]
    root = np.linalg.inv(r)
    left = target - np.einsum("ewp,ep->ew", design, fitted)
    return fitted.T, root @ root.swapaxes(1, 2), left.T


def _checked(widths: Any, values: Any, stderr: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, y, sigma = (np.asarray(part, dtype=float) for part in (widths, values, stderr))
    if n.ndim != 1 or len(set(n.tolist())) != len(n) or not (n > 0).all():
        raise PdltError(f"Argument `widths` must be different positive numbers, but got {str(widths)[:60]}.")
    if y.shape[:1] != n.shape or sigma.shape != y.shape:
        raise PdltError(
            f"Arguments `residual` and `stderr` must have one row for each of {len(n)} widths, but got the shapes "
            f"{y.shape} and {sigma.shape}."
        )
    if not np.isfinite(y).all() or not (np.isfinite(sigma) & (sigma > 0)).all():
        raise PdltError("Arguments `residual` and `stderr` must hold finite numbers, and errors must be positive.")
    return n, y, sigma


def _require(coefficients: int, widths: int) -> None:
    if widths < coefficients:
        raise PdltError(f"Argument `widths` must hold at least {coefficients} widths for this fit, but has {widths}.")
