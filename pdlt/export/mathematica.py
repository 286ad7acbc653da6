"""Equations as Mathematica rules.

Sums over inputs are carried out, so that nothing but tensors, parameters and elementary expectations is left, and
every name starts with a lower-case letter or is one of CW, Cb: single capitals such as D and K belong to the system.
"""

from collections.abc import Sequence
from fractions import Fraction

from pdlt.equations import Expanded, Theory, expand_terms
from pdlt.export.about import about
from pdlt.observables import NAMED, Observable, cumulant

#: The order of `Term.powers`.
_PARAMETERS = ("Cb", "lambdab", "CW", "lambdaW", "rho")

_CONVENTIONS = """\
next[t] -> rhs gives the tensor t at layer l+1 in terms of the tensors, all without next, at layer l.
avg[{{i, p}, {j, q}, ...}] is the Gaussian expectation of sigma^(p)(z_i) sigma^(q)(z_j) ... under the leading kernel
tK; i, j, ... are data indices. rho = n_l/n_(l-1); CW, Cb, lambdaW, lambdab are those of layer l+1.
tV is the leading coefficient of V, tV1, tV2, ... the next ones: at width n = n_(l-1) the kernel is tK + tK1/n + ...,
and a joint cumulant of m components is n^(1-m) times its series. A cumulant without a name in the literature is
kappa followed by its components: X starts a component, Y separates its two slots, lower-case letters are auxiliary
directions, 0 is a plain preactivation, and a final Z1, Z2, ... counts the coefficient.
At layer 1, tK[1,2] = Cb + CW x1.x2/n_0 and tTheta[1,2] = lambdab + lambdaW x1.x2/n_0; all other tensors vanish.
Use: tV[1,2,3,4] at the next layer is next[tV[1,2,3,4]] /. pdltTheory."""


def to_mathematica(theory: Theory) -> str:
    """Return the theory as Mathematica source: comments, `pdltTheory = {next[...] -> ..., ...}` and the activation."""
    provenance = about(theory)
    comments = [f"(* {line} *)" for line in [provenance.sentence, *_CONVENTIONS.splitlines()]]
    rules = []
    for equation in theory:
        left = _tensor(equation.name, equation.order, equation.labels)
        rules.append(f"  next[{left}] ->\n    {_sum(expand_terms(equation.terms))}")
    blocks = ["\n".join(comments), "pdltTheory = {\n" + ",\n".join(rules) + "\n};"]
    if provenance.activation is not None:
        blocks.append(f"pdltActivation = Function[z, {_activation(provenance.activation)}];")
    return "\n\n".join(blocks) + "\n"


def tensor_name(name: str, order: int) -> str:
    """Return the Mathematica symbol of a tensor's coefficient, e.g. tK1 or kappaX0Y0X0Y0X0Y0."""
    if name in NAMED:
        return f"t{name}" + (str(order) if order else "")
    item: Observable = cumulant(name)
    pairs = zip(item.slots[::2], item.slots[1::2], strict=True)
    return "kappa" + "".join(f"X{a or 0}Y{b or 0}" for a, b in pairs) + (f"Z{order}" if order else "")


def _sum(terms: Expanded) -> str:
    """Return one term a line; lines end with the operator, so that no parser takes a line for complete."""
    text = ""
    for key, weight in terms.items():
        sign = "-" if weight < 0 else "+"
        text += f" {sign}\n    " if text else sign.removeprefix("+")
        text += _term(abs(weight), *key)
    return text or "0"


def _term(weight: Fraction, powers: Sequence[int], averages: Sequence[tuple], tensors: Sequence[tuple]) -> str:
    factors = [] if weight == 1 else [str(weight)]
    factors += [s if p == 1 else f"{s}^{p}" for s, p in zip(_PARAMETERS, powers, strict=True) if p]
    factors += [_average(sigmas) for sigmas in averages]
    factors += [_tensor(*tensor) for tensor in tensors]
    return "*".join(factors) or "1"


def _average(sigmas: Sequence[tuple[int, int]]) -> str:
    return f"avg[{{{', '.join(f'{{{label}, {k}}}' for label, k in sigmas)}}}]"


def _tensor(name: str, order: int, args: Sequence[int]) -> str:
    return f"{tensor_name(name, order)}[{', '.join(map(str, args))}]"


def _activation(text: str) -> str:
    from sympy import mathematica_code

    from pdlt.activations import activation

    return str(mathematica_code(activation(text).elementary()))
