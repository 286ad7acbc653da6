"""The tensors of order 1/n on hundreds of inputs: sums of products of matrices instead of arrays with four indices."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdlt._arguments import count, integer
from pdlt._machine import machine_memory
from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.networks import MLP, check_inputs, check_network
from pdlt.observables import NAMED, Observable, observable
from pdlt.predict.fluctuations import propagation
from pdlt.predict.fluctuations.averages import RTOL, PairAverages
from pdlt.predict.fluctuations.draws import Draws
from pdlt.predict.fluctuations.means import mean_kernels
from pdlt.predict.initialisation import AccuracyWarning
from pdlt.symbolic.fluctuations import Pair, close, factors, free_directions

#: The components of all named tensors.
PAIRS = close({factor.pair for item in NAMED.values() if item.components == 2 for factor in factors(item)})

#: Bytes that the arrays of a chunk may take.
_CHUNK = 2**27


@dataclass(frozen=True, eq=False)
class Chunk:
    """What some neurons of one layer add to the components.

    Attributes:
        replica: which of the independent repetitions it belongs to.
        source: the neurons' layer m.
        weight: n_{L-1} / n_m over the number of neurons of this layer in the replica.
        values: (layer, component) -> array (r, M, M).
        last: the network's last layer.
    """

    replica: int
    source: int
    weight: float
    values: dict[tuple[int, Pair], Any]
    last: int

    def __getitem__(self, pair: Pair) -> Any:
        """Return a component of the last layer, shape (r, M, M)."""
        return self.values[self.last, pair]


@dataclass(frozen=True, eq=False)
class Fluctuations:
    """Mean kernels to order 1/n, and fluctuations as samples; made by `fluctuations`.

    Attributes:
        net: the network.
        layers: K, Theta, K_1 and Theta_1 by name, shape (L, M, M) each; those of layer l multiply 1/n_{l-1}.
        samples, replicas, seed: as given to `fluctuations`.
    """

    net: MLP
    layers: dict[str, np.ndarray]
    samples: int
    replicas: int
    seed: int
    _averages: tuple[PairAverages, ...] = field(repr=False)

    @property
    def K(self) -> np.ndarray:
        """The leading kernel of the last layer, shape (M, M)."""
        return self.layers["K"][-1]

    @property
    def Theta(self) -> np.ndarray:
        """The leading tangent kernel of the last layer, shape (M, M)."""
        return self.layers["Theta"][-1]

    @property
    def K_1(self) -> np.ndarray:
        """The coefficient of 1/n in the kernel, n = n_{L-1}, shape (M, M)."""
        return self.layers["K_1"][-1]

    @property
    def Theta_1(self) -> np.ndarray:
        """The coefficient of 1/n in the tangent kernel, shape (M, M)."""
        return self.layers["Theta_1"][-1]

    def chunks(
        self, pairs: Iterable[Pair] = PAIRS, layers: Sequence[int] | None = None, size: int | None = None
    ) -> Iterator[Chunk]:
        """Yield samples of fluctuations, whose sums of products are the tensors.

        With components and axes as `factors` gives them, every replica has an unbiased estimate, which is the sum over
        its chunks of

            n kappa(G_p, G_q)[1, 2, 3, 4]  ~  weight * sum_r X_p[r, 1, 2] X_q[r, 3, 4] .

        n = n_{L-1}, also if components of two layers are multiplied: that is n kappa(G^(l)_p, G^(l')_q). In a product
        every free direction must occur twice, as it does in the tensors: derivatives along it are no Gaussian numbers,
        but signs times a root of Theta (see `draws`).

        Args:
            pairs: the components wanted.
            layers: the layers wanted, of 2 ... L; None: the last. Neurons of layer m have none of layers 2 ... m.
            size: neurons r per chunk, at most; None: what fits into 128 MB.

        Raises:
            PdltError: for components of no named tensor, or layers that there are not.
        """
        from pdlt._jax import x64

        chosen = (self.net.depth,) if layers is None else tuple(integer("layers", n, 2, self.net.depth) for n in layers)
        pairs = tuple(pairs)
        unknown = [pair for pair in pairs if pair not in PAIRS]
        if unknown:
            raise PdltError(f"Argument `pairs` must be of {', '.join(map(str, PAIRS))}, but got {unknown[0]!r}.")
        closed = close(pairs)
        points = self.samples // self.replicas
        size = min(points, _size(len(self.K), len(closed)) if size is None else count("size", size))
        for m in range(1, max(chosen)):
            with x64():
                layer = _Layer(self, m, closed, max(chosen))
            weight = self.net.width[-1] / self.net.width[m - 1] / points
            for replica in range(self.replicas):
                jets = layer.draws((self.seed, m, replica), points.bit_length() - 1)
                for start in range(0, points, size):
                    with x64():
                        values = layer.propagate(jets[:, start : start + size])
                    wanted = {(n, p): values[n][closed.index(p)] for n in chosen if n > m for p in pairs}
                    yield Chunk(replica, m, weight, wanted, self.net.depth)

    def tensor(self, name: str | Observable) -> tuple[np.ndarray, np.ndarray]:
        """Return a tensor of the last layer with all its M^4 entries, and the standard errors: for few inputs."""
        one, two = factors(observable(name))
        axes = [*one.axes, *two.axes]
        total = np.zeros((self.replicas, *(len(self.K),) * 4))
        for chunk in self.chunks({one.pair, two.pair}):
            first, second = (np.asarray(chunk[factor.pair]) for factor in (one, two))
            total[chunk.replica] += chunk.weight * np.einsum("rij,rkl->ijkl", first, second)
        total = np.moveaxis(total, range(1, 5), [1 + axis for axis in axes])
        return total.mean(0), total.std(0, ddof=1) / np.sqrt(self.replicas)


class _Layer:
    """What is needed of the neurons of layer m, and to pass on what they add."""

    def __init__(self, fluctuations: Fluctuations, m: int, pairs: tuple[Pair, ...], last: int) -> None:
        import jax.numpy as jnp

        net, averages, layers = fluctuations.net, fluctuations._averages, fluctuations.layers
        theta = [jnp.asarray(value) for value in layers["Theta"]]
        scales = _parameters(net, m)
        directions = max(len(free_directions(pair)) for pair in pairs)
        self._m, self._pairs = m, pairs
        self.draws = Draws(layers["K"][m - 1], layers["Theta"][m - 1], directions)
        self._made = propagation.neurons(net.activation, pairs)
        self._of_layer = theta[m - 1], propagation.mean(pairs, averages[m - 1], theta[m - 1], scales), scales
        self._matrices = [
            propagation.response(pairs, averages[n - 1], theta[n - 1], _parameters(net, n)) for n in range(m + 1, last)
        ]

    def propagate(self, jets: np.ndarray) -> dict[int, tuple]:
        """Return the components of every layer above m."""
        theta, centre, scales = self._of_layer
        value = self._made(jets, theta, centre, scales["C_W"], scales["lambda_W"])
        values = {self._m + 1: value}
        for n, matrices in enumerate(self._matrices, start=self._m + 1):
            value = propagation.advance(self._pairs)(value, matrices)
            values[n + 1] = value
        return values


def fluctuations(net: MLP, x: Any, samples: int = 2**14, seed: int = 0, replicas: int = 16) -> Fluctuations:
    """Return the kernels to order 1/n and samples of fluctuations, for hundreds of inputs.

    The tensors V, A, B, D, F, P, Q, R, S, T, U are sums over the hidden layers of E[X_p X_q], X_p being what a neuron
    adds to a component p of the jet covariance on two inputs: matrices for which expectations are estimated with
    quasi-random neurons. The means K_1 and Theta_1 are quadratures, without sampling error.

    Args:
        net: the network; its activation must be smooth.
        x: inputs, shape (M, n_0); equal or dependent ones are fine.
        samples: neurons per hidden layer, in all replicas.
        seed: of the random numbers.
        replicas: independent repetitions, whose scatter is the standard error.

    Raises:
        PdltError: for bad arguments, an activation with a kink, matrices beyond the memory of this machine, or a kernel
            that overflows.

    Warns:
        AccuracyWarning: if the activation is too steep for the finest quadrature.
    """
    from pdlt._jax import x64

    check_network(net)
    inputs = check_inputs(x)
    _check_arguments(net, samples, seed, replicas)
    _check_memory(len(inputs), net.depth, samples // replicas)
    with x64(), progress("mean kernels"):
        layers, averages = mean_kernels(net, inputs, propagation.averaged_orders(PAIRS))
    missed = max((average.missed for average in averages), default=0.0)
    if missed > RTOL:
        warnings.warn(
            f"The averages of {net.activation.name} are good to {missed:.1e} only with the finest quadrature.",
            AccuracyWarning,
            stacklevel=2,
        )
    return Fluctuations(net, layers, samples, replicas, seed, tuple(averages))


def _check_arguments(net: MLP, samples: Any, seed: Any, replicas: Any) -> None:
    if not net.activation.is_smooth:
        raise PdltError(
            f"Argument `net`: the activation {net.activation.name} has a kink; its second derivative contains a Dirac "
            "atom, which no sampled neuron meets. Fluctuations are sampled for smooth activations; pdlt.predict "
            "evaluates the tensors of activations with kinks on few inputs."
        )
    integer("replicas", replicas, 2, 2**20)
    integer("seed", seed, 0, 2**63 - 1)
    points, rest = divmod(integer("samples", samples, 1, 2**40), replicas)
    if rest or not points or points & (points - 1):
        raise PdltError(f"Argument `samples` must be a power of two times `replicas`, {replicas}, but got {samples}.")


def _check_memory(inputs: int, depth: int, points: int) -> None:
    # The averages and responses of every layer, one neuron on all pairs, and the draws of a replica and their making.
    needed = 8 * (inputs**2 * (80 * depth + 4 * len(PAIRS)) + 12 * inputs * points)
    if needed > 0.8 * machine_memory():
        raise PdltError(
            f"Argument `x`: {inputs} inputs at depth {depth} with {points} neurons per replica need about "
            f"{needed / 2**30:.1f} GiB, but this machine has {machine_memory() / 2**30:.1f} GiB. Take fewer inputs or "
            "more replicas."
        )


def _parameters(net: MLP, n: int) -> dict[str, float]:
    """Return the weights' scales in the step from layer n to n + 1."""
    return {"C_W": net.C_W[n], "lambda_W": net.lambda_W[n]}


def _size(inputs: int, components: int) -> int:
    """Return how many neurons a chunk has: a power of two."""
    most = max(1, _CHUNK // (8 * inputs**2 * components))
    return 1 << (most.bit_length() - 1)
