"""Exact moments of finite networks with a polynomial activation: a witness that shares no code with the engine.

Given layer l, Ghat' = bias variance + (1/n) sum over n independent neurons of Phi(u), u ~ N(0, Ghat). For a polynomial
activation the expectation of any product of Phi's is a polynomial in Ghat (Isserlis), so a moment at layer l+1 is a
combination of moments at layer l, and at layer 1 Ghat is a number. No perturbation theory: with widths n_l = r_l N the
moments are polynomials in 1/N with rational coefficients, of which as many are kept as are asked for.

Phi is obtained by brute force, multiplying out sigma(z + eps_a z_a + eps_b z_b + eps_a eps_b z_ab + ...).
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import factorial

from pdlt.errors import PdltError

#: (direction letters, input): a jet of a neuron.
Jet = tuple[str, int]
#: An entry of Ghat, its two jets sorted.
Entry = tuple[Jet, Jet]
#: Sorted factors -> coefficient; factors are jets (a polynomial in u) or entries (a polynomial in Ghat).
Polynomial = dict[tuple, Fraction]
#: Coefficients of 1, 1/N, 1/N^2, ...
Series = tuple[Fraction, ...]


@dataclass(frozen=True)
class PolynomialNetwork:
    """A network with activation sigma(z) = sum_m sigma[m] z^m and hidden widths n_l = ratios[l-1] * N.

    Args:
        sigma: coefficients of the activation.
        gram: x . x' / n_0 of the inputs, a symmetric matrix.
        ratios: n_l / N for l = 1, 2, ...
        C_b, C_W, lambda_b, lambda_W: as in `pdlt.MLP`, the same in every layer. Everything is a rational number.
    """

    sigma: tuple[Fraction, ...]
    gram: tuple[tuple[Fraction, ...], ...]
    ratios: tuple[Fraction, ...]
    C_b: Fraction
    C_W: Fraction
    lambda_b: Fraction
    lambda_W: Fraction

    def coefficients(self, spec: str, inputs: Mapping[int, int], layer: int, terms: int) -> Series:
        """Return the first coefficients of a joint cumulant in 1/n, n = n_{layer-1}, leading one first.

        Args:
            spec: for instance "a1 b3 | a2 b4".
            inputs: the input that each data label of the spec stands for.
            layer: at least 2.
            terms: how many coefficients: 1 for the leading one, 2 for its first correction too.

        Returns:
            X_0, X_1, ... where the cumulant of m components is n^(1-m) (X_0 + X_1/n + ...).
        """
        entries = tuple(_entry(*(_jet(word, inputs) for word in part.split())) for part in spec.split("|"))
        lead = len(entries) - 1
        moments = _moments(self, lead + terms)
        total = [Fraction(0)] * (lead + terms)
        for partition in _partitions(entries):
            sign = (-1) ** (len(partition) - 1) * factorial(len(partition) - 1)
            product: Series = moments.constant(Fraction(sign))
            for block in partition:
                product = moments.multiply(product, moments.moment(tuple(sorted(block)), layer))
            total = [a + b for a, b in zip(total, product, strict=True)]
        if any(total[:lead]):
            raise ArithmeticError(f"the cumulant {spec} is not of order n^{-lead}: {total}")
        ratio = self.ratios[layer - 2]
        # 1/N = ratio / n.
        return tuple(value * ratio ** (power + lead) for power, value in enumerate(total[lead:]))

    def parameters(self) -> list[dict[str, Fraction]]:
        """Return C_b, ..., rho of each step from layer l to l+1, l = 2, 3, ... preceded by that of l = 1.

        At the first step every quantity that rho multiplies is zero; rho = 1 stands in for n_1 / n_0.
        """
        shared = {"C_b": self.C_b, "C_W": self.C_W, "lambda_b": self.lambda_b, "lambda_W": self.lambda_W}
        widths = (self.ratios[0], *self.ratios)
        return [{**shared, "rho": b / a} for a, b in itertools.pairwise(widths)]

    def first_layer(self) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
        """Return K and Theta of layer 1."""
        return (
            [[self.C_b + self.C_W * g for g in row] for row in self.gram],
            [[self.lambda_b + self.lambda_W * g for g in row] for row in self.gram],
        )


@lru_cache(maxsize=8)
def _moments(network: PolynomialNetwork, length: int) -> "_Moments":
    return _Moments(network, length)


class _Moments:
    """Moments of Ghat of a network as series in 1/N, remembered."""

    def __init__(self, network: PolynomialNetwork, length: int) -> None:
        self.network = network
        self.length = length
        self._known: dict[tuple[tuple[Entry, ...], int], Series] = {}
        self._neuron: dict[tuple[tuple[Entry, ...], bool], Polynomial] = {}
        self._pairings: dict[tuple[tuple[Jet, ...], bool], Polynomial] = {}

    def constant(self, value: Fraction) -> Series:
        return (value,) + (Fraction(0),) * (self.length - 1)

    def multiply(self, left: Series, right: Series) -> Series:
        result = [Fraction(0)] * self.length
        for i, a in enumerate(left):
            if a:
                for j in range(self.length - i):
                    result[i + j] += a * right[j]
        return tuple(result)

    def moment(self, entries: tuple[Entry, ...], layer: int) -> Series:
        """Return E of the product of entries of Ghat at a layer."""
        letters = Counter("".join(jet[0] for entry in entries for jet in entry))
        if any(count % 2 for count in letters.values()):
            return self.constant(Fraction(0))  # the law is even in every direction
        key = (entries, layer)
        if key not in self._known:
            self._known[key] = self._first(entries) if layer == 1 else self._next(entries, layer)
        return self._known[key]

    def _first(self, entries: tuple[Entry, ...]) -> Series:
        value = Fraction(1)
        n = self.network
        for (S, a), (T, b) in entries:
            gram = n.gram[a][b]
            if S == T and len(S) <= 1:
                value *= n.lambda_b + n.lambda_W * gram if S else n.C_b + n.C_W * gram
            else:
                value = Fraction(0)
        return self.constant(value)

    def _next(self, entries: tuple[Entry, ...], layer: int) -> Series:
        """Expand prod (bias + mean of Phi) over which neuron each factor takes its Phi from."""
        total = [Fraction(0)] * self.length
        ratio = self.network.ratios[layer - 2]
        for biased in itertools.product((True, False), repeat=len(entries)):
            weight = Fraction(1)
            for entry, bias in zip(entries, biased, strict=True):
                weight *= self._bias(entry) if bias else 1
            if not weight:
                continue
            fluctuating = tuple(e for e, bias in zip(entries, biased, strict=True) if not bias)
            for blocks, count in self._grouped(fluctuating):
                # n (n-1) ... (n-b+1) / n^k, as a series in 1/N, for b blocks of k factors
                series = self.constant(weight * count)
                for i in range(1, len(blocks)):
                    series = self.multiply(series, (Fraction(1), -Fraction(i) / ratio, *self._zeros(2)))
                shift = len(fluctuating) - len(blocks)
                if shift >= self.length:
                    continue
                series = ((Fraction(0),) * shift + tuple(c / ratio**shift for c in series))[: self.length]
                polynomial: Polynomial = {(): Fraction(1)}
                for block in blocks:
                    polynomial = _times(polynomial, self._average(block, layer == 2))
                for factors, value in polynomial.items():
                    lower = self.multiply(series, self.moment(factors, layer - 1))
                    total = [a + value * b for a, b in zip(total, lower, strict=True)]
        return tuple(total)

    def _zeros(self, already: int) -> Series:
        return (Fraction(0),) * (self.length - already)

    def _grouped(self, entries: tuple[Entry, ...]) -> list[tuple[tuple[tuple[Entry, ...], ...], int]]:
        """Return the set partitions that matter at this order, equal ones counted."""
        found: Counter = Counter()
        for partition in _partitions(entries):
            if len(entries) - len(partition) < self.length:
                found[tuple(sorted(tuple(sorted(block)) for block in partition))] += 1
        return list(found.items())

    def _bias(self, entry: Entry) -> Fraction:
        (S, _), (T, _) = entry
        if S != T or len(S) > 1:
            return Fraction(0)
        return self.network.lambda_b if S else self.network.C_b

    def _average(self, block: tuple[Entry, ...], diagonal: bool) -> Polynomial:
        """Return <prod of Phi> of one neuron as a polynomial in the entries of Ghat.

        `diagonal`: Ghat is that of layer 1, where different jets are independent.
        """
        if (block, diagonal) not in self._neuron:
            product: Polynomial = {(): Fraction(1)}
            for first, second in block:
                product = _times(product, self._phi_phi(first, second))
            result: Polynomial = {}
            for jets, weight in product.items():
                for factors, count in self._wick(jets, diagonal).items():
                    result[factors] = result.get(factors, Fraction(0)) + weight * count
            self._neuron[block, diagonal] = result
        return self._neuron[block, diagonal]

    def _phi_phi(self, first: Jet, second: Jet) -> Polynomial:
        (S, a), (T, b) = first, second
        n = self.network
        total = _scaled(_times(activation(n.sigma, S, a), activation(n.sigma, T, b)), n.C_W)
        for s in set(S) & set(T):
            shared = _times(activation(n.sigma, S.replace(s, ""), a), activation(n.sigma, T.replace(s, ""), b))
            for key, value in shared.items():
                total[key] = total.get(key, Fraction(0)) + n.lambda_W * value
        return total

    def _wick(self, jets: tuple[Jet, ...], diagonal: bool) -> Polynomial:
        if not jets:
            return {(): Fraction(1)}
        if len(jets) % 2:
            return {}
        if (jets, diagonal) not in self._pairings:
            total: Polynomial = {}
            head, rest = jets[0], jets[1:]
            for partner, count in Counter(rest).items():
                if diagonal and (head[0] != partner[0] or len(head[0]) > 1):
                    continue
                i = rest.index(partner)
                for factors, weight in self._wick(rest[:i] + rest[i + 1 :], diagonal).items():
                    key = tuple(sorted((*factors, _entry(head, partner))))
                    total[key] = total.get(key, Fraction(0)) + count * weight
            self._pairings[jets, diagonal] = total
        return self._pairings[jets, diagonal]


def activation(sigma: Sequence[Fraction], directions: str, label: int) -> Polynomial:
    """Return the derivative of sigma(z) along directions as a polynomial in jets, by multiplying out.

    The argument is z(eps) = sum over S of eps_S z_S with eps_s^2 = 0; wanted is the coefficient of all directions.
    """
    subsets = ["".join(c) for k in range(len(directions) + 1) for c in itertools.combinations(directions, k)]
    power: dict[str, Polynomial] = {"": {(): Fraction(1)}}  # z(eps)^m by the set of eps in it
    result: Polynomial = {}
    for m, coefficient in enumerate(sigma):
        if m:
            raised: dict[str, Polynomial] = {}
            for used, polynomial in power.items():
                for subset in subsets:
                    if not set(used) & set(subset):
                        union = "".join(sorted(used + subset))
                        for key, value in _times(polynomial, {((subset, label),): Fraction(1)}).items():
                            target = raised.setdefault(union, {})
                            target[key] = target.get(key, Fraction(0)) + value
            power = raised
        for key, value in power.get("".join(sorted(directions)), {}).items():
            result[key] = result.get(key, Fraction(0)) + coefficient * value
    return {key: value for key, value in result.items() if value}


def _times(left: Polynomial, right: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for a, x in left.items():
        for b, y in right.items():
            key = tuple(sorted(a + b))
            result[key] = result.get(key, Fraction(0)) + x * y
    return result


def _scaled(polynomial: Polynomial, factor: Fraction) -> Polynomial:
    return {key: factor * value for key, value in polynomial.items()}


def _entry(first: Jet, second: Jet) -> Entry:
    return (first, second) if first <= second else (second, first)


def _jet(word: str, inputs: Mapping[int, int]) -> Jet:
    letters = word.rstrip("0123456789")
    if not word[len(letters) :]:
        raise PdltError(f"Argument `spec`: {word!r} must be direction letters and a data label.")
    return "".join(sorted(letters)), inputs[int(word[len(letters) :])]


def _partitions(items: tuple) -> list[list[tuple]]:
    """Return all set partitions, items being told apart by their position."""
    found: list[list[tuple]] = [[]]
    for item in items:
        found = [
            p[:i] + [(*p[i], item)] + p[i + 1 :] if i < len(p) else [*p, (item,)]
            for p in found
            for i in range(len(p) + 1)
        ]
    return found
