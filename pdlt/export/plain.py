"""Equations as plain text, for a terminal and for comments in generated code.

V'[1,2,3,4] is the tensor at layer l+1, V[1,2,3,4] the one at layer l; <s_1 s'_2> is the Gaussian expectation of
sigma(z_1) sigma'(z_2) under K, d_b1 the derivative with respect to z_b1, and `sum` runs over b1, b2, ... .
"""

from collections.abc import Sequence

from pdlt.equations import PARAMETERS, Equation, Tensor, Theory, variable
from pdlt.export.about import about
from pdlt.export.layout import Bracket, Group, Item, Weighted, arrange, divided, powers_of

LINE_WIDTH = 110

CONVENTIONS = """\
X' is the tensor X at layer l+1, everything else is at layer l; rho = n_l / n_{l-1}, and C_b, C_W, lambda_b, lambda_W
are those of layer l+1. <...> is a Gaussian expectation under the leading kernel K, s_1 = sigma(z_1), s'_1 its
derivative; digits are data indices. Indices b are summed over the distinct inputs, and d_b = d/dz_b acts on every
factor of its bracket with that input. X_1, X_2, ... are the coefficients of the next powers of 1/n, n = n_{l-1}:
the kernel is K + K_1/n + ..., and a joint cumulant of m components, such as V with m = 2, is n^(1-m) times its series.
At layer 1, K = C_b + C_W x1.x2 / n_0 and Theta = lambda_b + lambda_W x1.x2 / n_0; all other tensors vanish."""


def equation_to_text(equation: Equation, line_width: int = LINE_WIDTH) -> str:
    """Return an equation as lines of text: one if it fits, else one for each group with a common prefactor."""
    left = _tensor(Tensor(equation.name, equation.order, equation.labels), prime="'")
    groups = arrange(equation)
    single = f"{left} = {' '.join(map(_line, groups)).removeprefix('+ ')}"
    if len(single) <= line_width:
        return single
    lines = [_line(part) for group in groups for part in _divided(group, line_width - 4)]
    return "\n".join([f"{left} =", *(f"    {line}" for line in lines)])


def to_text(theory: Theory) -> str:
    """Return all equations as text, with the conventions in front."""
    return "\n\n".join([about(theory).sentence, CONVENTIONS, *map(equation_to_text, theory)]) + "\n"


def _divided(group: Group, room: int) -> list[Group]:
    room -= len(_prefactor(group)) + 4
    tensors = max(len(_tensors(item)) for item in group.items)
    return divided(
        group,
        lambda product: (len(_signed(product)) + 1) / max(room - tensors - 2, 20),
        lambda item: (len(_item(item)) + 3) / room,
    )


def _line(group: Group) -> str:
    body = " + ".join(map(_item, group.items))
    if len(group.items) > 1:
        body = f"({body})"
    factors = [factor for factor in (_prefactor(group), body) if factor]
    return f"{'-' if group.coefficient < 0 else '+'} {' '.join(factors) or '1'}"


def _item(item: Item) -> str:
    body = " ".join(map(_signed, item.combination)).removeprefix("+ ")
    if len(item.combination) > 1:
        body = f"({body})"
    return f"{_tensors(item)} {body}".strip()


def _tensors(item: Item) -> str:
    words = [_with_power(_tensor(t), power) for t, power in powers_of(item.free)]
    if item.indices:
        words += ["sum", *map(_tensor, item.bound)]
    return " ".join(words)


def _signed(product: Weighted) -> str:
    weight, brackets = product
    number = "" if abs(weight) == 1 else f"{abs(weight)} "
    return f"{'-' if weight < 0 else '+'} {number}{' '.join(map(_bracket, brackets))}"


def _prefactor(group: Group) -> str:
    size = abs(group.coefficient)
    words = [] if size == 1 else [str(size)]
    return " ".join(words + [_with_power(s, p) for s, p in zip(PARAMETERS, group.powers, strict=True) if p])


def _with_power(text: str, power: int) -> str:
    return text if power == 1 else f"{text}^{power}"


def _bracket(bracket: Bracket) -> str:
    words = [f"d_b{i}" for i in bracket.derivatives]
    words += [f"s{_primes(k)}_{label}" for label, k in bracket.sigmas]
    return f"<{' '.join(words)}>"


def _primes(k: int) -> str:
    return "'" * k if k <= 3 else f"^({k})"


def _tensor(tensor: Tensor, prime: str = "") -> str:
    name = tensor.key if "|" not in tensor.name else variable(f"kappa({tensor.name})", tensor.order)
    return f"{name}{prime}[{_indices(tensor.args)}]"


def _indices(args: Sequence[int]) -> str:
    return ",".join(f"b{-a}" if a < 0 else str(a) for a in args)
