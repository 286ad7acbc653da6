"""Relative sizes of tensors as functions of depth: what `pdlt.scaling` returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import sympy as sp

from pdlt.errors import PdltError
from pdlt.predict.criticality import Criticality
from pdlt.symbolic.double_scaling import w as share

#: The depth.
ell = sp.Symbol("ell", positive=True)

#: Digits of coefficients that are not rational.
DIGITS = 15


class Contribution(NamedTuple):
    """coefficient * l^power * (log l)^logs."""

    power: Fraction
    logs: int
    coefficient: sp.Expr

    @property
    def expression(self) -> sp.Expr:
        """The contribution as an expression in `ell`."""
        return self.coefficient * ell ** exponent_of(self.power) * sp.log(ell) ** self.logs


@dataclass(frozen=True)
class Coupling:
    """A tensor relative to its natural size at large depth.

    Attributes:
        name: the coefficient, e.g. "V" or "K_1".
        natural: powers (alpha, beta): it is divided by K^alpha Theta^beta; coupling / n^order is the relative size at
            width n.
        order: the power of 1/n that goes with it.
        exponent: the tensor itself grows as l^exponent.
        terms: the coupling as a function of depth, dominant terms first; none if it vanishes. Complete if `exact`, else
            up to relative corrections of order 1/l. Coefficients are polynomials in the weights' share w of Theta and
            in constants that the first layers determine: c_K shifts the depth, c_Theta is the earliest layers' part of
            Theta.
        exact: whether `terms` is complete.
    """

    name: str
    natural: tuple[Fraction, Fraction]
    order: int
    exponent: Fraction
    terms: tuple[Contribution, ...]
    exact: bool

    @property
    def leading(self) -> Contribution:
        """The dominant term; zero if the coupling vanishes."""
        return self.terms[0] if self.terms else Contribution(Fraction(0), 0, sp.Integer(0))

    @property
    def series(self) -> sp.Expr:
        """The coupling as an expression in `ell`."""
        return sp.Add(*(term.expression for term in self.terms))

    @property
    def at_fixed_ratio(self) -> bool:
        """Whether coupling / n^order is a function of r = depth/width alone when both are large."""
        return self.leading.power == self.order and self.leading.logs == 0

    @property
    def ratio(self) -> str:
        """What is meant, in words of formulas: "V/(n K^2)"."""
        alpha, beta = self.natural
        above = [_power("K", -alpha)] if alpha < 0 else []
        below = [_power("n", Fraction(self.order))] + ([_power("K", alpha)] if alpha > 0 else [])
        below += [_power("Theta", beta)] if beta else []
        return f"{' '.join([self.name, *above])}/({' '.join(below)})"

    def to_latex(self) -> str:
        """Return tensor / (K^alpha Theta^beta) = series as one line for `align`, dominant terms first."""
        alpha, beta = (sp.Rational(power.numerator, power.denominator) for power in self.natural)
        tensor, *order = self.name.split("_")
        above = sp.latex(sp.Symbol(tensor)) + (rf"^{{\{{{order[0]}\}}}}" if order else "")
        below = sp.latex(sp.Symbol("K") ** alpha * sp.Symbol("Theta") ** beta)
        return rf"{above} \Big/ {below} &= {_latex_sum(self.terms, self.exact)}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; coefficients as text."""
        return {
            "ratio": self.ratio,
            "order": self.order,
            "exponent": float(self.exponent),
            "at_fixed_ratio": self.at_fixed_ratio,
            "exact": self.exact,
            "terms": [
                {"power": float(term.power), "logs": term.logs, "coefficient": str(term.coefficient)}
                for term in self.terms
            ],
        }


@dataclass(frozen=True)
class Scaling:
    """Relative sizes of tensors at large depth, at the critical initialisation of an activation.

    Attributes:
        criticality: the critical point, its class and exponents.
        regime: "at rest" (the kernel starts at its fixed point, series are exact) or "approach" (it flows there).
        learning_rates: how they depend on depth, in words.
        kernel_terms, theta_terms: K and Theta as functions of depth, dominant terms first; Theta in units in which its
            leading coefficient is one. The constants c_K and c_Theta are defined by these.
        couplings: by name.
        weights: the share w of the weights in Theta: the symbol, a number after `at_share`, None if it does not matter.
        limits: for the scale-invariant class, the couplings over n^order to all orders in 1/n when depth and width go
            to infinity at fixed ratio `r` (`pdlt.double_scaling`); empty otherwise.
        begins: the depth beyond which corrections of order 1/l are small, as far as the clock of the flow tells.
    """

    criticality: Criticality
    regime: str
    learning_rates: str
    kernel_terms: tuple[Contribution, ...]
    theta_terms: tuple[Contribution, ...]
    couplings: dict[str, Coupling]
    begins: float
    weights: sp.Expr | None = share
    limits: Mapping[str, sp.Expr] = field(default_factory=dict)

    @property
    def kernel(self) -> sp.Expr:
        """K as an expression in `ell`."""
        return sp.Add(*(term.expression for term in self.kernel_terms))

    @property
    def theta(self) -> sp.Expr:
        """Theta as an expression in `ell`."""
        return sp.Add(*(term.expression for term in self.theta_terms))

    def __getitem__(self, name: str) -> Coupling:
        return self.couplings[name]

    def to_latex(self) -> str:
        """Return all couplings as an align environment; each is to be divided by n^order."""
        means = [("K", self.kernel_terms), (r"\Theta", self.theta_terms)]
        head = [f"{name} &= {_latex_sum(terms, self.regime == 'at rest')}" for name, terms in means]
        lines = " \\\\\n".join([*head, *(coupling.to_latex() for coupling in self.couplings.values())])
        return f"\\begin{{align}}\n{lines}\n\\end{{align}}\n"

    def _repr_latex_(self) -> str:
        return "$" + self.to_latex().replace("{align}", "{aligned}").strip() + "$"

    def at_share(self, weights: Any) -> "Scaling":
        """Return the same for a given share of the weights in Theta.

        Args:
            weights: an exact number (int, Fraction, text such as "1/3") or a float from 0 to 1.

        Raises:
            PdltError: if it is not.
        """
        if self.weights != share:
            raise PdltError(
                "Argument `share` must be left out: "
                + ("nothing here depends on it." if self.weights is None else f"it is {self.weights} already.")
            )
        try:
            number = Fraction(str(weights))
        except (ValueError, ZeroDivisionError):
            number = Fraction(-1)
        if isinstance(weights, bool) or not 0 <= number <= 1:
            raise PdltError(f"Argument `share` must be a number from 0 to 1, but got {weights!r}.")
        value = {share: sp.Rational(number.numerator, number.denominator)}
        couplings = {}
        for name, coupling in self.couplings.items():
            couplings[name] = replace(coupling, terms=_at(coupling.terms, value))
        limits = {name: _factored(limit.xreplace(value)) for name, limit in self.limits.items()}
        theta = _at(self.theta_terms, value)
        return replace(self, theta_terms=theta, couplings=couplings, weights=value[share], limits=limits)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "schema": "pdlt.scaling/1",
            "activation": self.criticality.activation.to_text(),
            "universality_class": self.criticality.universality_class,
            "regime": self.regime,
            "learning_rates": self.learning_rates,
            "C_b": self.criticality.C_b,
            "C_W": self.criticality.C_W,
            "kernel": str(self.kernel),
            "theta": str(self.theta),
            "begins": self.begins,
            "share": None if self.weights is None else str(self.weights),
            "limits": {name: str(limit) for name, limit in self.limits.items()},
            "couplings": {name: coupling.to_dict() for name, coupling in self.couplings.items()},
        }


def _at(terms: tuple[Contribution, ...], value: dict[sp.Symbol, sp.Expr]) -> tuple[Contribution, ...]:
    numbers = [(term, sp.expand(term.coefficient.xreplace(value))) for term in terms]
    return tuple(term._replace(coefficient=number) for term, number in numbers if number)


def _factored(limit: sp.Expr) -> sp.Expr:
    """Return a sum of exponentials with each coefficient factored; the exponentials are left alone."""
    terms = []
    for term in sp.Add.make_args(limit):
        coefficient, exponential = term.as_independent(sp.exp, as_Add=False)
        terms.append(sp.factor(coefficient) * exponential)
    return sp.Add(*terms)


def _latex_sum(terms: tuple[Contribution, ...], exact: bool) -> str:
    parts = [sp.latex(term.expression) for term in terms] or ["0"]
    text = parts[0] + "".join(f" {part}" if part.startswith("-") else f" + {part}" for part in parts[1:])
    return text if exact else text + r" + \dots"


def exponent_of(power: Fraction) -> sp.Expr:
    """Return an exponent in a form to read: exact, or to fifteen digits."""
    exact = sp.Rational(power.numerator, power.denominator)
    return exact if power.denominator < 1000 else sp.Float(exact, DIGITS)


def _power(symbol: str, power: Fraction) -> str:
    return symbol if power == 1 else f"{symbol}^{power}"
