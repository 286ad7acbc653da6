"""Blocks of trained networks: block k is a pure function of the run's spec, the seed and k.

A block draws initial weights, each with its reflection if pairs are wanted, trains, and averages over the networks what
`observables` asks for. Controls are the same averages over the linearised networks, minus those over more networks that
are linearised and not trained (`linearised`).
"""

import json
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._jax import x64
from pdlt.ensemble.blocks import BLOCK, Block, block_key, words
from pdlt.ensemble.tasks import Recipe
from pdlt.errors import PdltError
from pdlt.finite.architecture import Weights
from pdlt.finite.method import Gradient
from pdlt.finite.training import kink_advice, trained, training_velocity
from pdlt.trained.linearised import linear_moments
from pdlt.trained.networks import as_matrix, drawn, hidden_kernels, preactivations, reflected, tangent_kernel
from pdlt.trained.observables import moment_shapes, vector_shapes
from pdlt.trained.problem import Problem

Array = Any
Moments = dict[str, Array]

STREAM = 1  # to be raised whenever equal seeds begin to give different numbers
WORKING_SET = 2.0**23  # bytes, about what fits into caches; networks beyond it are trained in parts
#: Arrays of the size of the parameters that training holds: slopes of the integrator, states, weights.
COPIES = 16
#: A network whose loss has grown by this factor is not learning; catapults grow by about the width.
DIVERGED = 1e6


@dataclass(frozen=True)
class TrainingRecipe(Recipe):
    """What determines the blocks of a run of trained networks."""

    def problem(self) -> Problem:
        """Return what is trained on what."""
        return Problem.from_description(json.loads(self.spec), np.frombuffer(self.inputs, dtype=np.float64))

    def block(self) -> Block:
        """Return what draws a block, a function of seed and number -> (vector of means, what is finite).

        Finite are: the trained networks at each time, and what the linearised ones have learned.
        """
        spec, problem = json.loads(self.spec), self.problem()
        average = averages(problem, spec)
        count, _ = divided(problem, spec)

        def block(seed: Array, number: Array) -> tuple[Array, Array]:
            keys = jax.random.split(block_key(spec, seed, number), count)
            means, finite = jax.lax.map(average, keys)
            return means.mean(axis=0), finite.all(axis=0)

        return block

    def unfinite(self, number: int, position: int) -> PdltError:
        """Return the error for a block with a network that did not arrive at the time of this position."""
        spec, problem = json.loads(self.spec), self.problem()
        if position == len(problem.times):
            return PdltError(
                "Argument `linearised` must be 0 here: networks that learn are compared with their linearisations, "
                f"which overflow in block {number} of the run."
            )
        largest = largest_eigenvalue(problem, initial_weights(problem, spec, number))
        what = f"of networks {BLOCK * number} to {BLOCK * (number + 1) - 1} one"
        known = f"the largest eigenvalue of their tangent kernels at initialisation is {largest:.6g}"
        if problem.rule == "gd":
            return PdltError(
                f"Argument `learning_rate` must be small enough for training to converge, but with "
                f"{problem.learning_rate:g} {what} diverges before step {problem.times[position]:g}: {known}, and the "
                f"bound 2/lambda_max is {2 / largest:.6g}."
            )
        return PdltError(
            f"Argument `times`: {what} does not reach time {problem.times[position]:g}, because the flow diverges or "
            f"takes too many steps: {known}. Train for a shorter time or with lower learning rates."
            f"{kink_advice(problem.net)}"
        )


def initial_weights(problem: Problem, spec: dict[str, Any], number: int) -> Weights:
    """Return the weights that the networks of a block start from, without reflections, in one array each."""
    count, _ = divided(problem, spec)
    draws = BLOCK // _signs(spec) // count
    with x64():
        keys = jax.random.split(block_key(spec, words(spec["seed"]), words(number)), count)
        parts = [drawn(problem.architecture, jax.random.fold_in(key, 0), draws) for key in keys]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def largest_eigenvalue(problem: Problem, weights: Weights) -> float:
    """Return the largest eigenvalue of the tangent kernels of networks on their training set."""
    with x64():
        every = jax.jit(jax.vmap(lambda own: as_matrix(tangent_kernel(problem.net, own, problem.x_train))))(weights)
    return float(np.linalg.eigvalsh(np.asarray(every)).max())


def divided(problem: Problem, spec: dict[str, Any]) -> tuple[int, float]:
    """Return in how many parts a block is drawn, and how many bytes one part needs."""
    architecture, points = problem.architecture, len(problem.x_train) + len(problem.x_test)
    moments = sum(float(np.prod(shape)) for shape in vector_shapes(spec["observables"], problem, 1).values())
    rows = points * architecture.outputs
    kernels = rows**2 + rows * sum(problem.net.width)
    times = len(problem.times)
    each = 8.0 * (COPIES * architecture.size + times * architecture.size + 3 * moments + 3 * kernels)
    draws = BLOCK // _signs(spec)
    divisors = [count for count in range(1, draws + 1) if draws % count == 0]
    count = min((count for count in divisors if BLOCK / count * each <= WORKING_SET), default=draws)
    return count, BLOCK / count * each


def averages(problem: Problem, spec: dict[str, Any]) -> Any:
    """Return the function of a key that averages over one part of a block: (vector of means, what is finite)."""
    shapes = moment_shapes(spec["observables"], problem)
    count, _ = divided(problem, spec)
    draws, extra, signs = BLOCK // _signs(spec) // count, spec["linearised"], _signs(spec)

    def learned(key: Array) -> Moments:
        weights = drawn(problem.architecture, key, draws)
        return _means(jax.vmap(lambda own: linear_moments(problem, own, shapes, signs))(weights))

    def part(key: Array) -> tuple[Array, Array]:
        first = jax.random.fold_in(key, 0)
        weights = drawn(problem.architecture, first, draws)
        every = weights
        if signs == 2:
            every = jax.tree.map(lambda *two: jnp.concatenate(two), weights, reflected(weights))
        found, finite = jax.vmap(lambda own: trained_moments(problem, own, shapes))(every)
        moments, controls = _means(found), {}
        if extra:
            # The trained networks again, and others.
            keys = jnp.concatenate([first[None], jax.random.split(jax.random.fold_in(key, 1), extra)])
            controls = jax.tree.map(lambda each: each[0] - each[1:].mean(axis=0), jax.lax.map(learned, keys))
        fine = jnp.isfinite(jnp.array([mean.sum() for mean in controls.values()])).all()
        # The order of `vector_shapes`.
        ordered = [part[name].ravel() for part in (moments, controls) for name in shapes if name in part]
        return jnp.concatenate(ordered), jnp.concatenate([finite.all(axis=0), fine[None]])

    return part


def trained_moments(problem: Problem, weights: Weights, shapes: dict[str, Any]) -> tuple[Moments, Array]:
    """Return what one network contributes to the moments, and at which times it has arrived."""
    architecture, net = problem.architecture, problem.net
    x, y, points = (jnp.asarray(array) for array in (problem.x_train, problem.y_train, problem.x_test))
    times = jnp.asarray(problem.times, float if problem.rule == "flow" else int)
    start = jnp.zeros(architecture.size)
    path = trained(
        architecture, weights, start, x, y, times, problem.rule, problem.learning_rate, tolerance=problem.tolerance
    )
    velocity = training_velocity(architecture, weights, x, y, Gradient())

    def loss(own: Weights) -> Array:
        return ((preactivations(net, own, x)[-1] - y) ** 2).sum()

    def kernel(xi: Array) -> Array:
        return tangent_kernel(net, architecture.moved(weights, xi), points)

    largest = DIVERGED * (loss(weights) + (y**2).sum())
    H_0 = kernel(start) if "kernel_change" in shapes else None
    G_0 = hidden_kernels(net, weights, points) if "hidden_change" in shapes else None

    def look(xi: Array) -> tuple[Moments, Array]:
        own = architecture.moved(weights, xi)
        z = preactivations(net, own, points)[-1].ravel()
        measured = {
            "first": lambda: z,
            "second": lambda: jnp.outer(z, z),
            "kernel": lambda: kernel(xi),
            "kernel_change": lambda: kernel(xi) - H_0,
            "kernel_velocity": lambda: jax.jvp(kernel, (xi,), (velocity(xi),))[1],
            "train_kernel": lambda: tangent_kernel(net, own, x),
            "hidden_change": lambda: hidden_kernels(net, own, points) - G_0,
        }
        return {name: measured[name]() for name in shapes}, (loss(own) <= largest) & jnp.isfinite(z).all()

    return jax.lax.map(look, path)


def _means(moments: Moments) -> Moments:
    return jax.tree.map(lambda values: values.mean(axis=0), moments)


def _signs(spec: dict[str, Any]) -> int:
    return 2 if spec["pairs"] else 1
