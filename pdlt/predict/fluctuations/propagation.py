"""Fluctuations of components on all pairs of inputs: made by neurons of one layer, and passed on by the next ones."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from pdlt.activations import Activation
from pdlt.predict.fluctuations.averages import Orders, PairAverages
from pdlt.symbolic.fluctuations import Coefficient, Labels, Pair, free_directions, responses, sources

#: The matrices of the linear response: for each component those of `_seen`, (M, M) each.
Response = tuple[tuple[jax.Array, ...], ...]


def averaged_orders(pairs: Sequence[Pair]) -> set[Orders]:
    """Return the derivatives of the activation whose averages `mean` and `response` take."""
    terms = [r.coefficient for pair in pairs for r, _ in responses(pair)]
    terms += [s.coefficient for pair in pairs if not free_directions(pair) for s, _ in sources(pair)]
    return {(k,) for coefficient in terms for _, k in coefficient.sigmas}


def response(
    pairs: Sequence[Pair], averages: PairAverages, theta: jax.Array, parameters: dict[str, float]
) -> Response:
    """Return the matrices that `advance` multiplies with, for the step from layer l to l+1.

    Args:
        pairs: the components, closed under `responses`.
        averages: under K of layer l.
        theta: Theta of layer l, (M, M).
        parameters: C_W and lambda_W of layer l+1.
    """
    found = []
    for pair in pairs:
        matrices = dict.fromkeys(_seen(pair), jnp.zeros_like(theta))
        for term, weight in responses(pair):
            key = term.pair, term.labels
            matrices[key] = matrices[key] + float(weight) * _averaged(term.coefficient, averages, theta, parameters)
        found.append(tuple(matrices.values()))
    return tuple(found)


def mean(
    pairs: Sequence[Pair], averages: PairAverages, theta: jax.Array, parameters: dict[str, float]
) -> tuple[jax.Array, ...]:
    """Return <Phi> of each component, (M, M); zero, of shape (1, 1), if it has free directions."""
    return tuple(
        sum(
            (float(w) * _averaged(s.coefficient, averages, theta, parameters) for s, w in sources(pair)),
            start=jnp.zeros_like(theta),
        )
        if not free_directions(pair)
        else jnp.zeros((1, 1))
        for pair in pairs
    )


@lru_cache(maxsize=32)
def neurons(activation: Activation, pairs: tuple[Pair, ...]) -> Any:
    """Return a compiled function (jets, theta, mean, C_W, lambda_W) -> what each neuron adds to each component.

    `jets` has shape (1 + D, r, M), z first and then the derivatives along a, b, ...; results have shape (r, M, M).
    """
    top = max(k for pair in pairs for s, _ in sources(pair) for _, k in s.coefficient.sigmas)

    def run(jets, theta, means, C_W, lambda_W):  # type: ignore[no-untyped-def]
        sigma = [activation.jax(k)(jets[0]) for k in range(top + 1)]
        results = []
        for pair, centre in zip(pairs, means, strict=True):
            total = -centre[None]
            for source, weight in sources(pair):
                here = source.coefficient
                sides = {label: sigma[k] for label, k in here.sigmas}
                for direction, label in source.jets:
                    sides[label] = sides[label] * jets[1 + "abc".index(direction)]
                scale = float(weight) * C_W ** here.powers[0] * lambda_W ** here.powers[1]
                total = total + scale * _kernels(here, theta)[None] * sides[1][:, :, None] * sides[2][:, None, :]
            results.append(total)
        return tuple(results)

    return jax.jit(run)


@lru_cache(maxsize=32)
def advance(pairs: tuple[Pair, ...]) -> Any:
    """Return a compiled function (fluctuations, response) -> the fluctuations they cause in the next layer."""
    place = {pair: i for i, pair in enumerate(pairs)}

    def run(values, matrices):  # type: ignore[no-untyped-def]
        def seen(pair: Pair, labels: Labels) -> jax.Array:
            value = values[place[pair]]
            if labels == (1, 2):
                return value
            if labels == (2, 1):
                return value.swapaxes(1, 2)
            diagonal = jnp.diagonal(value, axis1=1, axis2=2)
            return diagonal[:, :, None] if labels == (1, 1) else diagonal[:, None, :]

        return tuple(
            sum(matrix[None] * seen(*key) for matrix, key in zip(row, _seen(pair), strict=True))
            for pair, row in zip(pairs, matrices, strict=True)
        )

    return jax.jit(run)


@lru_cache(maxsize=256)
def _seen(pair: Pair) -> tuple[tuple[Pair, Labels], ...]:
    """Return the components and labels that a component responds to."""
    return tuple(sorted({(term.pair, term.labels) for term, _ in responses(pair)}))


def _averaged(term: Coefficient, averages: PairAverages, theta: jax.Array, parameters: dict[str, float]) -> jax.Array:
    orders = dict(term.sigmas)
    scale = parameters["C_W"] ** term.powers[0] * parameters["lambda_W"] ** term.powers[1]
    return scale * averages((orders[1],), (orders[2],)) * _kernels(term, theta)


def _kernels(term: Coefficient, theta: jax.Array) -> jax.Array:
    """Return the product of the Thetas of a term, a matrix that broadcasts to (M, M)."""
    views = {(1, 2): theta, (1, 1): jnp.diagonal(theta)[:, None], (2, 2): jnp.diagonal(theta)[None, :]}
    value = jnp.ones((1, 1))
    for labels in term.kernels:
        value = value * views[labels]
    return value
