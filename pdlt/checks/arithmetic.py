"""Derived equations run in any arithmetic: rationals, mpmath, sympy. The slow twin of `pdlt.predict`.

The caller supplies the Gaussian expectations (see `pdlt.checks.gaussian`); here they are multiplied and added, term
by term, label by label, without arrays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from pdlt.equations import PARAMETERS, Equation, Theory, expand_terms

#: Values of one tensor: input indices, in the order of its axes -> number.
Values = dict[tuple[int, ...], Any]

#: Averages under a kernel: ((input, number of derivatives), ...) -> number.
Average = Callable[[tuple[tuple[int, int], ...]], Any]


def iterate(
    theory: Theory,
    kernel: Sequence[Sequence[Any]],
    tangent_kernel: Sequence[Sequence[Any]],
    averages: Callable[[Values], Average],
    layers: Iterable[Mapping[str, Any]],
) -> list[dict[str, Values]]:
    """Run a theory through the layers.

    Args:
        theory: the equations.
        kernel: K at layer 1, N by N, where it does not fluctuate.
        tangent_kernel: Theta at layer 1.
        averages: given the kernel of a layer, returns its Gaussian expectations.
        layers: for each step l to l+1 the values of C_b, lambda_b, C_W, lambda_W and rho = n_l / n_{l-1}.

    Returns:
        For each layer, from 1 on, a table of every tensor of the theory: key -> input indices -> value.
    """
    size = range(len(kernel))
    start = {"K": kernel, "Theta": tangent_kernel}
    state: dict[str, Values] = {}
    for e in theory:
        indices = product(size, repeat=len(e.labels))
        state[e.key] = {i: start[e.key][i[0]][i[1]] if e.key in start else 0 for i in indices}
    history = [state]
    expanded = {e.key: expand_terms(e.terms) for e in theory}
    for parameters in layers:
        average = _remembered(averages(state["K"]))
        factors = {key: _prefactors(terms, parameters) for key, terms in expanded.items()}
        state = {
            e.key: {i: _entry(e, i, factors[e.key], state, average) for i in product(size, repeat=len(e.labels))}
            for e in theory
        }
        history.append(state)
    return history


def single_input(
    equation: Equation,
    state: Mapping[str, Any],
    average: Callable[[tuple[int, ...], int], Any],
    parameters: Mapping[str, Any],
) -> Any:
    """Return the next value of a tensor when all its inputs are the same one.

    Args:
        equation: its recursion.
        state: the tensors at this layer, one number (or expression) each.
        average: (orders, p) -> the expectation of the p-th derivative of the product of sigma^(k), k in orders. The
            p derivatives act on the product as a whole, so kinks are no obstacle to what is well defined.
        parameters: C_b, lambda_b, C_W, lambda_W, rho.
    """
    total = 0
    for term in equation.terms:
        acting = [0] * len(term.expectations)
        for tensor in term.tensors:
            for arg in tensor.args:
                if arg < 0:
                    acting[-1 - arg] += 1
        value = _rational(term.coefficient, parameters) * _monomial(term.powers, parameters)
        for tensor in term.tensors:
            value = value * state[tensor.key]
        if value == 0:
            continue
        for factors, p in zip(term.expectations, acting, strict=True):
            value = value * average(tuple(sorted(k for _, k in factors)), p)
        total = total + value
    return total


def _entry(equation: Equation, inputs: tuple[int, ...], terms: list, state: dict[str, Values], average: Average) -> Any:
    place = dict(zip(equation.labels, inputs, strict=True))
    total: Any = 0
    for weight, averages, tensors in terms:
        value = weight
        for key, args in tensors:
            value = value * state[key][tuple(place[a] for a in args)]
            if value == 0:
                break
        else:
            for factors in averages:
                value = value * average(tuple(sorted((place[label], k) for label, k in factors)))
            total = total + value
    return total


def _prefactors(terms: dict, parameters: Mapping[str, Any]) -> list:
    from pdlt.equations import variable

    return [
        (
            _rational(weight, parameters) * _monomial(powers, parameters),
            averages,
            tuple((variable(name, order), args) for name, order, args in tensors),
        )
        for (powers, averages, tensors), weight in terms.items()
    ]


def _monomial(powers: tuple[int, ...], parameters: Mapping[str, Any]) -> Any:
    value: Any = 1
    for name, power in zip(PARAMETERS, powers, strict=True):
        value = value * parameters[name] ** power
    return value


def _rational(weight: Any, parameters: Mapping[str, Any]) -> Any:
    """Return a Fraction in the arithmetic of the parameters; mpf and Fraction do not mix."""
    import mpmath
    import sympy

    if any(isinstance(value, mpmath.mpf) for value in parameters.values()):
        return mpmath.mpf(weight.numerator) / weight.denominator
    if any(isinstance(value, sympy.Expr) for value in parameters.values()):
        return sympy.Rational(weight.numerator, weight.denominator)
    return weight


def _remembered(average: Average) -> Average:
    table: dict[tuple, Any] = {}

    def remembered(factors: tuple[tuple[int, int], ...]) -> Any:
        if factors not in table:
            table[factors] = average(factors)
        return table[factors]

    return remembered
