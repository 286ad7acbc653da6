"""How parameters move: the gradient, and gradients preconditioned by a metric on the space of parameters.

Training points alpha = 1 ... N, outputs z, labels y, residuals r = S (z - y), Jacobian J = dr/dxi of shape (M, P) with
M = N n_L. S is the identity but for `KullbackLeibler`. The loss is c/2 sum r^2 and a method says what xi' is:

    Gradient           -J^T r             squares, c = 1
    NaturalGradient    -F^+ J^T r         F = J^T J / (N sigma^2): Fisher metric, Gaussian output noise sigma^2
    EmpiricalNatural   -F_e^+ J^T r       F_e = (1/N) sum_alpha g_alpha g_alpha^T, g = grad log p(y_alpha | x_alpha)
    GaussNewton        -(J^T J)^+ J^T r
    SaddleFreeNewton   -|Hess|^+ J^T r    absolute values of the eigenvalues of the loss' Hessian
    KullbackLeibler    -J^T r / N         mean KL divergence of Gaussian policies, c = 1/N, S = Sigma^(-1/2)
      natural=True     -F^+ J^T r / N     F = J^T J / N: its second derivative

X^+ is the pseudo-inverse. Derived in derivations/14_natural_gradient.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._arguments import positive
from pdlt.errors import PdltError
from pdlt.finite.memory import check_memory
from pdlt.finite.method import Method, Residuals, gradient

Array = Any

#: Singular values of a Jacobian below this part of the largest count as zero: those of inputs that occur twice are
#: some 1e-16 in double precision.
CUTOFF = 1e-12


@dataclass(frozen=True)
class _Preconditioned(Method):
    """Shared by what inverts J^T J: xi' = -s J^+ r.

    Attributes:
        singular: "raise", or "project": go on where the rank of J is below both of its dimensions. Outputs outside
            the range of J then stay where they are, and so do parameters in its null space.
    """

    singular: Literal["raise", "project"] = field(default="raise", kw_only=True)

    def __post_init__(self) -> None:
        if self.singular not in ("raise", "project"):
            raise PdltError(f'Argument `singular` must be "raise" or "project", but got {self.singular!r}.')

    def rate(self, points: int) -> float:
        """Return s, the single rate at which residuals in the range of J relax; `points` is N."""
        raise NotImplementedError

    def velocity(self, residuals: Residuals, jacobian: Residuals) -> Callable[[Array], Array]:
        """Return xi' = -s J^+ r."""

        def velocity(xi: Array) -> Array:
            r = residuals(xi)
            return -self.rate(r.shape[0]) * _solve(jacobian(xi).reshape(r.size, -1), r.reshape(-1))

        return velocity

    def multipliers(self, eigenvalues: Array, points: int) -> Array:
        """Return s / h."""
        return self.rate(points) / eigenvalues

    def check(self, r: np.ndarray, J: np.ndarray, last: float) -> None:
        """Raise PdltError unless the rank of J is the number of residuals or of parameters that move."""
        if self.singular == "raise":
            _check_rank(J.reshape(r.size, -1), 'pass singular="project" to leave the other outputs where they are')


@dataclass(frozen=True)
class NaturalGradient(_Preconditioned):
    """theta' = -F^+ grad of 1/2 sum (z - y)^2 with the Fisher metric of Gaussian output noise.

    F = J^T J / (N sigma^2) is the mean over the N training inputs. Where J has full row rank (more parameters than
    residuals, inputs that differ) the natural tangent kernel J F^+ J^T is N sigma^2 times the identity and all
    residuals relax as exp(-N sigma^2 t), whatever the network, however finite (derived in
    derivations/14_natural_gradient.py).

    Attributes:
        noise: sigma^2, positive.
        singular: see `GaussNewton`.
    """

    noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("noise", self.noise)

    def rate(self, points: int) -> float:
        """Return N sigma^2."""
        return points * self.noise


@dataclass(frozen=True)
class GaussNewton(_Preconditioned):
    """theta' = -(J^T J)^+ grad of 1/2 sum (z - y)^2: the natural gradient at rate 1.

    Attributes:
        singular: "raise", or "project": go on where the rank of J is below both of its dimensions. Outputs outside
            the range of J then stay where they are, and so do parameters in its null space.
    """

    def rate(self, points: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class EmpiricalNatural(Method):
    """theta' = -F_e^+ grad of 1/2 sum (z - y)^2 with the empirical Fisher metric, made of the labels.

    F_e is the mean of g g^T over the training points, g = J_alpha^T r_alpha / sigma^2. Where the N vectors g are
    linearly independent, every |r_alpha|^2 falls linearly, |r_alpha(t)|^2 = |r_alpha(0)|^2 - 2 N sigma^4 t, until the
    flow
    ends at the time at which the first point is fitted: the metric is not a curvature. Steps of descent are held to
    the same end, steps times learning rate
    (derived in derivations/14_natural_gradient.py).

    Attributes:
        noise: sigma^2, positive.
    """

    noise: float = 1.0

    def __post_init__(self) -> None:
        positive("noise", self.noise)

    def velocity(self, residuals: Residuals, jacobian: Residuals) -> Callable[[Array], Array]:
        """Return xi' = -N sigma^4 A^+ (1, ..., 1), A the matrix of rows J_alpha^T r_alpha.

        Rows are brought to length 1 first, or the pseudo-inverse would leave out points that are nearly fitted.
        """

        def velocity(xi: Array) -> Array:
            r = residuals(xi)
            rows = jnp.einsum("ai,aip->ap", r, jacobian(xi))
            lengths = jnp.linalg.norm(rows, axis=1)
            return -len(r) * self.noise**2 * _solve(rows / lengths[:, None], 1 / lengths)

        return velocity

    def end(self, r: np.ndarray) -> float:
        """Return the time at which the first point is fitted, for residuals r at time 0, shape (N, n_L)."""
        return float((r**2).sum(axis=1).min()) / (2 * len(r) * self.noise**2)

    def check(self, r: np.ndarray, J: np.ndarray, last: float) -> None:
        """Raise PdltError if `last` is not before the end, or the gradients of single points are linearly dependent."""
        if last >= self.end(r):
            raise PdltError(
                f"Argument `times` must stay below {self.end(r):.6g}, where the flow of the empirical Fisher metric "
                f"ends: the first training point is fitted exactly and the metric loses rank; got {last:g} (for gd, "
                "steps times learning rate)."
            )
        rows = np.einsum("ai,aip->ap", r, J)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if (lengths == 0).any():
            raise PdltError(
                f"Argument `x` must give every training point a gradient, but that of point {int(lengths.argmin())} "
                "vanishes: the empirical Fisher metric does not move its output, and its residual stays."
            )
        # Small residuals make small rows; what counts is their direction.
        _check_rank(rows / lengths, "leave out inputs that occur twice")


@dataclass(frozen=True)
class SaddleFreeNewton(Method):
    """theta' = -|Hess|^+ grad of 1/2 sum (z - y)^2, |Hess| with the absolute values of the Hessian's eigenvalues.

    Near a minimum, and on a linear model, this is Gauss-Newton; along directions of negative curvature it leaves a
    saddle at rate 1 where Newton's method is attracted (Dauphin et al., arXiv:1406.2572). One eigendecomposition of a
    P x P
    matrix a step: for small networks.

    Attributes:
        cutoff: eigenvalues below this part of the largest are left out; positive, below 1.
    """

    cutoff: float = 1e-10

    def __post_init__(self) -> None:
        positive("cutoff", self.cutoff)
        if self.cutoff >= 1:
            raise PdltError(f"Argument `cutoff` must be below 1, but got {self.cutoff!r}.")

    def velocity(self, residuals: Residuals, jacobian: Residuals) -> Callable[[Array], Array]:
        """Return xi' = -|Hess|^+ J^T r."""

        def loss(xi: Array) -> Array:
            return (residuals(xi) ** 2).sum() / 2

        def velocity(xi: Array) -> Array:
            check_memory("model", f"the Hessian and its eigenvectors, {xi.size} parameters squared,", 4 * xi.size**2)
            eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(loss)(xi))
            sizes = jnp.abs(eigenvalues)
            kept = sizes > self.cutoff * sizes.max()
            along = vectors.T @ jax.grad(loss)(xi)
            return -vectors @ jnp.where(kept, along / jnp.where(kept, sizes, 1.0), 0.0)

        return velocity

    def multipliers(self, eigenvalues: Array, points: int) -> Array:
        """Return 1 / h, 0 below the cutoff: a linear model has the Hessian J^T J."""
        kept = eigenvalues > self.cutoff * eigenvalues.max()
        return jnp.where(kept, 1 / eigenvalues, 0.0)


@dataclass(frozen=True)
class KullbackLeibler(Method):
    """Flow of the mean KL divergence between Gaussian policies of the same fixed covariance.

    The policy is N(z(x), Sigma), the target N(y, Sigma). Their divergence is (z - y)^T Sigma^-1 (z - y) / 2 in both
    directions, and the loss is its mean over the N inputs. Plain flow relaxes at rates h_i / N, h_i the eigenvalues
    of the tangent kernel of Sigma^(-1/2) z; with `natural` the divergence's own second derivative is the metric, and
    everything in the range of J relaxes at rate 1 (derived in derivations/14_natural_gradient.py).

    Attributes:
        covariance: Sigma, a positive number (times the identity) or rows of a symmetric positive definite matrix.
        natural: whether the gradient is multiplied with the pseudo-inverse of the Fisher metric.
    """

    covariance: Any = 1.0
    natural: bool = False

    def __post_init__(self) -> None:
        wanted = "a positive number or a symmetric positive definite matrix"
        try:
            matrix = np.asarray(self.covariance, dtype=float)
        except (TypeError, ValueError):
            raise PdltError(f"Argument `covariance` must be {wanted}, but got {str(self.covariance)[:60]}.") from None
        square = matrix.ndim == 0 or (matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0)
        if not square or not np.isfinite(matrix).all() or (abs(matrix - matrix.T) > 1e-12 * abs(matrix).max()).any():
            raise PdltError(f"Argument `covariance` must be {wanted}, but got {str(self.covariance)[:60]}.")
        matrix = np.asarray((matrix + matrix.T) / 2)  # a product of matrices is symmetric up to rounding only
        smallest = float(np.linalg.eigvalsh(np.atleast_2d(matrix))[0])
        if smallest <= 0:
            raise PdltError(f"Argument `covariance` must be {wanted}, but its smallest eigenvalue is {smallest:g}.")
        plain = float(matrix) if matrix.ndim == 0 else tuple(map(tuple, matrix.tolist()))
        object.__setattr__(self, "covariance", plain)  # hashable

    def whitening(self, outputs: int) -> np.ndarray:
        """Return Sigma^(-1/2), the symmetric root."""
        matrix = np.asarray(self.covariance)
        if matrix.ndim == 0:
            return np.eye(outputs) / math.sqrt(matrix)
        if len(matrix) != outputs:
            raise PdltError(f"Argument `covariance` must have {outputs} rows, one per output, but got {len(matrix)}.")
        variances, axes = np.linalg.eigh(matrix)
        return axes / np.sqrt(variances) @ axes.T

    def velocity(self, residuals: Residuals, jacobian: Residuals) -> Callable[[Array], Array]:
        """Return xi' = -J^T r / N, or -J^+ r."""
        if self.natural:
            return GaussNewton().velocity(residuals, jacobian)
        return lambda xi: gradient(residuals, 1 / residuals(xi).shape[0])(xi)

    def multipliers(self, eigenvalues: Array, points: int) -> Array:
        """Return 1/N, or 1/h."""
        return 1 / eigenvalues if self.natural else jnp.full_like(eigenvalues, 1 / points)

    def check(self, r: np.ndarray, J: np.ndarray, last: float) -> None:
        """Raise PdltError as `GaussNewton` does, if `natural`."""
        if self.natural:
            _check_rank(J.reshape(r.size, -1), "leave out inputs that occur twice")


def _solve(matrix: Array, vector: Array) -> Array:
    """Return matrix^+ vector."""
    return jnp.linalg.pinv(matrix, rtol=CUTOFF) @ vector


def _check_rank(J: np.ndarray, remedy: str) -> None:
    if not np.isfinite(J).all():
        raise PdltError("Argument `x` must give a finite Jacobian, but it overflows: scale the inputs down.")
    moving = int((J != 0).any(axis=0).sum())
    values = np.linalg.svd(J, compute_uv=False)
    rank = int((values > CUTOFF * values[0]).sum())
    if rank < min(len(J), moving):
        raise PdltError(
            f"Argument `x` must give a Jacobian of full rank, but its rank is {rank}, below both the number of "
            f"training outputs ({len(J)}) and of parameters that move ({moving}): the metric is singular, outputs "
            f"outside its range do not relax, and what is in it depends on a threshold; {remedy}."
        )
