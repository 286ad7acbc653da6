"""What trained finite networks do at order 1/n, by brute force: a witness that shares no formula with the package.

With I = (output i, input alpha), a, b, c composite training indices and e_a = z_a - y_a, one network obeys, as far as
order 1/n asks, the truncated hierarchy

    z_I'    = -H_Ia e_a
    H_IJ'   = -(dH_IJa + dH_JIa) e_a
    dH_IJK' = -(ddI_IJKa + ddII_IJKa + ddII_IKJa) e_a

and under gradient descent its steps, with same-step terms (`Hierarchy.rates`). It is expanded in s = n^(-1/2), with
H = Theta + s xi + s^2 h, and dH and dd of order s^2, and integrated numerically over all composite indices from a
random start with the cumulants of a network (DH is the fluctuation of H, dH the dNTK):

    z  = (1 + s^2 K_1 K^-1 / 2) g,   g ~ N(0, K)                   E z z = K + K_1/n
    xi ~ N(0, M), independent of g                                 n E[DH DH] = M                       (A, B)
    h  = Theta_1 + G (K^-1 g g K^-1 - K^-1) / 2                    n E[z z DH] = G                      (D, F)
    dH = s^2 X K^-1 g                                              n E[dH z] = X                        (P, Q)
    dd = s^2 times n times its mean                                n E[dd]                              (R, S, T, U)

What is left out of the law of the start enters at order n^-2. Everything wanted is a polynomial of degree at most four
in g, whose average a cubature of degree five gives exactly; xi is averaged over the eigenvectors of M. The claims of
derivations/17_end_of_training.py rest on it. Meant for up to about ten composite components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

Array = Any

#: Smallest eigenvalue times time at which training is over.
END = 36.0


@dataclass(frozen=True)
class Start:
    """Cumulants of m composite components at initialisation, times n; composite index I = output * points + point.

    Attributes:
        K, Theta: leading kernels, shape (m, m).
        K_1, Theta_1: their corrections.
        HH: n E[DH_IJ DH_KL], DH the fluctuation of H, shape (m, m, m, m); all below have this shape.
        zzH: n E[z_I z_J DH_KL].
        dHz: n E[dH_IJK z_L].
        ddI, ddII: n times the means of the ddNTKs.
    """

    K: Array
    Theta: Array
    K_1: Array
    Theta_1: Array
    HH: Array
    zzH: Array
    dHz: Array
    ddI: Array
    ddII: Array

    @classmethod
    def of(cls, tensors: Mapping[str, Array], outputs: int) -> "Start":
        """Put the tensors of one layer, axes as in `pdlt.predict`, together with their Kronecker deltas."""
        one = np.eye(outputs)

        def kernel(name: str) -> Array:
            return np.kron(one, tensors[name])

        def four(name: str, deltas: str, inputs: str) -> Array:
            # Outputs i j k l and inputs a b c d of the four components.
            found = np.einsum(f"{deltas},{inputs}->iajbkcld", one, one, tensors[name])
            return found.reshape((outputs * len(tensors["K"]),) * 4)

        return cls(
            K=kernel("K"),
            Theta=kernel("Theta"),
            K_1=kernel("K_1"),
            Theta_1=kernel("Theta_1"),
            HH=four("A", "ij,kl", "abcd") + four("B", "ik,jl", "acbd") + four("B", "il,jk", "adbc"),
            zzH=four("D", "ij,kl", "abcd") + four("F", "ik,jl", "acbd") + four("F", "il,jk", "adbc"),
            dHz=four("P", "il,jk", "abcd") + four("Q", "ij,kl", "abcd") + four("Q", "ik,jl", "acbd"),
            ddI=four("R", "ij,kl", "abcd") + four("R", "ik,jl", "acdb") + four("R", "il,jk", "adbc"),
            ddII=four("S", "ij,kl", "abcd") + four("T", "ik,jl", "acbd") + four("U", "il,jk", "adbc"),
        )


@dataclass(frozen=True)
class Trained:
    """Moments over initialisations at every time; X + X_1/n are the moments to order 1/n.

    Attributes:
        mean, mean_1: shape (times, points, outputs).
        covariance, covariance_1: connected, shape (times, points, points, outputs, outputs).
        kernel_change_1: n E[H(t) - H(0)], shape as covariance.
    """

    mean: Array
    covariance: Array
    mean_1: Array
    covariance_1: Array
    kernel_change_1: Array


class Hierarchy:
    """Training of the random start described above.

    The state is a list: z0 (g, m), z1 (r, g, m), z2 (g, m), h (g, m, m) and dH (g, m, m, T) at cubature points g of the
    outputs and eigenvectors r of M; z = z0 + s z1 + s^2 z2.

    Args:
        start: cumulants at initialisation.
        training: composite index of every training component, shape (T,).
        y: their labels, shape (T,).
    """

    def __init__(self, start: Start, training: Array, y: Array) -> None:
        m = len(start.K)
        self.start, self.training, self.y = start, training, y
        points, self.weights = cubature(m)
        self.g = points @ np.linalg.cholesky(start.K).T
        values, vectors = np.linalg.eigh(start.HH.reshape(m * m, m * m))
        kept = np.abs(values) > 1e-13 * np.abs(values).max()
        self.variances, self.xi = values[kept], vectors[:, kept].T.reshape(-1, m, m)

    def initial(self) -> list[Array]:
        """Return the state at initialisation."""
        s, dual = self.start, np.linalg.solve(self.start.K, self.g.T).T
        pairs = dual[:, :, None] * dual[:, None, :] - np.linalg.inv(s.K)
        h = s.Theta_1 + np.einsum("ijkl,gij->gkl", s.zzH, pairs) / 2
        dH = np.einsum("ijkl,gl->gijk", s.dHz, dual)[..., self.training]
        return [self.g, np.zeros((len(self.xi), *self.g.shape)), dual @ s.K_1 / 2, h, dH]

    def rates(self, state: Sequence[Array], eta: float = 0.0) -> list[Array]:
        """Return the time derivative of the state under gradient flow, or the change in a step of descent over eta.

        A step of descent is exact up to higher differentials:

            z_I    += -eta H_Ia e_a + eta^2/2 dH_Iab e_a e_b - eta^3/6 ddI_Iabc e_a e_b e_c
            H_IJ   += -eta (dH_IJa + dH_JIa) e_a + eta^2/2 (ddI_IJab + ddI_JIab + 2 ddII_IJab) e_a e_b
            dH_IJK += -eta (ddI_IJKa + ddII_IJKa + ddII_IKJa) e_a
        """
        (z0, z1, z2, h, dH), s, a = state, self.start, self.training
        e0, e1, e2 = z0[:, a] - self.y, z1[..., a], z2[:, a]
        Theta, xi, ddI, ddII = s.Theta[:, a], self.xi[..., a], s.ddI[..., a], s.ddII[..., a]
        by_z2 = -e2 @ Theta.T - np.einsum("gia,ga->gi", h[..., a], e0)
        by_z2 -= np.einsum("r,ria,rga->gi", self.variances, xi, e1, optimize=True)
        by_h = -np.einsum("gija,ga->gij", dH, e0)
        by_h = by_h + by_h.swapaxes(1, 2)
        by_dH = -np.einsum("ijka,ga->gijk", (ddI + ddII + ddII.swapaxes(1, 2))[:, :, a], e0, optimize=True)
        if eta:
            by_z2 += eta / 2 * np.einsum("giab,ga,gb->gi", dH[:, :, a], e0, e0, optimize=True)
            by_z2 -= eta**2 / 6 * np.einsum("iabc,ga,gb,gc->gi", ddI[:, a][:, :, a], e0, e0, e0, optimize=True)
            second = (ddI + ddI.swapaxes(0, 1) + 2 * ddII)[:, :, a]
            by_h += eta / 2 * np.einsum("ijab,ga,gb->gij", second, e0, e0, optimize=True)
        return [-e0 @ Theta.T, -e1 @ Theta.T - np.einsum("ria,ga->rgi", xi, e0), by_z2, by_h, by_dH]

    def states(self, times: Sequence[float], eta: float = 0.0) -> list[list[Array]]:
        """Return the state at every time, or number of steps of size eta; inf is the end of training."""
        a = self.training
        rates = np.linalg.eigvalsh(self.start.Theta[np.ix_(a, a)])
        slow = rates[rates > 1e-10 * rates[-1]][0]  # labels of points that occur twice differ in what is never learned
        end = END / (-np.log1p(-eta * slow) if eta else slow)
        finite = [end if np.isinf(time) else time for time in times]
        return self._descended([round(time) for time in finite], eta) if eta else self._flown(finite)

    def _descended(self, counts: list[int], eta: float) -> list[list[Array]]:
        state, found = self.initial(), {}
        for step in range(max(counts) + 1):
            if step in counts:
                found[step] = state
            state = [x + eta * v for x, v in zip(state, self.rates(state, eta), strict=True)]
        return [found[count] for count in counts]

    def _flown(self, times: list[float]) -> list[list[Array]]:
        state = self.initial()
        shapes = [x.shape for x in state]
        edges = np.cumsum([x.size for x in state])[:-1]

        def unpacked(flat: Array) -> list[Array]:
            return [x.reshape(shape) for x, shape in zip(np.split(flat, edges), shapes, strict=True)]

        def packed(parts: Sequence[Array]) -> Array:
            return np.concatenate([x.ravel() for x in parts])

        at, found = 0.0, {0.0: state}
        for time in sorted(set(times) - {0.0}):
            start, tolerances = packed(found[at]), {"rtol": 1e-11, "atol": 1e-12}
            run = solve_ivp(
                lambda _, flat: packed(self.rates(unpacked(flat))), (at, time), start, "DOP853", [time], **tolerances
            )
            at, found[time] = time, unpacked(run.y[:, -1])
        return [found[time] for time in times]

    def moments(self, state: Sequence[Array]) -> tuple[Array, ...]:
        """Return mean, covariance, mean_1, covariance_1 and n E[H] of composite outputs, shapes (m,) and (m, m)."""
        z0, z1, z2, h, _ = state
        mean, mean_1 = self.weights @ z0, self.weights @ z2
        covariance = np.einsum("g,gi,gj->ij", self.weights, z0 - mean, z0 - mean)
        mixed = np.einsum("g,gi,gj->ij", self.weights, z0 - mean, z2)
        spread = np.einsum("g,r,rgi,rgj->ij", self.weights, self.variances, z1, z1, optimize=True)
        return mean, covariance, mean_1, mixed + mixed.T + spread, np.einsum("g,gij->ij", self.weights, h)


def cubature(m: int) -> tuple[Array, Array]:
    """Return points (2 m^2 + 1, m) and weights whose averages of polynomials of degree 5 are those of N(0, 1)."""
    one = np.sqrt(m + 2) * np.eye(m)
    pairs = [(one[i] + sign * one[j]) / np.sqrt(2) for i in range(m) for j in range(i) for sign in (1, -1)]
    half = np.array([*one, *pairs])
    weights = [(4 - m) / (2 * (m + 2) ** 2)] * m + [1 / (m + 2) ** 2] * len(pairs)
    return np.concatenate([np.zeros((1, m)), half, -half]), np.array([2 / (m + 2), *weights, *weights])


def trained_moments(
    tensors: Mapping[str, Array],
    training: Sequence[int],
    y: Any,
    test: Sequence[int],
    times: Sequence[float],
    rule: str = "flow",
    learning_rate: float | None = None,
) -> Trained:
    """Return moments of trained networks on points of `tensors`, to order 1/n.

    Args:
        tensors: K, K_1, Theta, Theta_1, A, B, D, F, P, Q, R, S, T, U of the last layer on p distinct points, axes as
            in `pdlt.predict`, coefficients of 1/n with n = n_{L-1}.
        training: which of the points are trained on, with repetitions if wanted.
        y: labels, shape (len(training), n_L).
        test: the points of the results.
        times: times of the flow or numbers of steps; inf is the end.
        rule, learning_rate: "flow", or "gd" with its eta.
    """
    labels = np.asarray(y, dtype=float).reshape(len(training), -1)
    outputs, points = labels.shape[1], len(tensors["K"])
    index = np.concatenate([np.asarray(training) + points * i for i in range(outputs)])
    hierarchy = Hierarchy(Start.of(tensors, outputs), index, labels.T.ravel())
    eta = float(learning_rate or 0) if rule == "gd" else 0.0
    first, *found = (hierarchy.moments(state) for state in (hierarchy.initial(), *hierarchy.states(times, eta)))

    def vector(x: Array) -> Array:
        return x.reshape(outputs, points).T[list(test)]

    def matrix(x: Array) -> Array:
        return x.reshape(outputs, points, outputs, points).transpose(1, 3, 0, 2)[np.ix_(list(test), list(test))]

    return Trained(
        mean=np.array([vector(x[0]) for x in found]),
        covariance=np.array([matrix(x[1]) for x in found]),
        mean_1=np.array([vector(x[2]) for x in found]),
        covariance_1=np.array([matrix(x[3]) for x in found]),
        kernel_change_1=np.array([matrix(x[4] - first[4]) for x in found]),
    )
