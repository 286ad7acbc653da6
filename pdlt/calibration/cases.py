"""Random cases. Case k of a suite is a pure function of the suite's seed, its samplers and k."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pdlt.calibration import layerwise, shallow
from pdlt.ensemble.specs import NAMED, cumulants
from pdlt.networks import MLP

#: Activation -> the C_W at which kernels neither grow nor vanish much.
SMOOTH = {"tanh": 1.3, "sin": 1.3, "erf": 1.1, "gelu": 1.8, "silu": 2.0, "sigmoid": 2.5, "softplus": 1.0}
KINKED = {"relu": 2.0, "leaky_relu(0.2)": 1.9, "leaky_relu(-0.5)": 1.6, "abs": 1.0}
LINEAR = {"linear": 1.0}

DEPTHS = (2, 6)
WIDTHS = (4, 64)
#: Bound on sum_l 1/n_l over the hidden layers. Beyond it G is so skewed that no error bar of a variance is normal at
#: the suite's numbers of samples (docs/calibration.md has the measurement).
FLUCTUATION = 0.25
#: The same for the third cumulant of G, which is more skewed, and how many more samples it gets.
SKEWED, MORE = 0.15, 10
THIRD = "1 2 | 3 4 | 5 6"
#: Most inputs and layers of what is slow: third derivatives, and products of two second ones.
LIMITS = dict.fromkeys("RSTU", (2, 4))
EXACT = "exact"
#: What case k is; the covariance's third cumulant, which only `jets` measures, takes the place of some layerwise cases.
KINDS = ("pair", "layerwise", "pair", "shallow")
THIRD_EVERY = 24


@dataclass(frozen=True, eq=False)
class Case:
    """What is compared with what.

    Attributes:
        number: k.
        kind: "pair" for two samplers; "layerwise", "shallow" or "covariance" for a sampler and an exact solution.
        net: the network.
        x: inputs, shape (N, n_0).
        observable: name or spec, measured in the last layer.
        sides: two samplers, or a sampler and "exact".
        entries: for each replicate the entry that is compared.
        seeds: for each replicate the samplers' seed.
    """

    number: int
    kind: str
    net: MLP
    x: np.ndarray
    observable: str
    sides: tuple[str, str]
    entries: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]


def draw_case(seed: int, number: int, samplers: tuple[str, ...], replicates: int) -> Case:
    """Return case `number` of a suite.

    Network, inputs, observable and entries depend on seed and number alone; which samplers meet goes round.
    """
    rng = np.random.default_rng([seed, number])
    turn = number // len(KINDS)
    kind = KINDS[number % len(KINDS)]
    if kind == "pair" and len(samplers) < 2:
        kind = "layerwise"
    if kind == "layerwise" and "jets" in samplers and turn % (THIRD_EVERY // len(KINDS)) == 0:
        kind = "covariance"
    observable = THIRD if kind == "covariance" else str(rng.choice(list(NAMED)))
    net, x = draw_network(rng, kind, observable)
    pairs = list(combinations(samplers, 2))
    if kind == "pair":
        sides = pairs[number // 2 % len(pairs)]
    else:
        sides = ("jets" if kind == "covariance" else samplers[turn % len(samplers)], EXACT)
    axes = 2 * cumulants([observable])[0].order
    entries = tuple(tuple(int(i) for i in rng.integers(len(x), size=axes)) for _ in range(replicates))
    state = np.random.SeedSequence([seed, number]).generate_state(replicates, np.uint64)
    return Case(number, kind, net, x, observable, sides, entries, tuple(int(s >> np.uint64(1)) for s in state))


def draw_network(rng: np.random.Generator, kind: str, observable: str) -> tuple[MLP, np.ndarray]:
    """Return a network and inputs of which the exact solution `kind` knows the answer; "pair": any."""
    inputs, deepest = {"covariance": (1, DEPTHS[1])}.get(kind, LIMITS.get(observable, (3, DEPTHS[1])))
    while True:
        depth = 2 if kind == "shallow" else int(rng.integers(DEPTHS[0], deepest + 1))
        table = {**LINEAR, **KINKED} if kind in ("layerwise", "covariance") else {**SMOOTH, **KINKED}
        name = str(rng.choice(list(table)))
        x = _inputs(rng, inputs)
        if kind == "layerwise" and name in KINKED:
            x = x[:1]
        net = MLP(
            depth,
            _widths(rng, depth, SKEWED if kind == "covariance" else FLUCTUATION),
            name,
            C_b=_scales(rng, depth, 0.05, 0.4, zero=0.4),
            C_W=_scales(rng, depth, 0.6 * table[name], 1.2 * table[name], zero=0.0),
            lambda_b=_scales(rng, depth, 0.2, 1.5, zero=0.3),
            lambda_W=_scales(rng, depth, 0.3, 1.5, zero=0.1),
        )
        # Three inputs that a kink cuts at different planes have no simple answer.
        if max(net.lambda_W) > 0 and (kind != "shallow" or shallow.solvable(net, x)):
            assert kind in ("pair", "shallow") or layerwise.solvable(net, len(x))
            return net, x


def _inputs(rng: np.random.Generator, most: int) -> np.ndarray:
    """Return 1 to `most` inputs of random dimension; sometimes one is a multiple of another, or the same."""
    count, dimension = int(rng.integers(1, most + 1)), int(rng.integers(1, 6))
    x = rng.normal(size=(count, dimension))
    x *= np.sqrt(rng.uniform(0.3, 1.5, size=(count, 1)) / (x**2).mean(axis=1, keepdims=True))
    relation = rng.uniform()
    if count > 1 and relation < 0.3:
        x[1] = x[0] * (1.0 if relation < 0.1 else rng.uniform(-1.0, 1.0))
    return np.round(x, 3)


def _widths(rng: np.random.Generator, depth: int, most: float) -> tuple[int, ...]:
    low, high = math.log(WIDTHS[0]), math.log(WIDTHS[1] + 1)
    while True:
        widths = tuple(int(math.exp(w)) for w in rng.uniform(low, high, size=depth - 1))
        if sum(1 / n for n in widths) <= most:
            return widths


def _scales(rng: np.random.Generator, depth: int, low: float, high: float, zero: float) -> tuple[float, ...]:
    """Return a number per layer: in a third of all cases each its own, else the same; each may be 0."""
    values = rng.uniform(low, high, size=depth) * (rng.uniform(size=depth) >= zero)
    if rng.uniform() < 2 / 3:
        values[:] = values[0]
    return tuple(float(v) for v in np.round(values, 3))
