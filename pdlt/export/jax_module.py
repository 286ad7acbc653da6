"""A theory as one standalone Python module that needs only jax and numpy.

The layer's recursion is printed, an equation above each tensor; what evaluates Gaussian expectations and runs the
layers is copied from the package (`embed`), choosing the method that suits the activation.
"""

import hashlib
import json
import textwrap
from collections.abc import Sequence
from fractions import Fraction

from pdlt.activations import Activation
from pdlt.activations import activation as resolve
from pdlt.codegen.program import Average, Product, Program, lower
from pdlt.equations import PARAMETERS, Equation, Theory, variable
from pdlt.errors import PdltError
from pdlt.export.about import About, about
from pdlt.export.embed import embed
from pdlt.export.plain import CONVENTIONS, equation_to_text
from pdlt.numerics.backends import ErrorFunction, PiecewiseLinear, Polynomial, Trigonometric, choose
from pdlt.observables import identify, observable

#: Modules that may be copied from, each after the ones that it needs.
SOURCES = (
    "pdlt._jax",
    "pdlt.export.standalone_activation",
    "pdlt.numerics.rules",
    "pdlt.numerics.quadrature",
    "pdlt.numerics.orthant",
    "pdlt.numerics.piecewise_linear",
    "pdlt.numerics.error_function",
    "pdlt.numerics.trigonometric",
    "pdlt.numerics.backends",
    "pdlt.codegen.execute",
    "pdlt.export.standalone",
)

_STANDALONE = "pdlt.export.standalone"
_ACTIVATION = "pdlt.export.standalone_activation"

#: The package's activations know sympy; the exported module has functions.
_STAND_INS = {("pdlt.activations", "Activation"): (_ACTIVATION, "Activation")}

#: One character per data label, so that labels can be written side by side.
_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"

_WIDTH = 110


def to_jax(theory: Theory) -> str:
    """Return the source of a module with a function `predict` that runs the theory and imports only jax and numpy.

    Run as a script it prints a table. With an activation in the theory its derivatives are printed and the
    expectations use the method that `pdlt.predict` would; without, `predict` takes any scalar JAX function.

    Raises:
        PdltError: if the theory is not closed: a tensor on a right-hand side has no equation, or K is missing.
    """
    provenance = about(theory)
    _require_closed(theory)
    activation = None if provenance.activation is None else resolve(provenance.activation)
    program = lower(theory, single=False, kinked=activation is not None and not activation.is_smooth)
    constructor, roots = _backend(activation, program)
    imports, copied = embed(
        [(_STANDALONE, name) for name in ("System", "Axes", "evaluate", "command_line")] + roots, SOURCES, _STAND_INS
    )
    parts = [
        f"{_docstring(provenance)}\n\n{imports}",
        _provenance(provenance, theory),
        copied,
        f"# {'-' * 108}\n# Generated from the theory.",
        *([_derivatives(activation, program)] if activation is not None and "ACTIVATION" in constructor else []),
        _system(theory, program),
        _predict(activation, constructor),
        _main(activation),
    ]
    return "\n\n\n".join(parts) + "\n"


def _require_closed(theory: Theory) -> None:
    keys = set(theory.keys())
    needed = {"K"} | {tensor for _, tensor, _ in _outputs(theory)}
    needed |= {tensor.key for equation in theory for term in equation.terms for tensor in term.tensors}
    if needed - keys:
        missing = ", ".join(sorted(needed - keys))
        raise PdltError(f"Argument `theory` must be a closed system, but has no equation for {missing}.")
    if any(not 0 <= label < len(_CHARACTERS) for equation in theory for label in equation.labels):
        raise PdltError(f"Argument `theory` must have data labels below {len(_CHARACTERS)} to be printed as a module.")


def _backend(activation: Activation | None, program: Program) -> tuple[str, list[tuple[str, str]]]:
    """Return the expression that makes the backend for a number of `inputs`, and the definitions it needs."""
    backends = "pdlt.numerics.backends"
    if activation is None:
        return "smooth(automatic(sigma), SYSTEM, inputs)", [(_STANDALONE, "smooth"), (_ACTIVATION, "automatic")]
    match choose(activation, 1, program.averages):
        case PiecewiseLinear(slopes=slopes):
            return f"PiecewiseLinear(slopes={slopes!r}, pointwise=pointwise)", [(backends, "PiecewiseLinear")]
        case Trigonometric(phase):
            return f"Trigonometric({phase})", [(backends, "Trigonometric")]
        case ErrorFunction():
            return "ErrorFunction()", [(backends, "ErrorFunction")]
        case Polynomial():
            return "Polynomial(ACTIVATION)", [(backends, "Polynomial")]
        case _:
            return "smooth(ACTIVATION, SYSTEM, inputs)", [(_STANDALONE, "smooth")]


def _docstring(provenance: About) -> str:
    activation = f"Activation: {provenance.activation}." if provenance.activation else "For any smooth activation."
    lines = [
        "Finite-width theory of a multilayer perceptron at initialisation: one standalone module.",
        "",
        *textwrap.wrap(f"{provenance.sentence} {activation}", _WIDTH),
        "",
        "Needs jax and numpy. `predict` is the function to call; `python FILE --help` shows what the script does.",
        "",
        "How to read the equations above each tensor:",
        *CONVENTIONS.splitlines(),
    ]
    return '"""' + "\n".join(lines) + '\n"""'


def _provenance(provenance: About, theory: Theory) -> str:
    activation = "None" if provenance.activation is None else _quoted(provenance.activation)
    return "\n".join(
        [
            "#: What made this module. The hash is of the theory's JSON (`Theory.to_json`).",
            "PROVENANCE = {",
            f'    "pdlt": {_quoted(provenance.version)},',
            f'    "order": {provenance.order},',
            f'    "observables": {_quoted(list(provenance.requested))},',
            f'    "activation": {activation},',
            f'    "theory_sha256": "{hashlib.sha256(theory.to_json().encode()).hexdigest()}",',
            "}",
        ]
    )


def _derivatives(activation: Activation, program: Program) -> str:
    """Return the activation's derivatives as functions, and the tuple that collects them."""
    highest = max(k for average in program.averages for _, orders in average for k in orders)
    parts = []
    for k in range(highest + 1):
        text = activation.jax_source(k)
        body = f"    return {text}"
        if len(body) > _WIDTH:
            wrapped = textwrap.wrap(text, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
            body = "    return (\n" + "\n".join(f"        {line}" for line in wrapped) + "\n    )"
        parts.append(f'def sigma_{k}(z):\n    """Return sigma{_primes(k)}(z)."""\n{body}')
    names = ", ".join(f"sigma_{k}" for k in range(highest + 1)) + ("," if highest == 0 else "")
    degree = activation.polynomial_degree
    arguments = "DERIVATIVES.__getitem__" + ("" if degree is None else f", {degree}")
    parts.append(f"DERIVATIVES = ({names})\nACTIVATION = Activation({arguments})")
    return "\n\n\n".join(parts)


def _primes(k: int) -> str:
    return "'" * k if k <= 3 else f"^({k})"


def _system(theory: Theory, program: Program) -> str:
    """Return the printed layer and the System that describes it."""
    names = {key: name for key, name in zip(program.keys, _names(program.keys), strict=True)}
    averages = [_average_name(average) for average in program.averages]
    body = [
        f"def layer(state, averages, {', '.join(PARAMETERS)}):",
        '    """Return the tensors at layer l+1 from those at layer l, each of shape (N,) * rank.',
        "",
        "    E_... are the expectations: digits are the orders of sigma's derivatives, one per data label; d<p> in",
        "    front of s<k> means p derivatives of the whole factor. at(X, labels) lays X along the output's axes.",
        '    """',
        *_unpack(list(names.values()), "state"),
        *_unpack(averages, "averages"),
    ]
    for equation, update in zip(theory.equations, program.updates, strict=True):
        label = [_CHARACTERS[a] for a in equation.labels]
        body += ["", *(f"    # {line}" for line in equation_to_text(equation, _WIDTH).splitlines())]
        body += _closest_comment(equation, names)
        body += [f'    at = Axes("{"".join(label)}")', f"    new_{names[equation.key]} = ("]
        terms = [_product(product, label, averages, list(names.values())) for product in update.products]
        body += [*(f"        {term}" for term in terms or ["0.0"]), "    )"]
    body += ["    return (", *(f"        new_{name}," for name in names.values()), "    )"]
    wanted = "\n".join(f"    {average!r},  # {name}" for average, name in zip(program.averages, averages, strict=True))
    tensors = "\n".join(f"    ({_quoted(update.key)}, {update.rank})," for update in program.updates)
    outputs = "\n".join(f"    ({_quoted(n)}, {_quoted(t)}, {axes})," for n, t, axes in _outputs(theory))
    return "\n\n\n".join(
        [
            "\n".join(body),
            f"#: One entry (outer derivatives, orders of sigma) per data label.\nAVERAGES = (\n{wanted}\n)",
            f"#: Name and rank of every tensor.\nTENSORS = (\n{tensors}\n)",
            f"#: What `predict` returns: name, tensor, order of its axes.\nOUTPUTS = (\n{outputs}\n)",
            "SYSTEM = System(layer, AVERAGES, TENSORS, OUTPUTS)",
        ]
    )


def _closest_comment(equation: Equation, names: dict[str, str]) -> list[str]:
    name = names[equation.key]
    return [] if name == equation.key else [f"    # Here {' '.join(equation.key.split())} is called {name}."]


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value)


def _names(keys: Sequence[str]) -> list[str]:
    """Return Python names for tensors; cumulants without a name become kappa_a, kappa_b, ..., coefficients after it."""
    letters: dict[str, str] = {}
    names = []
    for key in keys:
        if "|" not in key:
            names.append(key)
            continue
        base, _, order = key.partition("_")
        letter = letters.setdefault(base, _letters(len(letters)))
        names.append(variable(f"kappa_{letter}", int(order or 0)))
    return names


def _letters(number: int) -> str:
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def _unpack(names: list[str], source: str) -> list[str]:
    one_line = f"    {', '.join(names)}{',' if len(names) == 1 else ''} = {source}"
    if len(one_line) <= _WIDTH:
        return [one_line]
    wrapped = textwrap.wrap(", ".join(names) + ",", _WIDTH - 8, break_long_words=False)
    return ["    (", *(f"        {line}" for line in wrapped), f"    ) = {source}"]


def _average_name(average: Average) -> str:
    """Return a name for an expectation: E_012 is <sigma sigma' sigma''>, E_d2s0_d0s1 has outer derivatives."""
    if all(outer == 0 and len(orders) == 1 and orders[0] < 10 for outer, orders in average):
        return "E_" + "".join(str(orders[0]) for _, orders in average)
    return "E_" + "_".join(f"d{outer}s{'s'.join(map(str, orders))}" for outer, orders in average)


def _product(product: Product, labels: list[str], averages: list[str], tensors: list[str]) -> str:
    """Return one term of the sum: sign, number, parameters and arrays laid along the output's axes."""
    weight = Fraction(product.coefficient).limit_denominator(10**9)
    if float(weight) != product.coefficient:
        weight = Fraction(product.coefficient)
    size = abs(weight)
    factors = [] if size == 1 else [str(size) if size.denominator == 1 else f"{size.numerator} / {size.denominator}"]
    factors += [s if p == 1 else f"{s}**{p}" for s, p in zip(PARAMETERS, product.powers, strict=True) if p]
    for view in product.views:
        name = (averages if view.kind == "average" else tensors)[view.index]
        factors.append(f'at({name}, "{"".join(labels[axis] for axis in view.axes)}")')
    return f"{'-' if weight < 0 else '+'} {' * '.join(factors) or '1.0'}"


def _outputs(theory: Theory) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, tensor and axes of every coefficient that was requested."""
    outputs = []
    for name in theory.requested:
        item = observable(name)
        base, feed = identify(item.slots)
        # Axis d of the tensor holds slot feed[d]; a spec's axes are its slots in the order written.
        named = item.name == base.name
        axes = tuple(range(len(feed))) if named else tuple(feed.index(slot) for slot in range(len(feed)))
        for j in range(theory.order - item.leading_order + 1):
            outputs.append((variable(name, j), variable(base.name, j), axes))
    return outputs


def _predict(activation: Activation | None, constructor: str) -> str:
    extra, about = "", []
    if activation is None:
        extra = ", sigma=None"
        about = ["        sigma: the activation, a scalar JAX function; derivatives are taken by nested jax.grad."]
    elif not activation.is_smooth:
        extra = ", pointwise=False"
        about = [
            "        pointwise: drop the Dirac atoms of sigma'' from products, as automatic differentiation of a",
            "            sampled network does.",
        ]
    check = ["    if sigma is None:", '        raise TypeError("Argument `sigma` must be a scalar JAX function.")']
    return "\n".join(
        [
            f"def predict(x, depth, width, C_b=0.0, C_W=1.0, lambda_b=0.0, lambda_W=1.0, rtol=1e-8{extra}):",
            '    """Return the coefficients of the 1/n expansion at every layer of a network.',
            "",
            "    Args:",
            "        x: inputs, shape (N, n_0).",
            "        depth: number L of weight layers.",
            "        width: hidden width, or the L - 1 hidden widths n_1, ..., n_{L-1}.",
            "        C_b, C_W: variances at initialisation, one number or one per layer; weights have C_W / n_{l-1}.",
            "        lambda_b, lambda_W: learning-rate scales, one number or one per layer.",
            "        rtol: relative accuracy wanted of the Gaussian expectations.",
            *about,
            "",
            "    Returns:",
            "        One array of shape (L, N, ..., N) per name: K, K_1, ..., layer 1 first.",
            '    """',
            *(check if activation is None else []),
            '    scales = {"C_b": C_b, "C_W": C_W, "lambda_b": lambda_b, "lambda_W": lambda_W}',
            f"    return evaluate(SYSTEM, lambda inputs: {constructor}, x, depth, width, scales, rtol)",
        ]
    )


def _main(activation: Activation | None) -> str:
    extra = ", sigma=jnp.tanh" if activation is None else ""
    return f'if __name__ == "__main__":\n    command_line(predict, PROVENANCE{extra})'
