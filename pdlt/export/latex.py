r"""Equations as LaTeX, in the notation of the book.

Tensors carry the layer and, below the leading order, the power of 1/n as superscripts: K^{\{1\}(\ell)} is the
coefficient that the package calls K_1. Only amsmath is needed.
"""

import re
from collections.abc import Sequence

from pdlt.equations import Equation, Tensor, Theory, frame
from pdlt.export.about import about
from pdlt.export.layout import Bracket, Group, Item, Weighted, arrange, divided, powers_of

#: Tensors whose index pairs the literature puts in parentheses: V_{(12)(34)}.
PAIRED = frozenset({"V", "A"})

#: What fits on a line of the standalone document, in letters of normal size.
LINE_WIDTH = 82.0

#: A left-hand side wider than this stands on a line of its own.
WIDE = 14.0

_PARAMETERS = ("C_b", r"\lambda_b", "C_W", r"\lambda_W")
_RHO = r"\frac{n_\ell}{n_{\ell-1}}"

CONVENTIONS = r"""Tensors on the left are at layer $\ell+1$, those on the right at layer $\ell$; $n_\ell$ is the width
of layer $\ell$, and $C_b$, $C_W$, $\lambda_b$, $\lambda_W$ are those of layer $\ell+1$. Brackets
$\langle\,\cdot\,\rangle$ are Gaussian expectations under the leading kernel $K^{(\ell)}$, with
$\sigma_1 = \sigma(z_1)$, $\sigma'_1 = \sigma'(z_1)$ and so on; digits are data indices. Indices $\beta$ are summed
over the distinct inputs, and $\partial_\beta = \partial/\partial z_\beta$ acts on every factor of its bracket with
that input. Every tensor is a coefficient: at width $n = n_{\ell-1}$ of layer $\ell$ the kernel is
$K + K^{\{1\}}/n + K^{\{2\}}/n^2 + \cdots$, a joint cumulant of $m$ components of the empirical covariance
$\widehat G$ is $n^{1-m}$ times the series of its coefficients, for instance $(V + V^{\{1\}}/n + \cdots)/n$.
At the first layer $K^{(1)}_{12} = C_b + C_W\, x_1\cdot x_2/n_0$ and
$\Theta^{(1)}_{12} = \lambda_b + \lambda_W\, x_1\cdot x_2/n_0$; all other tensors vanish there."""


def equation_to_latex(equation: Equation) -> str:
    r"""Return an equation as the inside of an `align` environment: lines with `&`, separated by `\\`.

    A short equation is one line; of a longer one, every group of terms with a common prefactor is one.
    """
    left = _tensor(Tensor(equation.name, equation.order, equation.labels), r"(\ell+1)")
    wide = width(left) > WIDE
    room = LINE_WIDTH - (4 if wide else width(left) + 4)
    groups = arrange(equation)
    lines = [_line(group) for group in groups]
    if sum(map(width, lines)) <= room:
        lines = [" ".join(lines)]
    else:
        lines = [_line(part) for group in groups for part in _divided(group, room)]
    first, *rest = lines
    start = f"&{left} \\\\\n&\\quad =" if wide else f"{left} &="
    return " \\\\\n".join([f"{start} {first.removeprefix('+ ')}", *(rf"&\quad {line}" for line in rest)])


def equation_repr_latex(equation: Equation) -> str:
    """Return an equation for display in a notebook."""
    return f"$\\displaystyle\\begin{{aligned}}\n{equation_to_latex(equation)}\n\\end{{aligned}}$"


def to_latex(theory: Theory) -> str:
    """Return all equations as a LaTeX fragment (amsmath), one align environment each, conventions in comments."""
    provenance = about(theory)
    header = [f"% {provenance.sentence}"]
    if provenance.activation is not None:
        header.append(f"% Activation: {provenance.activation}")
    header += [f"% {line}" for line in CONVENTIONS.splitlines()]
    blocks = [f"\\begin{{align*}}\n{equation_to_latex(equation)}\n\\end{{align*}}" for equation in theory]
    return "\n".join([*header, *blocks]) + "\n"


def document(theory: Theory) -> str:
    """Return a standalone LaTeX document with the conventions and all equations."""
    provenance = about(theory)
    names = ", ".join(f"${_name(equation.name, equation.order)}$" for equation in theory)
    activation = "" if provenance.activation is None else rf" for $\sigma$ = \verb|{provenance.activation}|"
    origin = f"Derived by pdlt {provenance.version}{activation}: {names}."
    return standalone(f"Recursions to order {theory.order} in $1/n$", origin, CONVENTIONS, to_latex(theory))


def standalone(title: str, origin: str, conventions: str, formulas: str) -> str:
    """Return a complete LaTeX document."""
    return "\n".join(
        [
            r"\documentclass[a4paper]{article}",
            r"\usepackage[margin=2cm]{geometry}",
            r"\usepackage{amsmath}",
            r"\allowdisplaybreaks",
            r"\setlength{\parindent}{0pt}",
            r"\begin{document}",
            rf"\section*{{{title}}}",
            origin,
            "",
            conventions,
            "",
            formulas + r"\end{document}",
            "",
        ]
    )


def width(latex: str) -> float:
    """Estimate the printed width of a formula in letters; subscripts and superscripts count as smaller ones."""
    text = re.sub(r"\\(left|right|widehat|,|quad)", "", latex)
    text = re.sub(r"\\sum", "SS", text)
    fraction = r"\\frac\{((?:[^{}]|\{[^{}]*\})*)\}\{((?:[^{}]|\{[^{}]*\})*)\}"
    text = re.sub(fraction, lambda m: max(m[1], m[2], key=width), text)
    text = re.sub(r"\\[A-Za-z]+|\\[{}]", "x", text)
    # A subscript below a superscript takes no width of its own.
    text = re.sub(r"\^\{([^{}]*)\}_\{([^{}]*)\}", lambda m: "_{" + max(m[1], m[2], key=len) + "}", text)
    small = sum(len(re.sub(r"[_^{} ]", "", m[0])) for m in re.finditer(r"[_^](\{[^{}]*\}|.)", text))
    total = len(re.sub(r"[_^{} ]", "", text))
    return total - 0.4 * small


def _divided(group: Group, room: float) -> list[Group]:
    room -= width(_prefactor(group)) + 3
    tensors = max(width(_tensors(item)) for item in group.items)
    return divided(
        group,
        lambda product: width(_signed(product)) / max(room - tensors, 20.0),
        lambda item: (width(_item(item)) + 2) / room,
    )


def _line(group: Group) -> str:
    """Return a group with its sign in front."""
    body = " + ".join(map(_item, group.items))
    if len(group.items) > 1:
        body = rf"\left\{{ {body} \right\}}"
    factors = [factor for factor in (_prefactor(group), body) if factor]
    return f"{'-' if group.coefficient < 0 else '+'} {' '.join(factors) or '1'}"


def _item(item: Item) -> str:
    body = " ".join(map(_signed, item.combination)).removeprefix("+ ")
    if len(item.combination) > 1:
        body = rf"\left[ {body} \right]"
    return f"{_tensors(item)} {body}".strip()


def _tensors(item: Item) -> str:
    text = " ".join(_with_power(_tensor(t, r"(\ell)"), power) for t, power in powers_of(item.free))
    if item.indices:
        text += rf" \sum_{{{_betas(range(1, item.indices + 1))}}} "
        text += " ".join(_tensor(t, r"(\ell)") for t in item.bound)
    return text.strip()


def _signed(product: Weighted) -> str:
    """Return a product of expectations with its coefficient and sign; the empty product is an empty text."""
    weight, brackets = product
    size = abs(weight)
    # A combination has no common factor, so its weights are integers.
    number = "" if size == 1 else f"{size} "
    return f"{'-' if weight < 0 else '+'} {number}{''.join(map(_bracket, brackets))}"


def _prefactor(group: Group) -> str:
    size = abs(group.coefficient)
    symbols = [_with_power(s, p) for s, p in zip(_PARAMETERS, group.powers[:4], strict=True) if p]
    above = symbols if size.numerator == 1 else [str(size.numerator), *symbols]
    rho = _with_power(_RHO, group.powers[4]) if group.powers[4] else ""
    if size.denominator == 1:
        return " ".join([rho, *above]).strip()
    return rho + rf"\frac{{{' '.join(above) or '1'}}}{{{size.denominator}}}"


def _with_power(text: str, power: int) -> str:
    if power == 1:
        return text
    simple = re.fullmatch(r"\\?\w+", text)
    return (text if simple else rf"\left({text}\right)") + f"^{_braced(str(power))}"


def _bracket(bracket: Bracket) -> str:
    body = " ".join(_sigma(label, k) for label, k in bracket.sigmas)
    if bracket.derivatives:
        partial = _partial(bracket.derivatives)
        body = rf"{partial}({body})" if len(bracket.sigmas) > 1 else f"{partial}{body}"
    return rf"\langle {body} \rangle"


def _partial(numbers: Sequence[int]) -> str:
    if len(numbers) <= 2:
        return "".join(rf"\partial_{{{_beta(i)}}}" for i in numbers)
    return rf"\partial^{{{len(numbers)}}}_{{{_betas(numbers)}}}"


def _betas(numbers: Sequence[int]) -> str:
    """Return several summation indices, a long run of consecutive ones as first and last."""
    if len(numbers) > 3 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return rf"{_beta(numbers[0])}\ldots{_beta(numbers[-1])}"
    return "".join(map(_beta, numbers))


def _sigma(label: int, k: int) -> str:
    primes = "'" * k if k <= 3 else f"^{{({k})}}"
    return rf"\sigma{primes}_{_braced(str(label))}"


def _braced(text: str) -> str:
    return text if len(text) == 1 else f"{{{text}}}"


def _tensor(tensor: Tensor, layer: str) -> str:
    item = frame(tensor.name)
    if not item.latex:
        return _cumulant(item.slots, tensor.args, _order(tensor.order) + layer)
    if tensor.name in PAIRED:
        indices = "".join(f"({_indices(pair)})" for pair in zip(tensor.args[::2], tensor.args[1::2], strict=True))
    else:
        indices = _indices(tensor.args)
    return f"{item.latex}^{{{_order(tensor.order)}{layer}}}_{{{indices}}}"


def _cumulant(slots: Sequence[str], args: Sequence[int], superscript: str) -> str:
    names = [rf"{slot}\,{_index(arg)}" if slot else _index(arg) for slot, arg in zip(slots, args, strict=True)]
    components = [rf"\widehat{{G}}_{{{a},{b}}}" for a, b in zip(names[::2], names[1::2], strict=True)]
    return rf"\kappa^{{{superscript}}}\left({', '.join(components)}\right)"


def _name(name: str, order: int) -> str:
    item = frame(name)
    superscript = f"^{{{_order(order)}}}" if order else ""
    return f"{item.latex}{superscript}" if item.latex else _cumulant(item.slots, item.labels, _order(order))


def _order(order: int) -> str:
    return rf"\{{{order}\}}" if order else ""


def _indices(args: Sequence[int]) -> str:
    """Return indices side by side, with thin spaces where they would run into each other."""
    text = _index(args[0])
    for previous, arg in zip(args, args[1:], strict=False):
        apart = previous > 9 or arg > 9 or (previous < 0) != (arg < 0)
        text += (r"\," if apart else "") + _index(arg)
    return text


def _index(arg: int) -> str:
    return _beta(-arg) if arg < 0 else str(arg)


def _beta(number: int) -> str:
    return rf"\beta_{_braced(str(number))}"
