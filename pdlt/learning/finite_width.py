"""Inference with the prior of a finite network, at order 1/n.

Given the kernel Ghat of the last layer, outputs are independent Gaussians N(0, Ghat), exactly and at any width. Over
networks Ghat has mean K + K_1/n and covariance V/n, n = n_{L-1}. Evidence and posterior are therefore averages over
Ghat of Gaussian ones, and are expanded in Ghat - K to second order (derivations/18_bayesian_inference.py). PDLT
(arXiv:2106.10165, chapter 6) reaches the same order from the action of the prior, whose quartic coupling is V.

With C = K + noise on the training inputs, m = C^-1 y, A = K(X', X) C^-1, T = (-A, 1), and for a change X of the kernel
on training and test inputs, W = (T X) restricted to training inputs:

    d log p(y)  = 1/2 tr[(m m^T - n_L C^-1) X]      d mean = W m                     d covariance = T X T^T
    d^2 log p   = -tr[m m^T X C^-1 X]               d^2 mean = -2 W C^-1 X m         d^2 covariance = -2 W C^-1 W^T
                  + n_L/2 tr[C^-1 X C^-1 X]
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pdlt.learning.kernel_fluctuations import KernelFluctuations
from pdlt.predict import TruncationWarning

if TYPE_CHECKING:
    from pdlt.learning.posterior import Factor

#: A coefficient of 1/n and its standard error; None if it has none.
Coefficient = tuple[np.ndarray, np.ndarray | None]

#: From this change of the log-evidence on, log(1 + change) is another number.
_LARGEST = 1.0


@dataclass(frozen=True)
class Expansion:
    """Gaussian inference from D labels of n_L outputs, expanded in the kernel on D training and P test inputs.

    Attributes:
        inverse: C^-1, shape (D, D).
        m: C^-1 y, shape (D, n_L).
        T: shape (P, D + P).
        slope: derivative of the log-evidence, shape (D, D).
        covariance: what is wanted of the posterior's: "full", "variance" or "none".
    """

    inverse: np.ndarray
    m: np.ndarray
    T: np.ndarray
    slope: np.ndarray
    covariance: str

    @classmethod
    def of(cls, factor: "Factor", cross: np.ndarray, y: np.ndarray, covariance: str) -> "Expansion":
        """Prepare, from the factor of C, K between test and training inputs (P, D), and labels (D, n_L)."""
        d, outputs = y.shape
        inverse, m = factor.solve(np.eye(d)), factor.solve(y)
        T = np.concatenate([-factor.solve(cross.T).T, np.eye(len(cross))], axis=1)
        return cls(inverse, m, T, (m @ m.T - outputs * inverse) / 2, covariance)

    def second_order(self, weights: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
        """Return what a share sum_r weights_r X_r X_r of V contributes: terms that add up over shares.

        Of the log-evidence, (); of the mean kernel given the labels, (D + P, D + P); of the curved mean, (P, n_L);
        and for a covariance, of the one that every output has, and of that of the means: whole, or their diagonals.
        """
        d, outputs = self.m.shape
        train = X[:, :d, :d]
        tilts = np.einsum("rab,ab->r", train, self.slope)
        moved, bent = train @ self.m, train @ self.inverse  # (r, D, n_L), (r, D, D)
        relaxed = self.inverse @ moved
        curved = outputs / 2 * np.einsum("rab,rba->r", bent, bent) - np.einsum("rai,rai->r", moved, relaxed)
        W = self.T @ X[:, :, :d]  # (r, P, D)
        terms = [weights @ (tilts**2 + curved) / 2, np.einsum("r,rab->ab", weights * tilts, X)]
        terms.append(-np.einsum("r,rpa,rai->pi", weights, W, relaxed, optimize=True))
        if self.covariance == "none":
            return terms
        V, responses, inverse = weights[:, None, None] * W, W @ self.m, self.inverse
        if self.covariance == "full":
            terms.append(-np.einsum("rpa,ab,rqb->pq", V, inverse, W, optimize=True))
            terms.append(np.einsum("r,rpi,rqj->pqij", weights, responses, responses, optimize=True))
        else:
            terms.append(-np.einsum("rpa,ab,rpb->p", V, inverse, W, optimize=True))
            terms.append(np.einsum("r,rpi->pi", weights, responses**2))
        return terms

    def coefficients(self, K_1: np.ndarray, terms: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the coefficients of 1/n of evidence and posterior, by name, from the added terms of `second_order`."""
        d, outputs = self.m.shape
        evidence, tilted, mean = terms[:3]
        # The posterior is that of a kernel moved by K_1 and by the labels, plus averages of curved functions of it.
        moved = self.T @ (K_1 + tilted)
        found = {
            "log_evidence_1": evidence + np.sum(self.slope * K_1[:d, :d]),
            "mean_1": mean + moved[:, :d] @ self.m,
            "hidden_kernel_change_1": tilted[d:, d:],
        }
        if self.covariance == "full":
            own = moved @ self.T.T + terms[3]
            found["covariance_1"] = terms[4] + np.einsum("pq,ij->pqij", own, np.eye(outputs))
        elif self.covariance == "variance":
            found["variance_1"] = terms[4] + ((moved * self.T).sum(1) + terms[3])[:, None]
        return found


def coefficients(
    expansions: Mapping[int, Expansion], fluctuations: KernelFluctuations
) -> dict[int, dict[str, Coefficient]]:
    """Return the coefficients of 1/n, with standard errors where V is sampled.

    Args:
        expansions: by layer.
        fluctuations: of these layers, on training inputs followed by test inputs.
    """
    sums: dict[tuple[int, int], list[np.ndarray]] = {}
    for part in fluctuations.parts():
        terms = expansions[part.layer].second_order(part.weights, part.X)
        key = part.layer, part.replica
        sums[key] = [a + b for a, b in zip(sums[key], terms, strict=True)] if key in sums else terms
    found = {}
    for layer, expansion in expansions.items():
        K_1 = fluctuations.means[layer]
        nothing = expansion.second_order(np.zeros(0), np.zeros((0, *K_1.shape)))
        every = [
            expansion.coefficients(K_1, sums.get((layer, replica), nothing)) for replica in range(fluctuations.replicas)
        ]
        found[layer] = {name: _mean([one[name] for one in every]) for name in every[0]}
    return found


def _mean(values: list[np.ndarray]) -> Coefficient:
    if len(values) == 1:
        return values[0], None
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def warn_of_change(change: float, depth: int, width: int) -> None:
    """Warn if order 1/n changes the log-evidence by so much that it cannot be the last word.

    Warns:
        TruncationWarning: if it does.
    """
    if abs(change) > _LARGEST:
        warnings.warn(
            f"At depth {depth} and width {width} the correction of order 1/width to the log-evidence is {change:+.3g}; "
            "it can be trusted where it is small against 1. These labels are improbable under the prior, or many, or "
            "this network is too deep for its width: use a larger width, or more noise.",
            TruncationWarning,
            stacklevel=3,
        )
