"""The intermediate representation: equations between joint cumulants as plain, immutable, serialisable data.

Everything downstream of the derivation reads this and nothing else. A term is

    coefficient * C_b^. lambda_b^. C_W^. lambda_W^. rho^. * prod <prod sigma^(k)(z_label)> * prod tensors

with rho = n_l / n_{l-1}. A tensor's argument is a data label (an integer >= 0), or, if it is negative, a sum over
the inputs: argument -1 - e stands for a summation index beta together with a derivative d/dz_beta that acts inside
the e-th expectation of the same term. That is the textbook form, with no names for bound indices to clash.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from pdlt.errors import suggest
from pdlt.observables import NAMED, Observable, cumulant, identify

if TYPE_CHECKING:
    import sympy

#: The order of `Term.powers`.
PARAMETERS = ("C_b", "lambda_b", "C_W", "lambda_W", "rho")

#: Product of sigma^(k)(z_label) under a Gaussian expectation, as sorted (label, k) pairs.
Expectation = tuple[tuple[int, int], ...]


@dataclass(frozen=True, order=True)
class Tensor:
    """A coefficient of a joint cumulant at layer l: `order` 0 is the leading one, j the one suppressed by n^-j."""

    name: str
    order: int
    args: tuple[int, ...]

    @property
    def key(self) -> str:
        """The name of the variable, e.g. "V" or "K_1"."""
        return variable(self.name, self.order)


@dataclass(frozen=True)
class Term:
    """One term of a recursion; see the module's docstring."""

    coefficient: Fraction
    powers: tuple[int, int, int, int, int]
    expectations: tuple[Expectation, ...]
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Equation:
    """The recursion of one tensor: its value at layer l+1 from quantities at layer l.

    Attributes:
        name, order: which coefficient of which cumulant; together the key, e.g. "K_1".
        labels: the data labels of the left-hand side, in the order of the array's axes.
        spec: the joint cumulant of jets that the tensor is.
        terms: the right-hand side.
    """

    name: str
    order: int
    labels: tuple[int, ...]
    spec: str
    terms: tuple[Term, ...]

    @property
    def key(self) -> str:
        """The name of the variable, e.g. "V" or "K_1"."""
        return variable(self.name, self.order)

    @cached_property
    def lhs(self) -> "sympy.Expr":
        """The tensor at layer l+1 as a sympy expression, e.g. V[1, 2, 3, 4]."""
        from pdlt.symbolic.expressions import left_hand_side

        return left_hand_side(self)

    @cached_property
    def rhs(self) -> "sympy.Expr":
        """The right-hand side as a sympy expression in textbook form, sums over inputs kept."""
        from pdlt.symbolic.expressions import right_hand_side

        return right_hand_side(self)

    def expanded(self) -> "sympy.Expr":
        """Return the right-hand side with every sum over inputs carried out: no bound index is left."""
        from pdlt.symbolic.expressions import expanded

        return expanded(self)

    def __str__(self) -> str:
        from pdlt.export.plain import equation_to_text

        return equation_to_text(self)

    def __repr__(self) -> str:
        return f"<Equation {self.key} [{self.spec}], {len(self.terms)} terms>"

    def to_latex(self) -> str:
        """Return the equation as LaTeX: one line ready for `align`, or one per group of terms."""
        from pdlt.export.latex import equation_to_latex

        return equation_to_latex(self)

    def _repr_latex_(self) -> str:
        from pdlt.export.latex import equation_repr_latex

        return equation_repr_latex(self)


@dataclass(frozen=True)
class Theory:
    """A closed system of recursions for the requested observables, in an order in which they can be evaluated.

    Attributes:
        order: the power of 1/n to which the moments of the jet covariance are known.
        requested: names or specs of the observables that were asked for.
        equations: every equation needed, each once.
        activation: the activation in the safe expression grammar, or None if sigma is left arbitrary.
        version: the pdlt version that derived it.
    """

    order: int
    requested: tuple[str, ...]
    equations: tuple[Equation, ...]
    activation: str | None = None
    version: str = field(default="", compare=False)

    def __getitem__(self, key: str | Observable) -> Equation:
        """Return an equation by key ("V", "K_1"), by spec ("a1 a2 | b3 b4") or by observable."""
        by_key = {equation.key: equation for equation in self.equations}
        if isinstance(key, str) and key in by_key:
            return by_key[key]
        if isinstance(key, Observable) or "|" in key:
            item = cumulant(key) if isinstance(key, str) else key
            key = identify(item.slots)[0].name
            if key in by_key:
                return by_key[key]
        raise KeyError(f"{key!r} is not in this theory.{suggest(key, by_key)} It holds {', '.join(by_key)}.")

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<Theory of {', '.join(self.requested)} at order {self.order}: {', '.join(self.keys())}>"

    def __iter__(self) -> Iterator[Equation]:
        return iter(self.equations)

    def __len__(self) -> int:
        return len(self.equations)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the equations, e.g. ("K", "V", "K_1")."""
        return tuple(equation.key for equation in self.equations)

    def to_json(self) -> str:
        """Return the theory as JSON; `Theory.from_json` restores an equal one."""
        from pdlt.schema import encode

        return encode(self)

    @staticmethod
    def from_json(text: str) -> "Theory":
        """Return the theory written by `to_json`. The text is parsed and checked, never evaluated.

        Raises:
            PdltError: if the text is not JSON of the schema "pdlt.theory/1".
        """
        from pdlt.schema import decode

        return decode(text)

    def to_latex(self) -> str:
        """Return all equations as a LaTeX fragment, one align environment each."""
        from pdlt.export.latex import to_latex

        return to_latex(self)

    def to_text(self) -> str:
        """Return all equations as plain text, with a line on how to read them."""
        from pdlt.export.plain import to_text

        return to_text(self)

    def to_mathematica(self) -> str:
        """Return all equations as a Mathematica list of rules."""
        from pdlt.export.mathematica import to_mathematica

        return to_mathematica(self)

    def to_jax(self) -> str:
        """Return the source of a standalone module that imports only jax and numpy."""
        from pdlt.export.jax_module import to_jax

        return to_jax(self)

    def _repr_latex_(self) -> str:
        return "$\\begin{aligned}" + "\\\\[4pt]\n".join(e.to_latex() for e in self.equations) + "\\end{aligned}$"


def variable(name: str, order: int) -> str:
    """Return the name under which a coefficient is stored: V for the leading one, V_1, V_2, ... after it."""
    return name if order == 0 else f"{name}_{order}"


def frame(name: str) -> Observable:
    """Return the observable whose index order the equations named `name` use."""
    return NAMED[name] if name in NAMED else cumulant(name)


#: (powers, expectations as sorted (label, k) pairs, tensors as (name, order, args)) -> coefficient
Expanded = dict[tuple, Fraction]


def expand_terms(terms: tuple[Term, ...]) -> Expanded:
    """Carry out the sums over inputs; equal terms are collected with the tensors' index symmetries."""
    result: Expanded = {}
    for term in terms:
        for positions, args in bindings(term):
            averages = []
            for factors, labels in zip(term.expectations, positions, strict=True):
                extra = Counter(labels)
                averages.append(tuple((label, k + extra[label]) for label, k in factors))
            tensors = tuple(
                sorted((t.name, t.order, frame(t.name).canonical(a)) for t, a in zip(term.tensors, args, strict=True))
            )
            key = (term.powers, tuple(sorted(averages)), tensors)
            result[key] = result.get(key, Fraction(0)) + term.coefficient
    return {key: weight for key, weight in result.items() if weight}


def bindings(term: Term) -> Iterator[tuple[list[list[int]], list[tuple[int, ...]]]]:
    """Yield every value of a term's summation indices.

    Yields:
        The labels that differentiate each expectation, and the arguments of each tensor.
    """
    bound = [arg for tensor in term.tensors for arg in tensor.args if arg < 0]
    ranges = [[label for label, _ in term.expectations[-1 - arg]] for arg in bound]
    for values in itertools.product(*ranges):
        chosen = iter(values)
        positions: list[list[int]] = [[] for _ in term.expectations]
        args = []
        for tensor in term.tensors:
            new = []
            for arg in tensor.args:
                if arg < 0:
                    label = next(chosen)
                    positions[-1 - arg].append(label)
                    new.append(label)
                else:
                    new.append(arg)
            args.append(tuple(new))
        yield positions, args


def driving_order(equations: Iterable[Equation]) -> list[Equation]:
    """Return the equations such that each comes after those whose tensors drive it, and after the kernel's."""
    waiting = {(e.name, e.order): e for e in equations}
    kernel = ("K", 0)  # the Gaussian of every expectation
    needs = {
        key: {kernel, *((t.name, t.order) for term in e.terms for t in term.tensors)} & waiting.keys() - {key}
        for key, e in waiting.items()
    }
    return [waiting[key] for key in TopologicalSorter(needs).static_order()]
