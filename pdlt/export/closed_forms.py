"""Closed forms in depth as text: LaTeX, Mathematica, JSON, plain text; the JAX module is in `closed_forms_jax`.

Every export states what holds only under assumptions: one input, C_b = 0, the same C_W in every layer, pointwise
derivatives at kinks, and what a coefficient is a coefficient of.
"""

import json
import textwrap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import sympy
from sympy.printing.mathematica import MCodePrinter

from pdlt.equations import frame, variable
from pdlt.export.closed_forms_about import assumptions, meanings, sentence
from pdlt.export.closed_forms_jax import to_jax
from pdlt.export.latex import LINE_WIDTH, standalone, width
from pdlt.export.mathematica import tensor_name
from pdlt.symbolic.closed_forms import ClosedForm, ClosedForms

__all__ = ["FORMATS", "SCHEMA", "document", "notebook", "to_jax", "to_json", "to_latex", "to_mathematica", "to_text"]

SCHEMA = "pdlt.closed-forms/1"

_COLUMNS = 110

#: Sums of many short terms are wider than their letters: signs have spaces around them.
_ROOM = 0.82 * LINE_WIDTH


def to_text(forms: ClosedForms) -> str:
    """Return the formulas as plain text, with the assumptions in front."""
    lines = [sentence(forms), ""]
    for statement in assumptions(forms):
        lines += textwrap.wrap(statement, _COLUMNS, subsequent_indent="  ")
    lines.append("")
    lines += [f"{symbol} = {_plain(value)}" for symbol, value in forms.definitions.items()]
    for form in forms.forms:
        name = form.name if "|" not in form.name else f"kappa({form.name})"
        text = f"{variable(name, form.order)}(ell) = {_plain(form.expression)}"
        lines += textwrap.wrap(text, _COLUMNS, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def _plain(expression: sympy.Expr) -> str:
    return str(expression).replace("**", "^")


def to_json(forms: ClosedForms) -> str:
    """Return the formulas as strict JSON: texts in sympy's syntax, assumptions, and the meaning of every symbol."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "version": forms.version,
        "activation": forms.activation,
        "order": forms.order,
        "critical": forms.critical,
        "equal_widths": forms.equal_widths,
        "assumptions": list(assumptions(forms)),
        "symbols": meanings(forms),
        "definitions": {str(symbol): str(value) for symbol, value in forms.definitions.items()},
        "formulas": {form.key: str(form.expression) for form in forms.forms},
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


_MATHEMATICA_NAMES = {
    "K": "kernel",
    "C_W": "CW",
    "lambda_b": "lambdab",
    "lambda_W": "lambdaW",
    "A_2": "secondMoment",
}


class _Mathematica(MCodePrinter):
    """Sums and widths as Mathematica writes them, under names that are free there."""

    def _print_Symbol(self, symbol: sympy.Symbol) -> str:
        return _MATHEMATICA_NAMES.get(symbol.name, symbol.name.replace("_", ""))

    def _print_Indexed(self, item: sympy.Indexed) -> str:
        return f"{item.base}[{', '.join(map(self._print, item.indices))}]"

    def _print_Sum(self, total: sympy.Sum) -> str:
        index, first, last = total.limits[0]
        return f"Sum[{self._print(total.function)}, {{{', '.join(map(self._print, (index, first, last)))}}}]"


def to_mathematica(forms: ClosedForms) -> str:
    """Return Mathematica source: comments, and the lists of rules `pdltDefinitions` and `pdltClosedForms`."""
    code = _Mathematica()
    names = {"kernel": "the kernel of layer 1", "CW": "C_W", "lambdab": "lambda_b", "lambdaW": "lambda_W"}
    names |= {"secondMoment": "A_2", "a4, a6, ...": "A_4/A_2^2, A_6/A_2^3, ..."}
    comments = [
        sentence(forms),
        *assumptions(forms),
        "Names: " + "; ".join(f"{name} is {meaning}" for name, meaning in names.items()) + "; n[m] is n_m.",
        "tV is the leading coefficient of V, tV1, tV2, ... the next ones; a cumulant without a name is kappa followed",
        "by X and Y before the directions of each component's two slots, and Z before the number of the coefficient.",
        "Use: tV /. pdltClosedForms /. pdltDefinitions",
    ]
    blocks = ["\n".join(f"(* {line} *)" for comment in comments for line in textwrap.wrap(comment, _COLUMNS))]
    definitions = [f"{code.doprint(symbol)} -> {code.doprint(value)}" for symbol, value in forms.definitions.items()]
    rules = [f"{tensor_name(form.name, form.order)} -> {code.doprint(form.expression)}" for form in forms.forms]
    for name, entries in (("pdltDefinitions", definitions), ("pdltClosedForms", rules)):
        blocks.append(f"{name} = {{" + ",".join(f"\n  {entry}" for entry in entries) + "\n};")
    return "\n\n".join(blocks) + "\n"


def _conventions(forms: ClosedForms) -> str:
    """Return the assumptions as LaTeX."""
    if forms.activation is None:
        activation = r"any activation $\sigma(z) = a_+ z$ for $z > 0$, $a_- z$ for $z < 0$,"
    else:
        second = sympy.latex(forms.second_moment)
        activation = rf"the activation \verb|{forms.activation}|, for which $A_2 = {second}$,"
    variance = r"$C_W = 1/A_2$ (critical)" if forms.critical else r"$C_W \neq 1/A_2$"
    sizes = "All hidden layers have the same width."
    if not forms.equal_widths:
        sizes = r"The width of hidden layer $m$ is $n_m$."
    text = rf"""One input, {activation} $C_b = 0$ and {variance}; $C_W$, $\lambda_b$ and $\lambda_W$ are the same in
every layer. Here $A_m = (a_+^m + a_-^m)/2$ and $a_m = A_m/A_2^{{m/2}}$; on the right $K$ is the kernel of layer 1.
{sizes} Derivatives at a kink are pointwise: Dirac atoms are dropped from products of derivatives. Every tensor is a
coefficient: with $n = n_{{\ell-1}}$ the kernel is $K + K^{{\{{1\}}}}/n + K^{{\{{2\}}}}/n^2 + \cdots$, and a joint
cumulant of $m$ components of the empirical covariance $\widehat G$ is $n^{{1-m}}$ times the series of its
coefficients, for instance $(V + V^{{\{{1\}}}}/n + \cdots)/n$. Formulas hold for $\ell = 1, 2, \ldots$"""
    return "\n".join(textwrap.wrap(text, _COLUMNS, break_long_words=False, break_on_hyphens=False))


def to_latex(forms: ClosedForms) -> str:
    """Return the formulas as a LaTeX fragment (amsmath), with the assumptions in comments."""
    header = [f"% {line}" for line in (sentence(forms), *_conventions(forms).splitlines())]
    blocks = [f"\\begin{{align*}}\n{lines}\n\\end{{align*}}" for lines in _formulas(forms)]
    return "\n".join([*header, *blocks]) + "\n"


def document(forms: ClosedForms) -> str:
    """Return a standalone LaTeX document with the assumptions and all formulas."""
    title = f"Closed forms in depth to order {forms.order} in $1/n$"
    return standalone(title, f"Derived by pdlt {forms.version}.", _conventions(forms), to_latex(forms))


def notebook(forms: ClosedForms) -> str:
    """Return the formulas for display in a notebook."""
    return "$\\displaystyle\\begin{aligned}\n" + " \\\\[4pt]\n".join(_formulas(forms)) + "\n\\end{aligned}$"


def _formulas(forms: ClosedForms) -> list[str]:
    r"""Return the inside of one `align` environment per definition and formula: lines with `&`, separated by `\\`."""
    pairs = [(sympy.latex(symbol), value) for symbol, value in forms.definitions.items()]
    pairs += [(_left(form), form.expression) for form in forms.forms]
    result = []
    for left, expression in pairs:
        first, *rest = _lines(expression, _ROOM - width(left) - 3)
        result.append(" \\\\\n".join([f"{left} &= {first}", *(rf"&\quad {line}" for line in rest)]))
    return result


def _left(form: ClosedForm) -> str:
    """Return the tensor at layer l; data indices are left out, since there is one input."""
    item = frame(form.name)
    superscript = (rf"\{{{form.order}\}}" if form.order else "") + r"(\ell)"
    if item.latex:
        return f"{item.latex}^{{{superscript}}}"
    slots = [slot or "0" for slot in item.slots]
    pairs = zip(slots[::2], slots[1::2], strict=True)
    components = ", ".join(rf"\widehat{{G}}_{{{a},{b}}}" for a, b in pairs)
    return rf"\kappa^{{{superscript}}}\left({components}\right)"


def _lines(expression: sympy.Expr, room: float) -> list[str]:
    """Return a formula as lines no wider than `room` letters, as far as it has sums that can be divided."""
    text = sympy.latex(expression)
    factors = sympy.Mul.make_args(expression)
    for total in (factor for factor in factors if isinstance(factor, sympy.Sum)):
        weight, inside = total.function.as_independent(sympy.Add, as_Add=False)
        if inside.is_Add:
            index, first, last = (sympy.latex(item) for item in total.limits[0])
            sign = rf"\sum_{{{index}={first}}}^{{{last}}}"
            return _bracketed(f"{sympy.latex(expression / total)} {sign} {sympy.latex(weight)}", inside, room)
    if width(text) <= room:
        return [text]
    if expression.is_Add:
        return _packed([_lines(term, room - 1) for term in expression.as_ordered_terms()], room)
    sums = [factor for factor in factors if factor.is_Add]
    if not sums:
        return [text]
    widest = max(sums, key=lambda factor: width(sympy.latex(factor)))
    return _bracketed(sympy.latex(expression / widest), widest, room)


def _bracketed(prefix: str, inside: sympy.Expr, room: float) -> list[str]:
    prefix = {"1": "", "-1": "-"}.get(prefix, prefix)
    start = min(width(prefix) + 1, room / 2)
    first, *rest = _lines(inside, room - start - 2)
    lines = [rf"{prefix} \Bigl[ {first}", *(rf"\quad {line}" for line in rest)]
    return [*lines[:-1], rf"{lines[-1]} \Bigr]"]


def _packed(terms: list[list[str]], room: float) -> list[str]:
    """Return the sum of terms, each given as lines: as many on a line as fit."""
    result: list[str] = []
    for lines in terms:
        head = lines[0] if not result or lines[0].startswith("-") else f"+ {lines[0]}"
        if result and width(result[-1] + head) <= room and len(lines) == 1:
            result[-1] += f" {head}"
        else:
            result.append(head)
        result += lines[1:]
    return result


#: Suffix of a file -> function that writes closed forms in that format.
FORMATS: Mapping[str, Callable[[ClosedForms], str]] = MappingProxyType(
    {
        ".tex": document,
        ".json": to_json,
        ".m": to_mathematica,
        ".wl": to_mathematica,
        ".py": to_jax,
        ".txt": to_text,
    }
)
