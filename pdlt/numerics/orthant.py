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
from math import comb, factorial
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


def expectation(factors: tuple[Atoms, ...], covariance: Any, nodes: int = 48) -> Any:
    """Return E prod_i f_i(z_i) for z ~ N(0, covariance), each f_i a combination of atoms.

    Args:
        factors: one function per variable, at most four variables with steps.
        covariance: shape (d, d), positive semidefinite.
        nodes: Gauss-Legendre nodes of the one integral that four-dimensional orthants need.
    """
    solver = _Reduction(covariance, nodes)
    total = jnp.zeros_like(covariance[0, 0])
    for choice in itertools.product(*(f.items() for f in factors)):
        weight = 1.0
        for _, coefficient in choice:
            weight *= coefficient
        if weight:
            total = total + weight * solver.value((), tuple(atom for atom, _ in choice))
    return total


class _Reduction:
    """Remembers sub-results while one expectation is reduced; conditioning only changes the covariance."""

    def __init__(self, covariance: Any, nodes: int) -> None:
        self._covariances: dict[tuple[int, ...], Any] = {(): covariance}
        self._values: dict[tuple, Any] = {}
        self._nodes = nodes

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
        return orthant_probability(covariance[np.ix_(steps, steps)], self._nodes)

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
            rest = base - base[:, last, None] * base[None, last, :] * _inverse(base[last, last])
            noise = jnp.diagonal(rest) <= DEGENERATE * jnp.diagonal(self._covariances[()])
            self._covariances[given] = jnp.where(noise[:, None] | noise[None, :], 0.0, rest)
        return self._covariances[given]


def orthant_probability(covariance: Any, nodes: int) -> Any:
    """Return P(z_1 > 0, ..., z_d > 0) for z ~ N(0, covariance), d <= 4; zero variance counts as one half."""
    d = covariance.shape[0]
    if d == 0:
        return jnp.ones_like(jnp.asarray(covariance, dtype=float).sum())
    if d == 1:
        return jnp.full_like(covariance[0, 0], 0.5)
    if d > 4:
        raise NotImplementedError(f"orthant probabilities in {d} dimensions")
    rho = {(i, j): _correlation(covariance, i, j) for i in range(d) for j in range(i + 1, d)}
    pairs = sum(jnp.arcsin(r) for r in rho.values()) / (2 * jnp.pi)
    if d < 4:
        return 0.5**d + pairs * 0.5 ** (d - 2)
    return 1 / 16 + pairs / 4 + _four_point_remainder(rho, nodes)


def _four_point_remainder(rho: dict[tuple[int, int], Any], nodes: int) -> Any:
    """Integrate Plackett's identity from independent to given correlations, beyond what pairs contribute.

    d P / d rho_ij = p(z_i = z_j = 0) P(z_k, z_l > 0 | z_i = z_j = 0). Scaling all correlations by t = sin(phi)
    removes the endpoint singularity of the density as |rho| tends to one.
    """
    points, weights = np.polynomial.legendre.leggauss(nodes)
    phi = (points + 1) * np.pi / 4
    t, dt = np.sin(phi), weights * np.pi / 4 * np.cos(phi)
    total: Any = 0.0
    for (i, j), r in rho.items():
        k, m = (x for x in range(4) if x not in (i, j))

        def at(a: int, b: int) -> Any:
            return t * rho[min(a, b), max(a, b)]

        rij = t * r
        determinant = 1 - rij**2
        density = 1 / (2 * jnp.pi * jnp.sqrt(jnp.maximum(determinant, 1e-300)))

        def covariance(a: int, b: int, rij: Any = rij, determinant: Any = determinant, i: int = i, j: int = j) -> Any:
            own = at(a, b) if a != b else 1.0
            cross = at(a, i) * at(b, i) + at(a, j) * at(b, j) - rij * (at(a, i) * at(b, j) + at(a, j) * at(b, i))
            return own - cross / jnp.maximum(determinant, 1e-300)

        product = covariance(k, k) * covariance(m, m)
        conditional = covariance(k, m) / jnp.sqrt(jnp.where(product > 0, product, 1.0))
        total = total + r * (dt * density * jnp.arcsin(jnp.clip(conditional, -1, 1)) / (2 * jnp.pi)).sum()
    return total


def _correlation(covariance: Any, i: int, j: int) -> Any:
    product = covariance[i, i] * covariance[j, j]
    rho = covariance[i, j] / jnp.sqrt(jnp.where(product > 0, product, 1.0))
    return jnp.where(1 - rho**2 <= DEGENERATE, jnp.sign(rho), rho)


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
