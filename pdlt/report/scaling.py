"""Depth-to-width scaling as text tables and a figure."""

from collections.abc import Iterable
from fractions import Fraction

import sympy as sp

from pdlt.predict.couplings import Contribution, Coupling, Scaling
from pdlt.report.tables import align
from pdlt.symbolic.double_scaling import reliable_ratio
from pdlt.symbolic.double_scaling import w as share

_RATES = {
    "equivalent": "all layers contribute equally to Theta",
    "constant": "the same lambda_b and lambda_W in all layers",
    "weights": "the same lambda_W in all layers, lambda_b = 0",
}
_REGIMES = {
    "at rest": "the kernel starts at its fixed point; series in the depth l are exact",
    "approach": "the kernel flows to its fixed point; series hold at large depth l",
}


#: Numerators and denominators from here on are not read but skipped.
_LONG = 10**5
#: Truncations whose reach is printed.
_ORDERS = (1, 2, 3)


def scaling_table(result: Scaling) -> str:
    """Return everything about one activation: class, learning rates, and a table of couplings."""
    c = result.criticality
    rows = [[x.ratio, _tensor(x), leading(x), _rest(x)] for x in result.couplings.values()]
    rest = result.regime == "at rest"
    lines = [
        f"{c.activation.to_text()}: universality class {c.universality_class}, C_b = {c.C_b:.12g}, C_W = {c.C_W:.12g}",
        f"regime {result.regime}: {_REGIMES[result.regime]}",
        *(
            [f"OF NO USE below depths well beyond {result.begins:.2g}: corrections are larger"]
            if result.begins > 100
            else []
        ),
        f"learning rates {result.learning_rates}: {_RATES[result.learning_rates]}",
        *([] if result.weights is None else [f"w = {_share(result.weights)}"]),
        "one input, equal widths n; r = l/n",
        f"K     = {_kernel(result)}",
        f"Theta = {_sum(_first(result.theta_terms), rest)}, in units of its leading coefficient",
        "",
        align(
            ["relative size", "tensor grows as", "at large depth", "next terms, to be divided by n^order"], rows, "<<<<"
        ),
    ]
    coefficients = [t.coefficient for x in result.couplings.values() for t in x.terms]
    coefficients += [t.coefficient for t in (*_first(result.kernel_terms), *_first(result.theta_terms))]
    symbols = sorted({s.name for coefficient in coefficients for s in coefficient.free_symbols})
    meanings = [meaning for meaning in map(_meaning, symbols) if meaning]
    lines += ["", *meanings] if meanings else []
    if result.limits:
        lines += ["", *_limits(result)]
    return "\n".join(lines)


def overview_table(results: Iterable[Scaling], markdown: bool = False) -> str:
    """Return one row per activation with the leading terms of all couplings."""
    table = [(result, {name: leading(coupling) for name, coupling in result.couplings.items()}) for result in results]
    names = list(table[0][1]) if table else []
    head = ["activation", "class", *names]
    rows = [
        [result.criticality.activation.to_text(), result.criticality.universality_class, *(cells[n] for n in names)]
        for result, cells in table
    ]
    if markdown:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return align(head, rows, "<" * len(head))


def leading(coupling: Coupling) -> str:
    """Return the leading term of a coupling over n^order, e.g. "5 r" or "0.0007 l^3/n"."""
    if not coupling.terms:
        return "0"
    term = coupling.leading
    number = _short(term.coefficient)
    if coupling.at_fixed_ratio:
        return _times(number, _power("r", Fraction(coupling.order)))
    return f"{_times(number, _depth(term))} / {_power('n', Fraction(coupling.order))}"


def _limits(result: Scaling) -> list[str]:
    shown = {name: limit for name, limit in result.limits.items() if result.weights != share or not limit.has(share)}
    rows = [[result[name].ratio, _text(_decimals(limit))] for name, limit in shown.items()]
    head = ["relative size", "all orders in 1/n, depth and width to infinity at fixed r"]
    lines = [align(head, rows, "<<")] if rows else []
    if len(shown) < len(result.limits):
        lines.append("The others depend on w: give a share (`--share 1`) to print them; --json has all of them.")
    if "V" in shown:
        reach = [f"{reliable_ratio('V', result.criticality.activation, order):.3g}" for order in _ORDERS]
        lines.append(f"Orders {', '.join(map(str, _ORDERS))} of V are within 10% of this up to r = {', '.join(reach)}.")
    return lines


def _tensor(coupling: Coupling) -> str:
    return _power("l", coupling.exponent) if coupling.terms else "-"


def _rest(coupling: Coupling) -> str:
    return _sum(coupling.terms[1:], coupling.exact)


def _sum(terms: Iterable[Contribution], exact: bool) -> str:
    parts = [_times(_short(term.coefficient), _depth(term)) for term in terms] + ([] if exact else ["..."])
    return " + ".join(parts).replace("+ -", "- ")


def _depth(term: Contribution) -> str:
    factors = [_power("l", term.power)] if term.power else []
    factors += [_power("log(l)", Fraction(term.logs))] if term.logs else []
    return " ".join(factors)


def _power(symbol: str, power: Fraction) -> str:
    shown = str(power) if power.denominator < 1000 else f"{float(power):.6g}"
    exponent = f"({shown})" if "/" in shown else shown
    return symbol if power == 1 else "1" if power == 0 else f"{symbol}^{exponent}"


def _times(number: str, factor: str) -> str:
    if not factor:
        return number
    if number in ("1", "-1"):
        return number[:-1] + factor
    return f"{number} {factor}"


def _short(value: sp.Expr) -> str:
    """Return a coefficient, sums in brackets; with six digits where it is not a short fraction."""
    shown = _decimals(value)
    if shown.is_Float:
        return f"{float(shown):.6g}"
    text = _text(shown)
    return f"({text})" if shown.is_Add else text


def _decimals(value: sp.Expr) -> sp.Expr:
    """Return an expression whose numbers are short: long fractions are multiplied out and become decimals."""
    if any(abs(x.p) >= _LONG or x.q >= _LONG for x in value.atoms(sp.Rational)):
        value = sp.expand(value)
        value = value.xreplace(
            {x: sp.Float(x, 6) for x in value.atoms(sp.Rational) if abs(x.p) >= _LONG or x.q >= _LONG}
        )
    return value.xreplace({x: sp.Float(x, 6) for x in value.atoms(sp.Float)})


def _text(expression: sp.Expr) -> str:
    return str(expression).replace("**", "^")


def _kernel(result: Scaling) -> str:
    if result.criticality.universality_class == "scale-invariant":
        return "any, the same in all layers"
    return _sum(_first(result.kernel_terms), result.regime == "at rest")


def _first(terms: tuple[Contribution, ...]) -> list[Contribution]:
    """Return the terms up to relative corrections of order 1/l."""
    return [term for term in terms if term.power >= terms[0].power - 1]


def _meaning(symbol: str) -> str:
    if symbol == "c_K":
        return "c_K: a shift of the depth, which the first layers determine; the series of K defines it"
    if symbol.startswith("c_"):
        return f"{symbol}: the part of {symbol[2:]} which the first layers determine"
    return "u: lambda_W/(C_W lambda_b)" if symbol == "u" else ""


def _share(weights: sp.Expr) -> str:
    meaning = "the weights' share of Theta"
    return f"{weights}, {meaning}" if weights.is_number else f"{meaning}, 1 - w that of the biases"
