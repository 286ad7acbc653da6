"""What `pdlt.closed_form` returns: formulas in depth, with the assumptions under which they hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import sympy

from pdlt.equations import variable
from pdlt.errors import suggest
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W
from pdlt.symbolic.homogeneous import A_2, K, ell, layer, normalised, power_sum

#: The widths, when they are not equal: n[l] neurons in layer l.
widths = sympy.IndexedBase("n", positive=True)


@dataclass(frozen=True)
class ClosedForm:
    """A coefficient of the 1/n expansion as a function of depth.

    Attributes:
        name, order: which coefficient of which cumulant, as in `pdlt.equations.Equation`.
        expression: the formula, in which the symbols that `ClosedForms.definitions` defines may occur.
    """

    name: str
    order: int
    expression: sympy.Expr

    @property
    def key(self) -> str:
        """The name of the variable, e.g. "V" or "K_1"."""
        return variable(self.name, self.order)


@dataclass(frozen=True, eq=False, repr=False)
class ClosedForms(Mapping[str, sympy.Expr]):
    """Closed forms in depth for one input: an immutable mapping from keys ("V", "K_1") to sympy expressions.

    `forms["V"]` is in ell, K (the kernel of layer 1), the parameters and, for unequal widths, n[m]. Exports print the
    shorter formulas of `forms.forms` and the definitions beside them.

    Attributes:
        forms: the formulas, in the order of the keys.
        definitions: chi = C_W A_2 (off criticality) and power sums of inverse widths, as far as they occur.
        activation: in the safe expression grammar, or None for any scale-invariant one.
        second_moment: A_2 = (a_+^2 + a_-^2) / 2, a number or the symbol.
        order: the power of 1/n to which the moments of the jet covariance are known.
        critical: whether C_W = 1 / A_2.
        equal_widths: whether all hidden layers have the same width.
        version: the pdlt version that solved the recursions.
    """

    forms: tuple[ClosedForm, ...]
    definitions: Mapping[sympy.Symbol, sympy.Expr]
    activation: str | None
    second_moment: sympy.Expr
    order: int
    critical: bool
    equal_widths: bool
    version: str

    def __getitem__(self, key: str) -> sympy.Expr:
        if key not in self._expressions:
            known = ", ".join(self._expressions)
            raise KeyError(f"{key!r} is not among the closed forms.{suggest(str(key), self)} They are {known}.")
        return self._expressions[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._expressions)

    def __len__(self) -> int:
        return len(self._expressions)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<ClosedForms for {self.activation or 'any slopes'} at order {self.order}: {', '.join(self)}>"

    @cached_property
    def _expressions(self) -> dict[str, sympy.Expr]:
        return {form.key: form.expression.xreplace(dict(self.definitions)) for form in self.forms}

    @property
    def parameters(self) -> tuple[sympy.Symbol, ...]:
        """What the formulas depend on, in this order: ell, K and, as far as they occur, C_W, lambdas, A_2, a_4, ...

        Widths are not listed.
        """
        free = set().union(*(e.free_symbols for e in self._expressions.values()))
        optional = (C_W, lambda_b, lambda_W, A_2, *normalised(self.order).values())
        return (ell, K, *(symbol for symbol in optional if symbol in free))

    def to_latex(self) -> str:
        """Return the formulas as a LaTeX fragment (amsmath), with the assumptions in comments."""
        from pdlt.export.closed_forms import to_latex

        return to_latex(self)

    def to_mathematica(self) -> str:
        """Return the formulas as a Mathematica list of rules."""
        from pdlt.export.closed_forms import to_mathematica

        return to_mathematica(self)

    def to_jax(self) -> str:
        """Return the source of a standalone module that imports only jax: one function per formula."""
        from pdlt.export.closed_forms import to_jax

        return to_jax(self)

    def to_json(self) -> str:
        """Return the formulas as JSON of the schema "pdlt.closed-forms/1": texts, with the meaning of every symbol."""
        from pdlt.export.closed_forms import to_json

        return to_json(self)

    def to_text(self) -> str:
        """Return the formulas as plain text, with the assumptions in front."""
        from pdlt.export.closed_forms import to_text

        return to_text(self)

    def _repr_latex_(self) -> str:
        from pdlt.export.closed_forms import notebook

        return notebook(self)


def power_sums(forms: Sequence[ClosedForm], order: int) -> dict[sympy.Symbol, sympy.Expr]:
    """Return p_r = n_1^-r + ... + n_(ell-1)^-r for those that occur."""
    free = set().union(*(form.expression.free_symbols for form in forms))
    return {
        power_sum(r): sympy.Sum(widths[layer] ** -r, (layer, 1, ell - 1))
        for r in range(1, order + 1)
        if power_sum(r) in free
    }
