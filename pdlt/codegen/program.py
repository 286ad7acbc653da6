"""Lowering: equations become array operations of one layer, still plain data.

Two readers share a `Program`: `codegen.execute` runs it on any array namespace, `export.jax_module` prints it.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from pdlt.equations import Equation, Term, Theory, bindings, frame, variable

#: The factors of one input inside an expectation: p derivatives of the product of sigma^(k) for k in the tuple.
AxisFactors = tuple[int, tuple[int, ...]]

#: An expectation as an array with one axis per distinct label.
Average = tuple[AxisFactors, ...]


@dataclass(frozen=True, order=True)
class View:
    """An array seen along the axes of the output: dimension d of array `index` lies along axis axes[d]."""

    kind: str  # "average" or "tensor"
    index: int
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """coefficient * C_b^. lambda_b^. C_W^. lambda_W^. rho^. * product of views, added to the output."""

    coefficient: float
    powers: tuple[int, int, int, int, int]
    views: tuple[View, ...]


@dataclass(frozen=True)
class Update:
    """The value of one tensor at the next layer."""

    key: str
    rank: int
    products: tuple[Product, ...]


@dataclass(frozen=True)
class Program:
    """One layer as array operations.

    Attributes:
        single: whether all data labels are the same input; all arrays are then scalars.
        averages: the Gaussian expectations under the leading kernel, computed first.
        updates: one per tensor; "tensor" views index this tuple at the previous layer.
    """

    single: bool
    averages: tuple[Average, ...]
    updates: tuple[Update, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the tensors, in the order of `updates`."""
        return tuple(update.key for update in self.updates)


@lru_cache(maxsize=64)
def lower(theory: Theory, single: bool, kinked: bool) -> Program:
    """Turn a theory into array operations.

    Args:
        theory: the equations.
        single: identify all data labels (the fast path for one input).
        kinked: keep derivatives that act on a whole expectation apart from derivatives of the activation. For a
            smooth activation they are the same thing and are merged, which leaves fewer expectations. For a kinked
            one, where inputs coincide, only the derivative of the whole product is defined; the convention is that
            it is carried by the first of the coinciding axes and that terms with derivatives on a later one vanish.
    """
    averages: dict[Average, int] = {}
    place = {equation.key: i for i, equation in enumerate(theory.equations)}
    updates = []
    for equation in theory.equations:
        collected: Counter = Counter()
        for term in equation.terms:
            for key, weight in _lower_term(term, equation, single, kinked):
                collected[key] += weight
        products = []
        for (powers, factors, tensors), weight in collected.items():
            if not weight:
                continue
            views = [View("average", averages.setdefault(a, len(averages)), axes) for a, axes in factors]
            views += [View("tensor", place[key], axes) for key, axes in tensors]
            products.append(Product(float(weight), powers, tuple(views)))
        updates.append(Update(equation.key, 0 if single else len(equation.labels), tuple(products)))
    return Program(single, tuple(averages), tuple(updates))


def _lower_term(term: Term, equation: Equation, single: bool, kinked: bool):  # type: ignore[no-untyped-def]
    axis = {label: i for i, label in enumerate(equation.labels)}
    for positions, arguments in bindings(term):
        factors: list[tuple[Average, tuple[int, ...]]] = []
        for sigmas, derivatives in zip(term.expectations, positions, strict=True):
            acting = Counter(derivatives)
            if single:
                factors.append((_single_average(sigmas, acting, kinked), ()))
                continue
            # Sorted by what does not depend on where the derivatives act, so that all parts of one sum over
            # inputs agree on which axis comes first.
            if kinked:
                ordered = sorted((k, axis[label], acting[label]) for label, k in sigmas)
                average: Average = tuple((p, (k,)) for k, _, p in ordered)
                axes = tuple(a for _, a, _ in ordered)
            else:
                merged = sorted((k + acting[label], axis[label]) for label, k in sigmas)
                average = tuple((0, (k,)) for k, _ in merged)
                axes = tuple(a for _, a in merged)
            factors.append((average, axes))
        tensors = []
        for tensor, labels in zip(term.tensors, arguments, strict=True):
            canonical = frame(tensor.name).canonical(labels)
            tensors.append((variable(tensor.name, tensor.order), () if single else tuple(axis[a] for a in canonical)))
        if single and kinked and _repeats_single_derivative(positions, term):
            continue
        yield (term.powers, tuple(sorted(factors)), tuple(sorted(tensors))), term.coefficient


def _single_average(sigmas, acting: Counter, kinked: bool) -> Average:  # type: ignore[no-untyped-def]
    if kinked:
        return ((sum(acting.values()), tuple(sorted(k for _, k in sigmas))),)
    return ((0, tuple(sorted(k + acting[label] for label, k in sigmas))),)


def _repeats_single_derivative(positions: list[list[int]], term: Term) -> bool:
    """Return whether this is not the first of the equal ways to differentiate expectations of a single input."""
    return any(
        label != sigmas[0][0]
        for derivatives, sigmas in zip(positions, term.expectations, strict=True)
        for label in derivatives
    )
