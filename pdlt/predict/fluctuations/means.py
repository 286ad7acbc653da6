"""The kernels K and Theta and their corrections K_1 and Theta_1 on all pairs of inputs.

The corrections on inputs 1 and 2 need V, D, F only with all four indices among 1 and 2, and so do these themselves.
Each such component is one matrix, V_1112 say, and all expectations in the derived equations then involve two inputs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod

import numpy as np

from pdlt.equations import PARAMETERS, Term, bindings, frame
from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.pipeline import derive
from pdlt.predict.fluctuations.averages import Orders, PairAverages
from pdlt.predict.initialisation import layer_parameters

#: A component: name, order in 1/n, and arguments among 1 and 2.
Component = tuple[str, int, tuple[int, ...]]

#: The results, by their names.
MEANS: dict[str, Component] = {
    "K": ("K", 0, (1, 2)),
    "Theta": ("Theta", 0, (1, 2)),
    "K_1": ("K", 1, (1, 2)),
    "Theta_1": ("Theta", 1, (1, 2)),
}


@dataclass(frozen=True)
class _Product:
    """coefficient * parameters^powers * prod <f(z_1) g(z_2)> * prod components, some of them transposed."""

    coefficient: float
    powers: tuple[int, ...]
    averages: tuple[tuple[Orders, Orders], ...]
    components: tuple[tuple[Component, bool], ...]


def mean_kernels(
    net: MLP, x: np.ndarray, products: Iterable[Orders]
) -> tuple[dict[str, np.ndarray], list[PairAverages]]:
    """Return the means in all layers, and the averages under K of each layer but the last.

    Args:
        net: the network, of smooth activation.
        x: inputs, shape (M, n_0).
        products: further products whose averages will be asked for.

    Returns:
        The matrices of MEANS, shape (L, M, M) each.

    Raises:
        PdltError: if K or Theta is not finite; the message names the layer.
    """
    own = (orders for terms in _system().values() for term in terms for pair in term.averages for orders in pair)
    wanted = {*products, *own}
    with np.errstate(over="ignore", invalid="ignore"):
        gram = x @ x.T / x.shape[1]
        first = {"K": net.C_b[0] + net.C_W[0] * gram, "Theta": net.lambda_b[0] + net.lambda_W[0] * gram}
    state = {c: np.zeros_like(gram) if c[1] or c[0] not in first else _placed(first[c[0]], c[2]) for c in _system()}
    parameters = layer_parameters(net, x.shape[1])
    layers, averages = [state], []
    for n in range(1, net.depth):
        _check_finite(state, n, net.depth)
        averages.append(PairAverages(net.activation, state[MEANS["K"]], wanted))
        state = _step(state, averages[-1], {name: float(values[n - 1]) for name, values in parameters.items()})
        layers.append(state)
    _check_finite(state, net.depth, net.depth)
    return {name: np.stack([state[component] for state in layers]) for name, component in MEANS.items()}, averages


@lru_cache(maxsize=1)
def _system() -> dict[Component, tuple[_Product, ...]]:
    """Return the recursion of every component that the means need, and their own."""
    equations = {(e.name, e.order): e for e in derive(["K", "Theta"], order=1)}
    waiting, found = list(MEANS.values()), dict[Component, tuple[_Product, ...]]()
    while waiting:
        component = waiting.pop()
        if component not in found:
            equation = equations[component[:2]]
            place = dict(zip(equation.labels, component[2], strict=True))
            found[component] = tuple(_products(equation.terms, place))
            waiting += [factor for term in found[component] for factor, _ in term.components]
    return found


def _step(
    state: dict[Component, np.ndarray], averages: PairAverages, parameters: dict[str, float]
) -> dict[Component, np.ndarray]:
    """Return all components, (M, M) each, at the next layer; what overflows is infinite or undefined."""
    new = {}
    for component, terms in _system().items():
        total = np.zeros_like(state[component])
        for term in terms:
            scale = prod(parameters[name] ** power for name, power in zip(PARAMETERS, term.powers, strict=True))
            part = np.full_like(total, term.coefficient * scale)
            with np.errstate(over="ignore", invalid="ignore"):
                for pair in term.averages:
                    part *= averages(*pair)
                for factor, turned in term.components:
                    part *= state[factor].T if turned else state[factor]
                total += part
        new[component] = total
    return new


def _placed(matrix: np.ndarray, labels: tuple[int, ...]) -> np.ndarray:
    """Return a kernel at its labels: the matrix for (1, 2), its diagonal along the rows for (1, 1)."""
    return matrix if labels == (1, 2) else np.broadcast_to(matrix.diagonal()[:, None], matrix.shape)


def _check_finite(state: dict[Component, np.ndarray], layer: int, depth: int) -> None:
    if not all(np.isfinite(state[component]).all() for component in MEANS.values()):
        raise PdltError(
            f"The kernels or their corrections overflow at layer {layer} of {depth}. They grow with depth at these "
            "`C_b`, `C_W`; accepted are values for which they stay finite (see critical initialisation)."
        )


def _products(terms: tuple[Term, ...], place: dict[int, int]) -> Iterator[_Product]:
    """Yield the terms of an equation with its labels put in places 1 and 2, equal ones collected."""
    collected: dict[tuple, Fraction] = {}
    for term in terms:
        for positions, arguments in bindings(term):
            averages = []
            for factors, derivatives in zip(term.expectations, positions, strict=True):
                acting = Counter(derivatives)
                orders: tuple[list[int], list[int]] = ([], [])
                for label, k in factors:
                    orders[place[label] - 1].append(k + acting[label])
                averages.append((tuple(sorted(orders[0])), tuple(sorted(orders[1]))))
            components = [
                _canonical(tensor.name, tensor.order, tuple(place[label] for label in labels))
                for tensor, labels in zip(term.tensors, arguments, strict=True)
            ]
            key = (term.powers, tuple(sorted(averages)), tuple(sorted(components)))
            collected[key] = collected.get(key, Fraction(0)) + term.coefficient
    yield from (_Product(float(weight), *key) for key, weight in collected.items() if weight)


def _canonical(name: str, order: int, args: tuple[int, ...]) -> tuple[Component, bool]:
    """Return the component equal to this one, and whether its matrix is to be transposed: 1 and 2 exchanged."""
    item = frame(name)
    here, there = item.canonical(args), item.canonical(tuple(3 - label for label in args))
    return (name, order, min(here, there)), there < here
