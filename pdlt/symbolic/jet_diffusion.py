"""Moments of the jets' covariance when depth and width go to infinity together, for a scale-invariant activation.

For sigma(z) = a_+ z (z > 0), a_- z (z < 0), C_b = 0, C_W = 1 / A_2 and one input, write the covariance G of the jets as

    G_ST = K^(1 - d/2) (n kappa)^(d/2) g_ST,   d = |S| + |T|,   kappa = lambda_b + lambda_W A_2 K,   t = l / n.

One layer changes g by a mean of order 1/n and a fluctuation of order n^(-1/2), so g(t) is a diffusion. An average of 2k
activations times jets is A_2k times the sum over all pairings of the jets, with the whole matrix g and not only its
block-diagonal part. Hence the moments of g obey linear equations dm/dt = M m that close block by block: a learning-rate
term takes a direction out of a moment, everything else rearranges its slots. A block is solved in powers and
exponentials of t, and the solution is substituted back before it is returned.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, permutations
from typing import Any

import sympy
from sympy.polys.matrices import DomainMatrix
from sympy.polys.rings import PolyElement, PolyRing, ring
from sympy.utilities.iterables import strongly_connected_components

from pdlt.errors import PdltError
from pdlt.symbolic.depth_series import Series, scaled, total
from pdlt.symbolic.jets import layer_map, product

#: The share of the weights in the mean NTK, lambda_W A_2 K / (lambda_b + lambda_W A_2 K), from 0 to 1.
w = sympy.Symbol("w", nonnegative=True)
#: A_4 / A_2^2 with A_m = (a_+^m + a_-^m) / 2, the symbol of `pdlt.closed_form`.
a_4 = sympy.Symbol("a_4", positive=True)

#: Larger systems are refused; they take a few seconds with a number for a_4, and with the symbol.
MAX_MOMENTS, MAX_MOMENTS_ANY = 100, 36

#: The directions (S, T) of an entry of g, and a product of entries; both sorted.
Entry = tuple[str, str]
Moment = tuple[Entry, ...]


@dataclass(frozen=True)
class Field:
    """Where the calculation takes place: a value of a_4, and polynomials in w whose coefficients may contain a_4.

    The exponents are integers times a_4 plus integers. Two of them can coincide at a rational a_4 only, which is
    therefore filled in from the start; any other value may be filled in at the end.
    """

    value: sympy.Expr

    @property
    def domain(self) -> Any:
        """The field of the exponents."""
        return sympy.QQ if self.value.is_Rational else sympy.QQ.frac_field(a_4)

    @property
    def ring(self) -> PolyRing:
        """Polynomials in w over the domain."""
        return ring([w], self.domain)[0]

    @property
    def a(self) -> Any:
        """A_4 / A_2^2 as an element of the domain."""
        return self.domain.from_sympy(self.value if self.value.is_Rational else a_4)

    def to_sympy(self, element: Any) -> sympy.Expr:
        """Return an element of the domain or of the ring, with the value of a_4 filled in."""
        plain = element.as_expr() if isinstance(element, PolyElement) else self.domain.to_sympy(element)
        return plain.subs(a_4, self.value)


@lru_cache(maxsize=64)
def solve(wanted: frozenset[Moment], field: Field) -> Mapping[Moment, Series]:
    """Return moments of g as functions of t; at t = 0 plain preactivations have g = 1 and all else is 0.

    Args:
        wanted: moments in the form that `canonical` returns.
        field: where the coefficients live.

    Raises:
        PdltError: if the system of moments is too large.
    """
    rates = _close(wanted, field)
    edges = [(moment, source) for moment, found in rates.items() for source in found]
    solved: dict[Moment, Series] = {}
    # A block comes after those that drive it.
    for block in strongly_connected_components((sorted(rates), edges)):
        driven = [total([scaled(solved[s], c) for s, c in rates[m].items() if s not in block]) for m in block]
        matrix = [[rates[m].get(s, field.ring.zero).coeff(1) for s in block] for m in block]
        first = [field.domain(int(not any(S or T for S, T in m))) for m in block]
        solved.update(zip(block, _solve_block(matrix, driven, first, field)))
    return solved


def _close(wanted: Iterable[Moment], field: Field) -> dict[Moment, dict[Moment, PolyElement]]:
    """Return dm/dt as a sum of coefficients times moments, for the wanted moments and all that drive them."""
    most = MAX_MOMENTS if field.value.is_Rational else MAX_MOMENTS_ANY
    rates: dict[Moment, dict[Moment, PolyElement]] = {}
    queue = list(wanted)
    while queue:
        moment = queue.pop()
        if moment not in rates:
            if len(rates) == most:
                raise PdltError(
                    f"Argument `observables`: a cumulant needs a system of more than {most} moments; ask for fewer "
                    f"components or directions{', or name the activation' * (most < MAX_MOMENTS)}."
                )
            rates[moment] = _rates(moment, field)
            queue.extend(rates[moment])
    return rates


def _rates(moment: Moment, field: Field) -> dict[Moment, PolyElement]:
    """Return the drift of every factor and the covariance of every two, from the layer map.

    Each lambda_W takes away a pair of tangents, which costs a factor 1/n. So the drift is what has one lambda_W (what
    has none is G itself, at criticality), and the covariance of two entries, of order 1/n already, what has none.
    """
    share, one = field.ring.gens[0], field.ring.one
    found: dict[Moment, PolyElement] = {}

    def collect(rest: Moment, average: Mapping[Moment, int], factor: PolyElement) -> None:
        for entries, count in average.items():
            key = canonical(rest + entries)
            found[key] = found.get(key, field.ring.zero) + factor * count

    for i, entry in enumerate(moment):
        rest = moment[:i] + moment[i + 1 :]
        collect(rest, _average((entry,), 1), share)
        if entry[0] == entry[1] and len(entry[0]) == 1:
            collect(rest, {(): 1}, one - share)
    for i, j in combinations(range(len(moment)), 2):
        rest = tuple(e for k, e in enumerate(moment) if k not in (i, j))
        collect(rest, _average((moment[i], moment[j]), 0), one * field.a)
        for left, count in _average((moment[i],), 0).items():
            collect(rest + left, _average((moment[j],), 0), -one * count)
    return {key: rate for key, rate in found.items() if rate}


@cache
def _average(entries: Moment, learning_rates: int) -> Mapping[Moment, int]:
    """Return the part of E prod Phi with this power of lambda_W, without its factor A_2m / A_2^m for m entries.

    sigma is s z and sigma' is s, the slope; sigma'' vanishes. What remains is an average of a product of jets.
    """
    result: Counter[Moment] = Counter()
    for monomial, count in product(tuple(layer_map((S, 0), (T, 0)) for S, T in entries)).items():
        if monomial.powers[1] == learning_rates and all(k < 2 for _, k in monomial.sigmas):
            jets = [S for S, _ in monomial.jets] + ["" for _, k in monomial.sigmas if k == 0]
            for pairing in _pairings(tuple(jets)):
                result[pairing] += int(count)
    return result


def _pairings(jets: tuple[str, ...]) -> Iterator[Moment]:
    """Yield all ways to pair up the jets: Wick's theorem."""
    if not jets:
        yield ()
        return
    for i in range(1, len(jets)):
        for rest in _pairings(jets[1:i] + jets[i + 1 :]):
            yield (_entry(jets[0], jets[i]), *rest)


def _entry(first: str, second: str) -> Entry:
    return (first, second) if first <= second else (second, first)


@cache
def canonical(moment: Moment) -> Moment:
    """Return the representative of the moments that renaming directions and reordering make equal."""
    letters = sorted({letter for S, T in moment for letter in S + T})
    candidates = []
    for names in permutations("abcdefghijklmnopqrstuvwxyz"[: len(letters)]):
        table = dict(zip(letters, names))
        renamed = [["".join(sorted(table[letter] for letter in slot)) for slot in entry] for entry in moment]
        candidates.append(tuple(sorted(_entry(S, T) for S, T in renamed)))
    return min(candidates)


def _solve_block(matrix: list[list[Any]], driven: list[Series], first: list[Any], field: Field) -> list[Series]:
    """Return x(t) with dx/dt = matrix x + driven and x(0) = first, and prove it by substitution."""
    size, domain = len(matrix), field.domain
    square, identity = DomainMatrix(matrix, (size, size), domain), DomainMatrix.eye(size, domain)
    exponents = _eigenvalues(square)
    solution: list[Series] = [{}] * size
    for mu in exponents:
        projector = identity
        for other in exponents:
            if other != mu:
                projector = projector * (square - identity * other) * (1 / (mu - other))
        for i, row in enumerate(projector.to_list()):
            source = total([scaled(f, p) for f, p in zip(driven, row)])
            start = sum((p * x for p, x in zip(row, first)), domain.zero)
            solution[i] = total([solution[i], {(0, mu): field.ring(start)}, _response(mu, source, domain)])
    for row, x, f, start in zip(matrix, solution, driven, first):
        rate = total([f, *(scaled(y, c) for y, c in zip(solution, row))])
        left = total([_derivative(x), scaled(rate, -domain.one)])
        value = sum((c for (j, _), c in x.items() if j == 0), field.ring.zero)
        if left or value != start:
            raise ArithmeticError("a moment does not satisfy its differential equation; this is an error in pdlt")
    return solution


def _eigenvalues(matrix: DomainMatrix) -> list[Any]:
    """Return the different eigenvalues; they lie in the domain."""
    polynomial = sympy.Poly.from_list(matrix.charpoly(), sympy.Dummy(), domain=matrix.domain)
    factors = [factor.rep.to_list() for factor, _ in polynomial.factor_list()[1]]
    if any(len(factor) != 2 for factor in factors):
        raise ArithmeticError("the exponents of a block of moments are not rational in a_4")
    return [-constant / slope for slope, constant in factors]


def _response(mu: Any, source: Series, domain: Any) -> Series:
    """Return the integral of exp(mu (t - s)) source(s) over s from 0 to t."""
    parts: list[Series] = []
    for (j, rate), c in source.items():
        if rate == mu:
            parts.append({(j + 1, mu): c * (1 / domain(j + 1))})
            continue
        # p(t) exp(rate t) - p(0) exp(mu t) with p' + (rate - mu) p = c t^j, from the top.
        for i in range(j, -1, -1):
            c = c * (1 / (rate - mu))
            parts.append({(i, rate): c})
            c = c * domain(-i) if i else c
        parts.append({(0, mu): -c})
    return total(parts)


def _derivative(series: Series) -> Series:
    return total(
        [{(j, mu): c * mu} for (j, mu), c in series.items()] + [{(j - 1, mu): c * j} for (j, mu), c in series.items()]
    )
