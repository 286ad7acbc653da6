"""What an export says about closed forms in depth: what they are, when they hold, what the symbols mean."""

from pdlt.symbolic.closed_forms import ClosedForms


def sentence(forms: ClosedForms) -> str:
    """Return one line that says what was derived by what."""
    names = ", ".join(dict.fromkeys(form.name for form in forms.forms))
    return f"Closed forms in depth, derived by pdlt {forms.version}: {names} to order {forms.order} in 1/n."


def assumptions(forms: ClosedForms) -> tuple[str, ...]:
    """Return the conditions under which the formulas hold, one sentence each, in plain characters."""
    if forms.activation is None:
        activation = "Activation: any with sigma(z) = a_+ z for z > 0 and a_- z for z < 0."
    else:
        activation = f"Activation: {forms.activation}, for which A_2 = {forms.second_moment}."
    if forms.critical:
        variance = "C_b = 0 and C_W = 1/A_2 (critical); lambda_b and lambda_W are the same in every layer."
    else:
        variance = "C_b = 0; C_W, lambda_b and lambda_W are the same in every layer, and C_W is not 1/A_2."
    return (
        activation,
        "One input: every data index refers to it.",
        variance,
        "All hidden layers have the same width." if forms.equal_widths else "Hidden widths n_1, n_2, ... of any size.",
        "Derivatives at a kink are pointwise: Dirac atoms are dropped from products of derivatives (for R, S, T, U).",
        "Coefficients, with n = n_(ell-1): the kernel is K + K_1/n + ..., a cumulant of m components is n^(1-m) times "
        "its series, as in (V + V_1/n + ...)/n. On the right, K is the kernel of layer 1. ell = 1, 2, ...",
    )


def meanings(forms: ClosedForms) -> dict[str, str]:
    """Return what each symbol means that occurs on a right-hand side."""
    table = {
        "ell": "layer, 1, 2, ...; preactivations of layer ell",
        "K": "kernel of layer 1, C_W x.x / n_0",
        "C_W": "variance of the weights times fan-in",
        "lambda_b": "learning-rate scale of the biases",
        "lambda_W": "learning-rate scale of the weights times fan-in",
        "A_2": "(a_+^2 + a_-^2) / 2, the slopes being a_+ and a_-",
    }
    found = {str(s): table[str(s)] if str(s) in table else _ratio(str(s)) for s in forms.parameters}
    if not forms.equal_widths:
        found |= {"n[m]": "width of hidden layer m", "m": "hidden layer before ell, summed over"}
    for symbol, value in forms.definitions.items():
        found[str(symbol)] = str(value)
    return found


def _ratio(name: str) -> str:
    m = name.removeprefix("a_")
    return f"A_{m} / A_2^{int(m) // 2}, A_{m} = (a_+^{m} + a_-^{m}) / 2"
