"""Order-1/n corrections to outputs, their covariance and kernels of trained networks, from cumulants at the start."""

from dataclasses import dataclass

import numpy as np

from pdlt.learning.corrections import averages
from pdlt.learning.corrections.amplitudes import Problem
from pdlt.learning.corrections.averages import Contribution, Rows, weigh
from pdlt.learning.corrections.chains import Decay
from pdlt.learning.corrections.diagrams import Diagram
from pdlt.learning.corrections.events import PARTS

#: Values of diagrams, and the letters of their axes.
Amplitudes = dict[Diagram, tuple[np.ndarray, str]]


@dataclass(frozen=True)
class Kernels:
    """Means at initialisation on all inputs of a problem, shape (M, M) each, training inputs first.

    Attributes:
        K, Theta: leading.
        K_1, Theta_1: coefficients of 1/n.
    """

    K: np.ndarray
    Theta: np.ndarray
    K_1: np.ndarray
    Theta_1: np.ndarray


@dataclass(frozen=True)
class Corrections:
    """The coefficients of 1/n of a training problem, at any time; all results have an axis of R replicas in front.

    Attributes:
        problem: training data; its rows are the training inputs, then the points.
        kernels: on the same rows.
        amplitudes: values of the diagrams, by diagram, with an axis of replicas ("r") in front.
    """

    problem: Problem
    kernels: Kernels
    amplitudes: Amplitudes

    def mean(self, decay: Decay) -> np.ndarray:
        """Return the correction to the mean outputs by part (`PARTS`), shape (R, 4, P, n_L)."""
        found = self._weigh(averages.mean(), decay)
        rates, train = self.rows.rates, len(self.problem.train)
        weight = np.concatenate([decay.chain(np.zeros(()), rates, rates[:, None]), [decay.chain(np.zeros(()), rates)]])
        operands = (self.rows.onto, self.kernels.Theta_1[:, :train], self.problem.modes.vertices, weight)
        drift = -np.einsum("kpI,Iu,auv,ka,vi->pi", *operands, self.problem.labels, optimize="optimal")
        found["NTK mean"] = np.broadcast_to(drift, found["dNTK"].shape)
        return np.stack([found[part] for part in PARTS], axis=1)

    def covariance(self, decay: Decay) -> np.ndarray:
        """Return the correction to the covariance of outputs, shape (R, P, P, n_L, n_L)."""
        one_sided = self._weigh(averages.covariance(), decay)
        moved = self._weigh(averages.covariance_of_moves(), decay)
        rates, train, outputs = self.rows.rates, len(self.problem.train), self.problem.labels.shape[1]
        left = np.append(decay.chain(np.zeros(()), rates), decay.chain(np.zeros(())))
        onto = np.einsum("kpI,k->pI", self.rows.onto, left)
        weight = np.concatenate([decay.chain(np.zeros(()), rates, rates[:, None]), [decay.chain(np.zeros(()), rates)]])
        operands = (self.rows.onto, self.kernels.Theta_1[:, :train], self.problem.modes.vertices, weight)
        drift = np.einsum("kpI,Iu,auv,ka,vJ,qJ->pq", *operands, self.kernels.K[:train], onto, optimize="optimal")
        half = _total(one_sided) + drift[..., None, None] * np.eye(outputs)
        start = (onto @ self.kernels.K_1 @ onto.T)[..., None, None] * np.eye(outputs)
        return np.asarray(start + half + half.transpose(0, 2, 1, 4, 3) + _total(moved))

    def kernel_change(self, decay: Decay) -> np.ndarray:
        """Return E[H(t) - H(0)] on training inputs and points, shape (R, N + P, N + P, n_L, n_L)."""
        one_sided = _total(self._weigh(averages.change_of_kernel(), decay))
        return np.asarray(one_sided + one_sided.transpose(0, 2, 1, 4, 3))

    def hidden_kernel_change(self, decay: Decay) -> np.ndarray:
        """Return E[G(t) - G(0)] of the hidden layer that amplitudes observe, shape (R, N + P, N + P)."""
        one_sided = _total(weigh(averages.change_of_hidden_kernel(), self.amplitudes, self.rows, decay, 1))
        return np.asarray(one_sided + one_sided.transpose(0, 2, 1, 3, 4))[..., 0, 0]

    def _weigh(self, contributions: tuple[Contribution, ...], decay: Decay) -> dict[str, np.ndarray]:
        return weigh(contributions, self.amplitudes, self.rows, decay, self.problem.labels.shape[1])

    @property
    def rows(self) -> Rows:
        """How rows of amplitudes become points."""
        modes, train = self.problem.modes, len(self.problem.train)
        total = len(self.kernels.K)
        onto = np.zeros((len(modes.rates) + 1, total - train, total))
        onto[:-1, :, :train] = self.kernels.Theta[train:, :train] @ modes.vertices
        onto[-1, :, train:] = np.eye(total - train)
        return Rows(onto, modes.rates)


def _total(parts: dict[str, np.ndarray]) -> np.ndarray:
    return np.sum(list(parts.values()), axis=0)
