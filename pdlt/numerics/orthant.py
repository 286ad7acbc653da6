"""Closed-form Gaussian expectations of step-like functions: z^m, z^m theta(z) and derivatives of Dirac's delta.

Three rules reduce every expectation to orthant probabilities: a delta conditions on its variable, a power of z is
traded for a derivative (Stein), and what is left is a product of step functions. Orthant probabilities are
elementary in up to three dimensions; in four, Plackett's identity leaves one smooth integral.

Where variables are proportional to each other, a variable may have no variance left after conditioning. Its density
at the origin then counts as zero: the density comes with factors of the vanished variance, or with coefficients
that cancel (derivatives with respect to a kernel along fluctuations that keep the variables proportional), except
in products of deltas, which the caller excludes.
"""

import itertools
from collections.abc import Sequence
from math import comb, factorial, prod
from typing import Any

import jax.numpy as jnp
import numpy as np

#: ("one", m): z^m; ("step", m): z^m theta(z); ("delta", k): k-th derivative of delta(z).
Atom = tuple[str, int]

#: A function of one variable: atom -> coefficient.
Atoms = dict[Atom, float]

#: 1 - correlation^2 below this is rounding. Left alone it would grow with depth: the next layer's correlation is off
#: by its square root.
DEGENERATE = 32 * np.finfo(float).eps


def expectations(wanted: Sequence[tuple[Atoms, ...]], covariance: Any, rule: tuple[Any, Any]) -> list[Any]:
    """Return E prod_i f_i(z_i) for z ~ N(0, covariance), each f_i a combination of atoms.

    Args:
        wanted: products: one function per variable, at most four variables with steps.
        covariance: shape (d, d), positive semidefinite.
        rule: nodes and weights on [-1, 1] for the one integral that four-dimensional orthants need.
    """
    solver = _Reduction(covariance, rule)
    results = []
    for factors in wanted:
        total = jnp.zeros_like(covariance[0, 0])
        for choice in itertools.product(*(f.items() for f in factors)):
            weight = prod(coefficient for _, coefficient in choice)
            if weight:
                total = total + weight * solver.value((), tuple(atom for atom, _ in choice))
        results.append(total)
    return results


class _Reduction:
    """Remembers sub-results while expectations are reduced; conditioning only changes the covariance."""

    def __init__(self, covariance: Any, rule: tuple[Any, Any]) -> None:
        self._covariances: dict[tuple[int, ...], Any] = {(): covariance}
        self._values: dict[tuple, Any] = {}
        self._rule = rule

    def value(self, given: tuple[int, ...], atoms: tuple[Atom | None, ...]) -> Any:
        key = (given, atoms)
        if key not in self._values:
            self._values[key] = self._reduce(given, atoms)
        return self._values[key]

    def _reduce(self, given: tuple[int, ...], atoms: tuple[Atom | None, ...]) -> Any:
        for i, atom in enumerate(atoms):
            if atom and atom[0] == "delta":
                return self._condition(given, atoms, i, atom[1])
        for i, atom in enumerate(atoms):
            if atom and atom[1] > 0:
                lowered = _replace(atoms, i, (atom[0], atom[1] - 1))
                covariance = self._covariance(given)
                return sum(
                    coefficient * covariance[i, j] * self.value(given, changed)
                    for j in range(len(atoms))
                    for coefficient, changed in _differentiate(lowered, j)
                )
        steps = [i for i, atom in enumerate(atoms) if atom and atom[0] == "step"]
        covariance = self._covariance(given)
        return orthant_probability(covariance[np.ix_(steps, steps)], self._rule)

    def _condition(self, given: tuple[int, ...], atoms: tuple[Atom | None, ...], i: int, k: int) -> Any:
        """E[delta^(k)(z_i) f] = (-1)^k d^k/dz^k ( p(z) E[f | z_i = z] ) at z = 0."""
        covariance = self._covariance(given)
        variance = covariance[i, i]
        inverse = _inverse(variance)
        density = jnp.sqrt(inverse / (2 * jnp.pi))
        rest = _replace(atoms, i, None)
        inner = tuple(sorted((*given, i)))
        shifted: dict[tuple[Atom | None, ...], Any] = {rest: 1.0}
        total: Any = 0.0
        for m in range(k + 1):
            hermite = _hermite_at_zero(k - m)
            if hermite:
                mean = sum(weight * self.value(inner, changed) for changed, weight in shifted.items())
                total = total + comb(k, m) * hermite * inverse ** ((k - m) // 2) * mean
            following: dict[tuple[Atom | None, ...], Any] = {}
            for current, weight in shifted.items():
                for j in range(len(atoms)):
                    for coefficient, changed in _differentiate(current, j):
                        slope = weight * coefficient * covariance[i, j] * inverse
                        following[changed] = following.get(changed, 0.0) + slope
            shifted = following
        return (-1) ** k * density * total

    def _covariance(self, given: tuple[int, ...]) -> Any:
        if given not in self._covariances:
            *front, last = given
            base = self._covariance(tuple(front))
            rest = base - base[:, last, None] * (base[None, last, :] * _inverse(base[last, last]))
            left = jnp.diagonal(base) * _correlations(base)[1][last]
            noise = left <= DEGENERATE * jnp.diagonal(self._covariances[()])
            rest = jnp.where(jnp.eye(len(base), dtype=bool), left[:, None], rest)
            self._covariances[given] = jnp.where(noise[:, None] | noise[None, :], 0.0, rest)
        return self._covariances[given]


def orthant_probability(covariance: Any, rule: tuple[Any, Any]) -> Any:
    """Return P(z_1 > 0, ..., z_d > 0) for z ~ N(0, covariance), d <= 4; zero variance counts as one half."""
    d = covariance.shape[0]
    if d == 0:
        return jnp.ones_like(jnp.asarray(covariance, dtype=float).sum())
    if d == 1:
        return jnp.full_like(covariance[0, 0], 0.5)
    if d > 4:
        raise NotImplementedError(f"orthant probabilities in {d} dimensions")
    correlations, rests = _correlations(covariance)
    upper = np.triu_indices(d, 1)
    pairs = jnp.arctan2(correlations[upper], jnp.sqrt(rests[upper])).sum() / (2 * jnp.pi)
    if d < 4:
        return 0.5**d + pairs * 0.5 ** (d - 2)
    rho = {(i, j): correlations[i, j] for i, j in itertools.combinations(range(4), 2)}
    return 1 / 16 + pairs / 4 + _four_point_remainder(rho, rule)


def _four_point_remainder(rho: dict[tuple[int, int], Any], rule: tuple[Any, Any]) -> Any:
    """Integrate Plackett's identity from independent to given correlations, beyond what pairs contribute.

    d P / d rho_ij = p(z_i = z_j = 0) P(z_k, z_l > 0 | z_i = z_j = 0). All correlations are scaled by t; for each
    pair, t rho_ij = sin(psi) removes the singular density as |rho_ij| tends to one, and psi = arcsin(rho_ij) sin(phi)
    the square roots that other correlations near one leave at the endpoint.
    """
    points, weights = rule
    phi = (points + 1) * np.pi / 4
    fraction, measure = jnp.sin(phi), weights * np.pi / 4 * jnp.cos(phi)
    total: Any = 0.0
    for (i, j), r in rho.items():
        psi = jnp.arcsin(r) * fraction
        t = jnp.where(r != 0, jnp.sin(psi) / jnp.where(r != 0, r, 1.0), fraction)
        conditional = _conditional_correlation(rho, i, j, t, jnp.sin(psi), jnp.cos(psi) ** 2)
        total = total + jnp.arcsin(r) * (measure * jnp.arcsin(conditional)).sum() / (4 * jnp.pi**2)
    return total


def _conditional_correlation(
    rho: dict[tuple[int, int], Any], i: int, j: int, t: Any, rho_ij: Any, determinant: Any
) -> Any:
    """Return the correlation of the other two of four variables given z_i and z_j, all correlations scaled by t."""
    k, m = (x for x in range(4) if x not in (i, j))

    def at(a: int, b: int) -> Any:
        return t * rho[min(a, b), max(a, b)]

    def covariance(a: int, b: int) -> Any:
        own = at(a, b) if a != b else 1.0
        cross = at(a, i) * at(b, i) + at(a, j) * at(b, j) - rho_ij * (at(a, i) * at(b, j) + at(a, j) * at(b, i))
        return own - cross / jnp.maximum(determinant, 1e-300)

    product = covariance(k, k) * covariance(m, m)
    return jnp.clip(covariance(k, m) / jnp.sqrt(jnp.where(product > 0, product, 1.0)), -1, 1)


def _correlations(covariance: Any) -> tuple[Any, Any]:
    """Return rho and 1 - rho^2 of all pairs; a variable without variance is correlated with nothing.

    Angles and conditional variances must come from the same rounded number: where rho is near one, their errors
    cancel in every smooth function of the kernel, and would be amplified by every layer otherwise. A quotient is
    used because compilers round a difference of products differently in different places.
    """
    # Roots first: the product of two variances may leave the range of floats.
    deviation = jnp.sqrt(jnp.diagonal(covariance))
    scale = deviation[:, None] * deviation[None, :]
    rho = jnp.where(scale > 0, covariance / jnp.where(scale > 0, scale, 1.0), 0.0)
    rest = (1 - rho) * (1 + rho)
    return jnp.where(rest <= DEGENERATE, jnp.sign(rho), rho), jnp.where(rest <= DEGENERATE, 0.0, rest)


def _inverse(variance: Any) -> Any:
    return jnp.where(variance > 0, 1 / jnp.where(variance > 0, variance, 1.0), 0.0)


def _replace(atoms: tuple[Atom | None, ...], i: int, atom: Atom | None) -> tuple[Atom | None, ...]:
    return (*atoms[:i], atom, *atoms[i + 1 :])


def _differentiate(atoms: tuple[Atom | None, ...], j: int) -> list[tuple[int, tuple[Atom | None, ...]]]:
    """Return d/dz_j of a product of atoms as (coefficient, atoms) terms: at most one."""
    atom = atoms[j]
    if atom is None or atom == ("one", 0):
        return []
    kind, m = atom
    if kind == "delta":
        return [(1, _replace(atoms, j, ("delta", m + 1)))]
    if m == 0:
        return [(1, _replace(atoms, j, ("delta", 0)))]
    return [(m, _replace(atoms, j, (kind, m - 1)))]


def _hermite_at_zero(q: int) -> int:
    """Return the number h in p^(q)(0) = h variance^(-q/2) p(0)."""
    return 0 if q % 2 else (-1) ** (q // 2) * factorial(q) // (2 ** (q // 2) * factorial(q // 2))
