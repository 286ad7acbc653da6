"""Control variates: statistics of the random numbers themselves, whose means are known exactly.

What a forward path does to a component X of G is, to first order in 1/sqrt(n), linear in the averages

    phi = n^(-1/2) sum_j He_k(eps_j) / sqrt(k!)          (several inputs: products of Hermite polynomials)

over each layer, which are orthonormal whatever the network: E phi = 0, E phi phi' = 1 if equal, else 0 (in different
layers too). With X = mu + L + rest, L = c . phi, a mean of X Y loses most of its noise to

    mu_X L_Y + mu_Y L_X + L_X L_Y - c_X . c_Y,

whose expectation is 0 for any numbers mu and c that do not depend on the draws. They are fitted to a pilot ensemble of
its own random numbers, so nothing is biased; a poor fit only leaves more noise.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

Array = Any

DEGREE = 4  # of the Hermite polynomials
FEATURES = 14  # at most, of one layer; with more inputs the degree is smaller
PILOT = 50  # draws for each coefficient of the fit
NARROW = 16  # below this width averages of He_4 have heavy tails: controls add noise there, and error bars suffer
DEEP = 0.12  # largest sum of 1/width: products of averages over many layers have heavy tails as well
MOST = 500  # features of all layers: the fit takes their cube
PILOT_NORMALS = 1e8  # that the pilot draws at most: a few seconds
BATCH = 50  # draws of the pilot together


@dataclass(frozen=True, eq=False)
class Controls:
    """Fitted means and linear parts of components.

    Attributes:
        mean: for each kind of component mu, (layers, N, N).
        slope: for each kind c, (layers, N, N, features of all layers).
    """

    mean: dict[Any, np.ndarray]
    slope: dict[Any, np.ndarray]

    def correction(self, kinds: tuple[Any, ...], phi: Array) -> Array:
        """Return a random number of mean 0 for each entry of a product of components, (layers,) + (N,) * 2k.

        To be subtracted from its mean over samples. Kinds that were not fitted count as 0.

        Args:
            kinds: kinds of the components.
            phi: features of the samples, (features of all layers, samples).
        """
        if not all(kind in self.mean for kind in kinds):
            return 0.0
        gram = phi @ phi.T / phi.shape[1] - jnp.eye(len(phi))
        average = phi.mean(axis=1)
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        slots = ["".join(itertools.islice(letters, 2)) for _ in kinds]
        total: Array = 0.0
        for moved in [*itertools.combinations(range(len(kinds)), 1), *itertools.combinations(range(len(kinds)), 2)]:
            operands, arrays = [], []
            for k, kind in enumerate(kinds):
                operands.append(f"Y{slots[k]}" + (f"{'FG'[moved.index(k)]}" if k in moved else ""))
                arrays.append(jnp.asarray((self.slope if k in moved else self.mean)[kind]))
            weight = average if len(moved) == 1 else gram
            formula = f"{','.join([*operands, 'FG'[: len(moved)]])}->Y{''.join(slots)}"
            total = total + jnp.einsum(formula, *arrays, weight)
        return total


def features(eps: Array) -> Array:
    """Return phi of one layer, (features, samples), from standard normals (samples, N, width)."""
    n_inputs = eps.shape[1]
    hermite = [jnp.ones_like(eps), eps]
    for k in range(1, DEGREE):
        hermite.append(eps * hermite[k] - k * hermite[k - 1])
    found = []
    for powers in _powers(n_inputs):
        product: Array = 1.0
        for a, k in enumerate(powers):
            product = product * hermite[k][:, a] if k else product
        found.append(product.mean(axis=1) * math.sqrt(eps.shape[2] / math.prod(map(math.factorial, powers))))
    return jnp.stack(found)


def worthwhile(widths: Sequence[int], n_inputs: int) -> bool:
    """Return whether controls pay for paths through layers of these widths."""
    few = n_inputs * (n_inputs + 3) // 2 <= FEATURES
    light = min(widths) >= NARROW and sum(1 / n for n in widths) <= DEEP
    if not (few and light):
        return False
    total = len(widths) * count(n_inputs)
    return total <= MOST and PILOT * (total + 1) * n_inputs * sum(widths) <= PILOT_NORMALS


def count(n_inputs: int) -> int:
    """Return the number of features of one layer."""
    return len(_powers(n_inputs))


def fit(draw: Callable[[int], tuple[dict[Any, Array], Array]], known: Sequence[int]) -> Controls:
    """Return means and linear parts from a pilot ensemble, by least squares.

    Args:
        draw: maps the number of a batch to components by kind, (layers, samples, N, N), and features (features of all
            layers, samples), of BATCH independent samples.
        known: for each measured layer the number of features of the layers below it.
    """
    batches = [draw(k) for k in range(-(-PILOT * (max(known) + 1) // BATCH))]
    phi = np.concatenate([np.asarray(own) for _, own in batches], axis=1)
    design = np.concatenate([np.ones((1, phi.shape[1])), phi]).T
    mean, slope = {}, {}
    for kind in batches[0][0]:
        values = np.concatenate([np.asarray(own[kind]) for own, _ in batches], axis=1)
        solution = np.zeros((len(known), design.shape[1], *values.shape[2:]), dtype=values.dtype)
        for layer, size in enumerate(known):
            flat = values[layer].reshape(len(design), -1)
            found = np.linalg.lstsq(design[:, : 1 + size], flat, rcond=None)[0]
            solution[layer, : 1 + size] = _rounded(found).reshape(1 + size, *values.shape[2:])
        mean[kind], slope[kind] = solution[:, 0], np.moveaxis(solution[:, 1:], 1, -1)
    return Controls(mean, slope)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return values of 16 bits: the last bits of a linear solver depend on its threads, and any values will do."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**16) / 2.0**16, exponent)


def _powers(n_inputs: int) -> list[tuple[int, ...]]:
    """Return the degrees in each input's eps of the features, by total degree, as far as FEATURES allows."""
    found: list[tuple[int, ...]] = []
    for degree in range(1, DEGREE + 1):
        own = [p for p in itertools.product(range(degree + 1), repeat=n_inputs) if sum(p) == degree]
        if degree > 2 and len(found) + len(own) > FEATURES:
            break
        found += own
    return found
