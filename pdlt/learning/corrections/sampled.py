"""Cumulants from samples of single neurons: products of matrices, never an array with four indices."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from pdlt.learning.corrections.amplitudes import Operand, Problem, amplitude
from pdlt.learning.corrections.diagrams import Diagram
from pdlt.observables import Observable
from pdlt.predict.fluctuations import Chunk, Factor, Fluctuations, factors

#: Up to so many training inputs kernels between labels are summed exactly; beyond, each neuron brings a sample of them.
_FEW = 12


@dataclass(frozen=True)
class Neurons:
    """The share of some neurons in all cumulants, as arrays with an axis "r" of neurons.

    Attributes:
        values: component -> (r, M, M), of the last layer; `observed` those of an earlier layer.
        weight: of every neuron.
        K: leading kernel, (M, M).
        functions: samples of N(0, K), (r, M), or None to use K itself.
    """

    values: dict[tuple[str, str], Any]
    observed: dict[tuple[str, str], Any]
    weight: float
    K: Any
    functions: Any
    namespace: Any

    def operands(self, diagram: Diagram, letters: tuple[str, ...], rows: Sequence[np.ndarray]) -> list[Operand]:
        """See `Cumulants`."""
        found = []
        for factor, source in zip(components(diagram), (self.observed or self.values, self.values), strict=True):
            one, two = factor.axes
            array = source[factor.pair][:, rows[one][:, None], rows[two]]
            found.append((array, "r" + letters[one] + letters[two]))
        return [(self.weight * found[0][0], found[0][1]), found[1]]

    def kernel(self, first: str, second: str, rows: Sequence[np.ndarray]) -> list[Operand]:
        """See `Cumulants`."""
        if self.functions is None or "J" in (first, second):
            return [(self.K[rows[0][:, None], rows[1]], first + second)]
        return [(self.functions[:, place], "r" + letter) for letter, place in zip((first, second), rows, strict=True)]


@lru_cache(maxsize=1024)
def components(diagram: Diagram) -> tuple[Factor, Factor]:
    """Return the two components of a diagram's cumulant; their axes are slots."""
    return factors(Observable("cumulant", diagram.slots, (1, 2, 3, 4), (0, 1, 2, 3)))


def sampled_amplitudes(
    diagrams: Iterable[Diagram], fluctuations: Fluctuations, problem: Problem, observed: int | None = None
) -> Iterator[tuple[int, dict[Diagram, tuple[Any, str]]]]:
    """Yield, chunk by chunk, the replica that it belongs to and the values that it adds to amplitudes.

    Args:
        diagrams: what to contract.
        fluctuations: on all inputs of the problem.
        problem: training data and rows.
        observed: the layer of the first component, if it is not the last.
    """
    import jax
    import jax.numpy as jnp

    from pdlt._jax import x64

    wanted = list(diagrams)
    letters: dict[Diagram, str] = {}
    exact = len(problem.train) <= _FEW
    last = fluctuations.net.depth

    @jax.jit
    def contract(values: Any, seen: Any, weight: Any, K: Any, functions: Any, vertices: Any, labels: Any) -> Any:
        neurons = Neurons(values, seen, weight, K, functions, jnp)
        there = replace(problem, modes=replace(problem.modes, vertices=vertices), labels=labels)
        found = [amplitude(diagram, neurons, there) for diagram in wanted]
        letters.update(zip(wanted, (names for _, names in found), strict=True))
        return [value for value, _ in found]

    pairs = {factor.pair for diagram in wanted for factor in components(diagram)}
    layers = (last,) if observed is None else (observed, last)
    root = _root(fluctuations.K)
    for number, chunk in enumerate(fluctuations.chunks(pairs, layers=layers)):
        values, seen = _by_layer(chunk, observed)
        if observed is not None and not seen:
            continue  # neurons of this layer come after the observed one
        with x64():
            count = next(iter(values.values())).shape[0]
            random = np.random.default_rng((fluctuations.seed, 1, number))
            functions = None if exact else jnp.asarray(random.standard_normal((count, len(root))) @ root.T)
            K = jnp.asarray(fluctuations.K)
            added = contract(values, seen, chunk.weight, K, functions, problem.modes.vertices, problem.labels)
        yield chunk.replica, {d: (np.asarray(value), letters[d]) for d, value in zip(wanted, added, strict=True)}


def _by_layer(chunk: Chunk, observed: int | None) -> tuple[dict, dict]:
    """Return the components of the last layer, and those of the observed one (none: empty)."""
    values = {pair: value for (layer, pair), value in chunk.values.items() if layer == chunk.last}
    return values, {pair: value for (layer, pair), value in chunk.values.items() if layer == observed}


def _root(K: np.ndarray) -> np.ndarray:
    """Return a square root of a kernel, which may be singular."""
    values, vectors = np.linalg.eigh(K)
    return vectors * np.sqrt(np.maximum(values, 0.0))
