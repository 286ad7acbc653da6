"""The values of diagrams for a network at initialisation: exactly for few inputs, from sampled neurons for many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt._progress import progress
from pdlt.learning.corrections.amplitudes import Problem, Tensors, amplitude
from pdlt.learning.corrections.diagrams import Diagram
from pdlt.learning.corrections.outputs import Amplitudes, Kernels
from pdlt.learning.corrections.sampled import sampled_amplitudes
from pdlt.networks import MLP
from pdlt.predict import predict
from pdlt.predict.fluctuations import Fluctuations, fluctuations

METHODS = ("auto", "exact", "sampled")
REPLICAS = 16

TENSORS = ("A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")
_KERNELS = ("K", "Theta", "K_1", "Theta_1")

#: Up to so many distinct inputs full tensors take seconds.
_FEW = 4

#: Relative accuracy wanted of the expectations behind full tensors.
_RTOL = 1e-8


@dataclass(frozen=True)
class Exact:
    """Full tensors on M distinct inputs."""

    tensors: Tensors
    kernels: Kernels

    def amplitudes(self, diagrams: Sequence[Diagram], problem: Problem) -> Amplitudes:
        """Return the values of diagrams, with an axis of one replica in front: they have no sampling error."""
        found = {diagram: amplitude(diagram, self.tensors, problem) for diagram in diagrams}
        return {diagram: (value[None], "r" + letters) for diagram, (value, letters) in found.items()}


@dataclass(frozen=True)
class Sampled:
    """Fluctuations on M distinct inputs, as samples."""

    fluctuations: Fluctuations
    kernels: Kernels

    def amplitudes(self, diagrams: Sequence[Diagram], problem: Problem, observed: int | None = None) -> Amplitudes:
        """Return independent estimates of the values of diagrams, in front an axis of replicas.

        `observed` as in `sampled_amplitudes`.
        """
        found: Amplitudes = {}
        with progress("contracting fluctuations") as tick:
            done = 0
            for replica, added in sampled_amplitudes(diagrams, self.fluctuations, problem, observed):
                for diagram, (value, letters) in added.items():
                    if diagram not in found:
                        found[diagram] = np.zeros((self.fluctuations.replicas, *value.shape)), "r" + letters
                    found[diagram][0][replica] += value
                done += 1
                tick(f"chunk {done}")
        return found


def at_initialisation(net: MLP, distinct: np.ndarray, method: str, samples: int, seed: int) -> Exact | Sampled:
    """Return kernels and cumulants of a smooth network on M distinct inputs, shape (M, n_0).

    Args:
        net: the network.
        distinct: inputs, no two equal.
        method: "exact" for full tensors by quadrature, "sampled" for neurons drawn and propagated, or "auto".
        samples, seed: of "sampled", see `pdlt.predict.fluctuations.fluctuations`.
    """
    if method == "sampled" or (method == "auto" and len(distinct) > _FEW):
        found: Any = fluctuations(net, distinct, samples, seed, REPLICAS)
        return Sampled(found, Kernels(*(getattr(found, name) for name in _KERNELS)))
    tensors = predict(net, distinct, ["K", "Theta", *TENSORS], order=1, rtol=_RTOL).isel(layer=-1)
    kernels = Kernels(*(tensors[name].values for name in _KERNELS))
    return Exact(Tensors({name: tensors[name].values for name in TENSORS}, kernels.K), kernels)


def needed(tables: Iterable[Sequence[Any]]) -> list[Diagram]:
    """Return the diagrams of lists of contributions, each once."""
    return sorted({contribution.diagram for table in tables for contribution in table})


