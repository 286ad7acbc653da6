"""Integration of xi' = v(xi): the pair of Dormand and Prince with error control, and exact steps of descent.

Pure functions of arrays: they may be jitted and mapped over networks. Every network of a map then has step sizes of its
own; the map runs until the slowest has arrived. Steps end exactly at the times asked for, nothing is interpolated.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any
Velocity = Callable[[Array], Array]

#: Steps after which a flow is given up. With an explicit method they cannot be longer than about 3.3 / (largest rate).
MAX_STEPS = 100_000

# Dormand and Prince, J. Comput. Appl. Math. 6 (1980) 19: stages, and what separates order five from order four. The
# last row of the stages is the step itself; its velocity is the first of the next step.
_STAGES = np.array(
    [
        [1 / 5, 0, 0, 0, 0, 0],
        [3 / 40, 9 / 40, 0, 0, 0, 0],
        [44 / 45, -56 / 15, 32 / 9, 0, 0, 0],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729, 0, 0],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656, 0],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    ]
)
_ERROR = np.array([71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])


def step(velocity: Velocity, xi: Array, v: Array, h: Array) -> tuple[Array, Array, Array]:
    """Return one step of size h from xi with velocity v: (new xi, its velocity, estimate of the error)."""

    # A loop, not six copies: the velocity is a whole network with its gradient, and compiled once. Sums written out are
    # fused into one pass over memory; as products of a vector and a matrix they take two to three times as long.
    def combined(coefficients: Array, slopes: Array) -> Array:
        return sum(coefficients[k] * slopes[k] for k in range(len(coefficients)))

    def stage(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        slopes, _ = state
        new = xi + h * combined(jnp.asarray(_STAGES)[k], slopes)
        return slopes.at[k + 1].set(velocity(new)), new

    slopes, new = jax.lax.fori_loop(0, 6, stage, (jnp.zeros((7, *xi.shape), xi.dtype).at[0].set(v), xi))
    return new, slopes[6], h * combined(jnp.asarray(_ERROR), slopes)


def flow(velocity: Velocity, start: Array, times: Array, tolerance: float, max_steps: int = MAX_STEPS) -> Array:
    """Return xi at the given times, shape (T, P), starting at time 0.

    A step is accepted if its error estimate is at most `tolerance` times the distance from the start, both in the
    Euclidean norm of xi.

    Args:
        velocity: v, a function of xi, shape (P,).
        start: xi at time 0.
        times: increasing, not negative, finite.
        tolerance: relative error of a step.
        max_steps: rejected ones included; where it is exceeded the result is nan.
    """

    def advance(state: tuple, end: Array) -> tuple:
        def going(s: tuple) -> Array:
            return (s[0] < end) & (s[4] < max_steps)

        def attempt(s: tuple) -> tuple:
            t, xi, v, h, count = s
            size = jnp.minimum(h, end - t)
            new, new_v, error = step(velocity, xi, v, size)
            distance = jnp.maximum(jnp.linalg.norm(new - start), jnp.linalg.norm(xi - start))
            ratio = jnp.linalg.norm(error) / (tolerance * distance + np.finfo(float).tiny)
            good = ratio <= 1  # false for nan
            factor = jnp.where(jnp.isfinite(ratio), jnp.clip(0.9 * (ratio + 1e-10) ** -0.2, 0.2, 5.0), 0.2)
            # A step that was cut short to end at `end` says nothing against longer ones.
            next_h = jnp.where(good & (size < h), jnp.maximum(h, size * factor), size * factor)
            arrived = jnp.where(h >= end - t, end, t + size)
            pick = lambda a, b: jnp.where(good, a, b)  # noqa: E731
            return pick(arrived, t), pick(new, xi), pick(new_v, v), next_h, count + 1

        # The first guess is the whole interval; rejections shorten it fivefold.
        state = (*state[:3], jnp.where(state[3] > 0, state[3], end - state[0]), state[4])
        state = jax.lax.while_loop(going, attempt, state)
        return state, jnp.where(state[0] >= end, state[1], jnp.nan)

    zero = jnp.zeros((), times.dtype)
    found: Array
    _, found = jax.lax.scan(advance, (zero, start, velocity(start), zero, jnp.zeros((), int)), times)
    return found


def descend(velocity: Velocity, start: Array, counts: Array, learning_rate: Array) -> Array:
    """Return xi after the given numbers of steps xi -> xi + learning_rate v(xi), shape (T, P).

    Args:
        velocity, start: as in `flow`.
        counts: increasing integers, not negative.
        learning_rate: eta.
    """

    def advance(state: tuple, count: Array) -> tuple:
        done, xi = state
        xi = jax.lax.fori_loop(done, count, lambda _, p: p + learning_rate * velocity(p), xi)
        return (count, xi), xi

    return jax.lax.scan(advance, (jnp.zeros((), counts.dtype), start), counts)[1]
