"""The safe expression grammar: text to sympy and back. Nothing is evaluated as Python.

    sum     := product (("+" | "-") product)*
    product := "-"* power (("*" | "/") power)*
    power   := "-" power | atom ["**" power]
    atom    := number | "pi" | "e" | variable | function "(" sum ")" | "(" sum ")"

There is exactly one variable, under any name that is not a function's. Exponents are numbers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import sympy as sp

from pdlt.activations import limits
from pdlt.activations.functions import BY_FUNCTION, PRIMITIVES, normal_cdf, sigmoid, z
from pdlt.activations.kinks import relu
from pdlt.activations.rejected import Rejected
from pdlt.errors import suggest

_CONSTANTS = {"pi": sp.pi, "e": sp.E, "E": sp.E}

FUNCTIONS: dict[str, Callable[[sp.Expr], sp.Expr]] = {
    **{row.name: row.function for row in PRIMITIVES if row.name != "heaviside"},
    "sqrt": sp.sqrt,
    "arctan": sp.atan,
    "arcsinh": sp.asinh,
    "logistic": sigmoid,
    "erfc": lambda u: 2 * normal_cdf(-sp.sqrt(2) * u),
    "gelu": lambda u: u * normal_cdf(u),
    "silu": lambda u: u * sigmoid(u),
    "swish": lambda u: u * sigmoid(u),
    "relu": relu,
    "abs": lambda u: relu(u) + relu(-u),
}
"""What may be called in an expression."""

_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<op>\*\*|[-+*/()])",
    re.ASCII,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(text: str) -> sp.Expr:
    """Return the sympy expression in z that a text of the grammar denotes.

    Kinks are left as they are written (`kinks.resolve` decides them), and the variable is renamed to z. A
    text without the variable gives a constant.

    Raises:
        Rejected: saying what is wrong and at which position (counted from 1).
    """
    if len(text) > limits.MAX_CHARACTERS:
        raise Rejected(f"it has {len(text)} characters; at most {limits.MAX_CHARACTERS} are accepted")
    return _Parser(_tokens(text)).parse()


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            hint = "; powers are written with **" if text[position] == "^" else ""
            raise Rejected(f"unexpected character {text[position]!r} at position {position + 1}{hint}")
        tokens.append(_Token(str(match.lastgroup), match.group(), position))
        position = match.end()
    tokens.append(_Token("end", "the end", len(text)))
    return tokens


class _Parser:
    """Recursive descent over the tokens; every expression built is checked against the limits at once."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.index = 0
        self.depth = 0
        self.variable: str | None = None
        self.sizes: dict[sp.Expr, int] = {}

    def parse(self) -> sp.Expr:
        expr = self.sum()
        if self.token.kind != "end":
            raise self.error("an operator")
        return expr

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def accept(self, *operators: str) -> str | None:
        if self.token.kind == "op" and self.token.text in operators:
            self.index += 1
            return self.tokens[self.index - 1].text
        return None

    def error(self, expected: str) -> Rejected:
        found = self.token
        return Rejected(f"expected {expected} but found {found.text} at position {found.position + 1}")

    def checked(self, position: int, build: Callable[[], sp.Expr]) -> sp.Expr:
        try:
            expr = build()
            limits.check(expr, self.sizes)
        except Rejected as problem:
            raise Rejected(f"{problem} (position {position + 1})") from None
        return expr

    def nested(self, rule: Callable[[], sp.Expr]) -> sp.Expr:
        self.depth += 1
        if self.depth > limits.MAX_DEPTH:
            raise Rejected(
                f"it is nested more than {limits.MAX_DEPTH} deep at position {self.token.position + 1}"
            )
        expr = rule()
        self.depth -= 1
        return expr

    def sum(self) -> sp.Expr:
        position = self.token.position
        terms = [self.product()]
        while operator := self.accept("+", "-"):
            term = self.product()
            terms.append(term if operator == "+" else -term)
        return self.checked(position, lambda: sp.Add(*terms))

    def product(self) -> sp.Expr:
        position = self.token.position
        # One n-ary product, sign included: sympy multiplies a sum out when it meets a number alone with it.
        sign = sp.Integer(1)
        while self.accept("-"):
            sign = -sign
        factors = [sign, self.power()]
        while operator := self.accept("*", "/"):
            factor = self.power()
            factors.append(factor if operator == "*" else self.inverse(position, factor))
        return self.checked(position, lambda: sp.Mul(*factors))

    def inverse(self, position: int, expr: sp.Expr) -> sp.Expr:
        return self.checked(position, lambda: _power(expr, sp.Integer(-1)))

    def power(self) -> sp.Expr:
        position = self.token.position
        if self.accept("-"):
            return -self.nested(self.power)
        base = self.atom()
        if not self.accept("**"):
            return base
        exponent = self.nested(self.power)
        return self.checked(position, lambda: _power(base, exponent))

    def atom(self) -> sp.Expr:
        token = self.token
        self.index += 1
        if token.kind == "number":
            return self.checked(token.position, lambda: _number(token.text))
        if token.kind == "name":
            return self.name(token)
        if token.text == "(":
            return self.closed()
        self.index -= 1
        raise self.error("a number, the variable, a function or (")

    def closed(self) -> sp.Expr:
        expr = self.nested(self.sum)
        if not self.accept(")"):
            raise self.error(")")
        return expr

    def name(self, token: _Token) -> sp.Expr:
        if self.accept("("):
            if token.text not in FUNCTIONS:
                raise Rejected(
                    f"unknown function {token.text} at position {token.position + 1}."
                    f"{suggest(token.text, FUNCTIONS)} Known functions are {', '.join(sorted(FUNCTIONS))}"
                )
            argument = self.closed()
            return self.checked(token.position, lambda: FUNCTIONS[token.text](argument))
        if token.text in FUNCTIONS:
            raise self.error(f"( after the function {token.text}")
        if token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        if self.variable not in (None, token.text):
            raise Rejected(
                f"exactly one variable is accepted, but there are {self.variable} and {token.text} "
                f"(position {token.position + 1})"
            )
        self.variable = token.text
        return z


def _number(text: str) -> sp.Rational:
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > 100 or len(exponent.lstrip("+-")) > 2:
        raise Rejected("numbers must be of moderate size")
    value = Fraction(text)
    return sp.Rational(value.numerator, value.denominator)


def _power(base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
    if base == sp.E and exponent != -1:
        return sp.exp(exponent)
    limits.check_exponent(exponent)
    if base.is_zero and exponent.is_negative:
        raise Rejected("division by zero")
    return base**exponent


def to_text(expr: sp.Expr) -> str:
    """Return a text of the grammar that `parse` (with kinks resolved) reads back as the same expression."""
    if expr.is_Add:
        first, *rest = (to_text(a) for a in expr.as_ordered_terms())
        return first + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in rest)
    if expr.is_Mul:
        return _product_text(expr)
    if expr.is_Rational:
        return str(expr.p) if expr.q == 1 else f"{expr.p}/{expr.q}"
    if expr.is_Pow:
        return _power_text(expr)
    if expr in (z, sp.pi):
        return str(expr)
    if expr == sp.E:
        return "e"
    if isinstance(expr, sp.Max):
        return f"relu({to_text(next(a for a in expr.args if a != 0))})"
    return f"{BY_FUNCTION[expr.func].name}({to_text(expr.args[0])})"


def _product_text(expr: sp.Mul) -> str:
    above, below = [], []
    coefficient, rest = expr.as_coeff_Mul()
    for factor in rest.as_ordered_factors():
        if factor.is_Pow and factor.exp.is_Rational and factor.exp < 0:
            below.append(_factor_text(1 / factor))
        else:
            above.append(_factor_text(factor))
    if abs(coefficient.p) != 1 or not above:
        above.insert(0, str(abs(coefficient.p)))
    if coefficient.q != 1:
        below.insert(0, str(coefficient.q))
    return ("-" if coefficient < 0 else "") + "*".join(above) + "".join(f"/{b}" for b in below)


def _power_text(expr: sp.Pow) -> str:
    if expr.exp.is_Rational and expr.exp < 0:
        return f"1/{_factor_text(1 / expr)}"
    if expr.exp == sp.Rational(1, 2):
        return f"sqrt({to_text(expr.base)})"
    exponent = to_text(expr.exp)
    base = f"({to_text(expr.base)})" if expr.base.is_Pow else _factor_text(expr.base)
    return f"{base}**{exponent if expr.exp.is_Integer else f'({exponent})'}"


def _factor_text(expr: sp.Expr) -> str:
    """Return text that may stand beside * and /."""
    compound = expr.is_Add or expr.is_Mul or (expr.is_Rational and (expr.q != 1 or expr < 0))
    return f"({to_text(expr)})" if compound else to_text(expr)
