"""Equations as sympy expressions: what a notebook shows and what people compute with.

Four small classes carry the notation: `Sigma(k, i)` is the k-th derivative of the activation at the preactivation
on input i, `Expectation(f, b1, b2)` is <d_b1 d_b2 f> under the leading kernel, `InputSum(f, b1, b2)` sums over the
distinct inputs that occur in the expectations, and tensors are indexed symbols such as V[1, 2, 3, 4].
"""

from itertools import count, product

import sympy

from pdlt.equations import PARAMETERS, Equation, Term, expand_terms, frame, variable
from pdlt.errors import PdltError

C_b, lambda_b, C_W, lambda_W, rho = PARAMETER_SYMBOLS = sympy.symbols(" ".join(PARAMETERS), positive=True)


class Sigma(sympy.Function):
    """Sigma(k, i): k-th derivative of the activation at the preactivation on input i."""

    nargs = 2

    def _latex(self, printer, exp=None):  # type: ignore[no-untyped-def]
        k, i = self.args
        primes = "'" * int(k) if k <= 3 else f"^{{({k})}}"
        text = rf"\sigma{primes}_{{{printer._print(i)}}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class Expectation(sympy.Function):
    """Expectation(f, b1, ..., bp): Gaussian expectation <d_b1 ... d_bp f> under the leading kernel K."""

    def _latex(self, printer, exp=None):  # type: ignore[no-untyped-def]
        f, *derivatives = self.args
        partial = "".join(rf"\partial_{{{printer._print(b)}}}" for b in derivatives)
        body = printer._print(f)
        inside = rf"{partial}\left({body}\right)" if partial and len(sympy.Mul.make_args(f)) > 1 else partial + body
        text = rf"\left\langle {inside}\right\rangle"
        return text if exp is None else rf"{text}^{{{exp}}}"


class InputSum(sympy.Function):
    """InputSum(f, b1, ..., bp): sum of f over every b_i running through the inputs that its expectations involve."""

    def _latex(self, printer, exp=None):  # type: ignore[no-untyped-def]
        f, *indices = self.args
        text = rf"\sum_{{{','.join(printer._print(b) for b in indices)}}} {printer._print(f)}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def left_hand_side(equation: Equation) -> sympy.Expr:
    """Return the tensor of the left-hand side, e.g. V[1, 2, 3, 4]."""
    return tensor_symbol(equation.name, equation.order, equation.labels)


def right_hand_side(equation: Equation) -> sympy.Expr:
    """Return the right-hand side in textbook form."""
    return sympy.Add(*(term_expression(term) for term in equation.terms))


def term_expression(term: Term) -> sympy.Expr:
    """Return one term; a sum over inputs stays an `InputSum` with indices beta_1, beta_2, ..."""
    derivatives: list[list[sympy.Symbol]] = [[] for _ in term.expectations]
    fresh = (sympy.Symbol(f"beta_{i}") for i in count(1))
    summed: list[sympy.Symbol] = []
    tensors = []
    for tensor in term.tensors:
        args = []
        for arg in tensor.args:
            if arg < 0:
                beta = next(fresh)
                summed.append(beta)
                derivatives[-1 - arg].append(beta)
                args.append(beta)
            else:
                args.append(arg)
        tensors.append(tensor_symbol(tensor.name, tensor.order, tuple(args)))
    averages = [
        Expectation(sympy.Mul(*(Sigma(k, i) for i, k in factors)), *b)
        for factors, b in zip(term.expectations, derivatives, strict=True)
    ]
    body = sympy.Mul(*averages, *tensors)
    return prefactor(term) * (InputSum(body, *summed) if summed else body)


def prefactor(term: Term) -> sympy.Expr:
    """Return the number and the powers of C_b, lambda_b, C_W, lambda_W and rho in front of a term."""
    powers = sympy.Mul(*(s**p for s, p in zip(PARAMETER_SYMBOLS, term.powers, strict=True)))
    return sympy.Rational(term.coefficient.numerator, term.coefficient.denominator) * powers


def tensor_symbol(name: str, order: int, args: tuple) -> sympy.Indexed:
    """Return an indexed symbol for a tensor coefficient, its name as stored in results."""
    return sympy.IndexedBase(variable(name, order))[args]


def expanded(equation: Equation) -> sympy.Expr:
    """Return the right-hand side with sums over inputs carried out and index symmetries used.

    A summation index of a tensor runs over the labels in the expectation it differentiates, so nothing but
    derivatives of the activation at the labels of the left-hand side is left. This is the canonical form in which
    two equations are compared.
    """
    return sympy.Add(
        *(
            weight * _powers(powers) * sympy.Mul(*map(_average, averages), *(tensor_symbol(*t) for t in tensors))
            for (powers, averages, tensors), weight in expand_terms(equation.terms).items()
        )
    )


def canonical(expression: sympy.Expr) -> sympy.Expr:
    """Return a formula written with the classes of this module in the form in which equal formulas are identical.

    Sums over inputs are carried out (an index runs over the labels of the expectation that it differentiates),
    derivatives are applied to the activations, tensor indices are ordered by the tensors' symmetries, and products
    are expanded. `canonical(equation.rhs)` equals `equation.expanded()`.

    Args:
        expression: a formula, for instance one typed from the literature. Tensors are `tensor_symbol(name, j, args)`.

    Raises:
        PdltError: if a tensor has the wrong number of indices.
    """
    summed = expression.replace(lambda e: isinstance(e, InputSum), _carry_out)
    applied = summed.replace(lambda e: isinstance(e, Expectation), _apply_derivatives)
    ordered = applied.replace(lambda e: isinstance(e, sympy.Indexed), _ordered_indices)
    return sympy.expand(ordered)


def _carry_out(total: InputSum) -> sympy.Expr:
    f, *indices = total.args
    ranges = []
    for index in indices:
        inside = {i for e in f.atoms(Expectation) if index in e.args[1:] for i in _labels(e)}
        ranges.append(sorted(inside))
    return sympy.Add(*(f.xreplace(dict(zip(indices, values, strict=True))) for values in product(*ranges)))


def _labels(expectation: Expectation) -> set[sympy.Integer]:
    return {sigma.args[1] for sigma in expectation.args[0].atoms(Sigma)}


def _apply_derivatives(expectation: Expectation) -> sympy.Expr:
    """Return an expectation with its derivatives carried out and everything linear pulled out of it."""
    f, *derivatives = expectation.args
    for label in derivatives:
        factors = {sigma: sympy.Dummy() for sigma in f.atoms(Sigma) if sigma.args[1] == label}
        names = {dummy: sigma for sigma, dummy in factors.items()}
        plain = f.xreplace(factors)
        f = sympy.Add(
            *(sympy.diff(plain, dummy) * Sigma(sigma.args[0] + 1, label) for sigma, dummy in factors.items())
        ).xreplace(names)
    terms = (term.as_independent(Sigma, as_Add=False) for term in sympy.Add.make_args(sympy.expand(f)))
    return sympy.Add(*(constant * (Expectation(rest) if rest != 1 else 1) for constant, rest in terms))


def _ordered_indices(tensor: sympy.Indexed) -> sympy.Indexed:
    name, _, order = str(tensor.base).partition("_")
    if len(tensor.indices) != len(frame(name).slots):
        raise PdltError(f"{tensor} has {len(tensor.indices)} indices, but {name} takes {len(frame(name).slots)}.")
    args = frame(name).canonical(tuple(int(i) for i in tensor.indices))
    return tensor_symbol(name, int(order or 0), args)


def _average(factors: tuple[tuple[int, int], ...]) -> sympy.Expr:
    return Expectation(sympy.Mul(*(Sigma(k, i) for i, k in factors)))


def _powers(powers: tuple[int, ...]) -> sympy.Expr:
    return sympy.Mul(*(s**p for s, p in zip(PARAMETER_SYMBOLS, powers, strict=True)))
