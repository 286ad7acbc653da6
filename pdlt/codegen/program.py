"""Lowering: equations become array operations of one layer, still plain data.

Two readers share a `Program`: `codegen.execute` runs it on any array namespace, `export.jax_module` prints it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod

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
        collected: dict[tuple, Fraction] = {}
        for term in equation.terms:
            for key, weight in _lower_single(term, kinked) if single else _lower_term(term, equation, kinked):
                collected[key] = collected.get(key, Fraction(0)) + weight
        products = []
        for (powers, factors, tensors), weight in collected.items():
            if not weight:
                continue
            views = [View("average", averages.setdefault(a, len(averages)), axes) for a, axes in factors]
            views += [View("tensor", place[key], axes) for key, axes in tensors]
            products.append(Product(float(weight), powers, tuple(views)))
        updates.append(Update(equation.key, 0 if single else len(equation.labels), tuple(products)))
    return Program(single, tuple(averages), tuple(updates))


def _lower_term(term: Term, equation: Equation, kinked: bool):  # type: ignore[no-untyped-def]
    axis = {label: i for i, label in enumerate(equation.labels)}
    for positions, arguments in bindings(term):
        factors: list[tuple[Average, tuple[int, ...]]] = []
        for sigmas, derivatives in zip(term.expectations, positions, strict=True):
            acting = Counter(derivatives)
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
            tensors.append((variable(tensor.name, tensor.order), tuple(axis[a] for a in canonical)))
        yield (term.powers, tuple(sorted(factors)), tuple(sorted(tensors))), term.coefficient


def _lower_single(term: Term, kinked: bool) -> Iterator[tuple[tuple, Fraction]]:
    """Yield the products of a term when all labels are one input: a derivative acts on an expectation as a whole.

    The sums over inputs are not carried out one value at a time (there are up to 2^order of these for every
    derivative): equal ways of distributing the derivatives over the factors are counted.
    """
    acting = [0] * len(term.expectations)
    for tensor in term.tensors:
        for arg in tensor.args:
            if arg < 0:
                acting[-1 - arg] += 1
    tensors = tuple(sorted((variable(tensor.name, tensor.order), ()) for tensor in term.tensors))
    options = [
        _differentiated(tuple(sorted(k for _, k in sigmas)), p, kinked)
        for sigmas, p in zip(term.expectations, acting, strict=True)
    ]
    for choice in product(*(option.items() for option in options)):
        factors = tuple(sorted((average, ()) for average, _ in choice))
        yield (term.powers, factors, tensors), term.coefficient * prod(times for _, times in choice)


@lru_cache(maxsize=4096)
def _differentiated(orders: tuple[int, ...], times: int, kinked: bool) -> Mapping[Average, int]:
    """Return the average(s) that `times` derivatives of a product of sigma^(k) leave, and how often each occurs."""
    if kinked:
        return {((times, orders),): 1}
    found = Counter({orders: 1})
    for _ in range(times):
        step: Counter[tuple[int, ...]] = Counter()
        for ks, count in found.items():
            for i, k in enumerate(ks):
                step[tuple(sorted((*ks[:i], k + 1, *ks[i + 1 :])))] += count
        found = step
    return {((0, ks),): count for ks, count in found.items()}
