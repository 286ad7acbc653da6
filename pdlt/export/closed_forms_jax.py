"""Closed forms in depth as a standalone module that imports only jax: one function per formula."""

import json
import textwrap

import sympy
from sympy.printing.str import StrPrinter

from pdlt.export.closed_forms_about import assumptions, meanings, sentence
from pdlt.export.mathematica import tensor_name
from pdlt.symbolic.closed_forms import ClosedForm, ClosedForms, widths
from pdlt.symbolic.homogeneous import ell

_WIDTH = 110

_HELPERS = '''\
def at_every_depth(formula):
    """Let a formula that is written for one depth take an array of depths; the other arguments are as they are."""

    @functools.wraps(formula)
    def function(ell, *arguments, **named):
        depths = jnp.asarray(ell, dtype=float)
        return jnp.vectorize(lambda depth: formula(depth, *arguments, **named))(depths)

    return function
'''

_SUMS = '''\
def fan_in(ell, n):
    """Return n_(ell-1), the width that the coefficients of layer ell refer to; nan unless 1 <= ell <= len(n) + 1."""
    sizes = jnp.concatenate([jnp.ones(1), jnp.asarray(n, dtype=float)])
    index = jnp.clip(ell - 1, 0, sizes.size - 1).astype(int)
    return jnp.where((ell >= 1) & (ell <= sizes.size), sizes[index], jnp.nan)


def over_layers(summand, ell, n):
    """Return the sum of summand(m, n_m) over the hidden layers m = 1, ..., ell - 1."""
    sizes = jnp.asarray(n, dtype=float)
    m = jnp.arange(1, sizes.size + 1, dtype=float)
    return jnp.sum(jnp.where(m < ell, summand(jnp.minimum(m, ell), sizes), 0.0))
'''


class _Python(StrPrinter):
    """Python source; a sum over layers becomes a call of `over_layers`, and n[ell - 1] is called n_last."""

    printmethod = "_pdlt_python"  # not sympy's `_sympystr`, with which a width would print itself

    def _print_Sum(self, total: sympy.Sum) -> str:
        return f"over_layers(lambda m, n_m: {self._print(total.function)}, ell, n)"

    def _print_Indexed(self, item: sympy.Indexed) -> str:
        return "n_last" if item == widths[ell - 1] else "n_m"


def to_jax(forms: ClosedForms) -> str:
    """Return the source of a module with one function of depth and parameters per formula, all with one signature.

    `FUNCTIONS` maps the keys ("V", "1 2 | 3 4 | 5 6_1") to the functions. A function takes the parameters as numbers,
    the hidden widths (if they enter) as an array, and `ell` as a number or an array of any shape.
    """
    described = meanings(forms)
    arguments = [str(symbol) for symbol in forms.parameters]
    lines = [sentence(forms)]
    for statement in assumptions(forms):
        lines += ["", *textwrap.wrap(statement, _WIDTH)]
    lines += ["", "Arguments of every function:"]
    lines += [f"    {name}: {described[name]}" for name in arguments]
    if not forms.equal_widths:
        arguments.append("n")
        lines.append("    n: widths n_1, n_2, ... of the hidden layers; at least ell - 1 of them")
    lines += ["", "Numbers have jax's precision: single, unless the program that imports this enables x64."]
    if not forms.critical:
        lines += ["Terms cancel where C_W A_2 is near 1, in proportion to the powers of chi - 1 in the denominators."]
    names = {form.key: function_name(form) for form in forms.forms}
    table = "\n".join(f"    {json.dumps(key)}: {name}," for key, name in names.items())
    parts = [
        '"""' + "\n".join(lines) + '\n"""\n\nimport functools\n\nimport jax.numpy as jnp',
        _HELPERS.rstrip(),
        *([] if forms.equal_widths else [_SUMS.rstrip()]),
        *(_function(form, forms, arguments) for form in forms.forms),
        f"#: The name of the coefficient in pdlt -> the function.\nFUNCTIONS = {{\n{table}\n}}",
    ]
    return "\n\n\n".join(parts) + "\n"


def function_name(form: ClosedForm) -> str:
    """Return the Python name of a formula: V_1, or kappaX0Y0X0Y0X0Y0Z1 for a cumulant without a name."""
    return form.key if "|" not in form.name else tensor_name(form.name, form.order)


def _function(form: ClosedForm, forms: ClosedForms, arguments: list[str]) -> str:
    used = form.expression.free_symbols
    body = [f"    {s} = {_source(value)}" for s, value in forms.definitions.items() if s in used]
    if form.expression.has(widths[ell - 1]):
        body.insert(0, "    n_last = fan_in(ell, n)")
    result = f"    return {_source(form.expression)}" if form.expression else "    return 0.0 * ell"
    if len(result) > _WIDTH:
        text = _source(form.expression)
        wrapped = textwrap.wrap(text, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
        result = "    return (\n" + "\n".join(f"        {line}" for line in wrapped) + "\n    )"
    heading = f'    """Return {" ".join(form.key.split())} at layer ell."""'
    signature = f"def {function_name(form)}({', '.join(arguments)}):"
    return "\n".join(["@at_every_depth", signature, heading, *body, result])


def _source(expression: sympy.Expr) -> str:
    """Return Python source; numbers that are irrational or too large for an integer of jax are printed as floats."""
    numbers = expression.replace(lambda e: e.is_real and e.is_number and not e.is_Rational, lambda e: sympy.N(e, 17))
    large = {r: sympy.Float(r, 17) for r in numbers.atoms(sympy.Rational) if max(abs(r.p), r.q) >= 2**31}
    return str(_Python().doprint(numbers.xreplace(large)))
