"""What linearised networks have learned: the control variates of trained ones.

A network and its linearisation around its own initialisation learn functions that differ by O(1/n), while both scatter
between initialisations by O(1). So E[z] = E[z - z_lin] + E[z_lin] is measured with little noise where the first mean is
taken over trained networks and the second over many more that need not be trained. With H and J the tangent kernel and
the Jacobian of a network at initialisation on the training set, z_0 its outputs,

    z_lin(t) = z_0 + H a(t, H) (y - z_0),      a(t, s) = (1 - exp(-s t)) / s   or   (1 - (1 - eta s)^t) / s,

its parameters have moved by J^T a(t, H) (y - z_0), and moved along this line kernels change, to first order, by their
derivatives at initialisation. Nothing here is known about ensembles, or exact but for this algebra: with it or without,
what is estimated is an average over real networks.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pdlt.finite.architecture import Weights
from pdlt.finite.training import Rule
from pdlt.trained.networks import as_matrix, hidden_kernels, preactivations, tangent_kernel
from pdlt.trained.problem import Problem

Array = Any

#: Below this times the learning rate or time, an eigenvalue is not told from 0.
_FLAT = 1e-9


def relaxed(eigenvalues: Array, time: Array, rule: Rule, learning_rate: Array) -> Array:
    """Return a(t, s) of every eigenvalue s; for "gd" the time is a number of steps."""
    step = time if rule == "flow" else learning_rate * time
    flat = jnp.abs(eigenvalues * step) < _FLAT
    s = jnp.where(flat, 1.0, eigenvalues)
    if rule == "flow":
        left = -jnp.expm1(-s * time)
    else:
        x = learning_rate * s
        slow = -jnp.expm1(time * jnp.log1p(-jnp.minimum(x, 0.5)))
        sign = jnp.where((x > 1) & (time % 2 == 1), -1.0, 1.0)
        left = jnp.where(x < 0.5, slow, 1 - sign * jnp.abs(1 - x) ** time)
    return jnp.where(flat, step, left / s)


def linear_moments(problem: Problem, weights: Weights, shapes: dict[str, Any], signs: int) -> dict[str, Array]:
    """Return what one linearised network contributes to averages, or for two signs the mean over its reflection, too.

    The reflection has the outputs -z_0, the same H, and derivatives of kernels by parameters with the other sign.

    Args:
        problem: what is trained on what.
        weights: at initialisation.
        shapes: which averages, with their shapes.
        signs: 2 with the reflection, 1 without.
    """
    net, architecture = problem.net, problem.architecture
    x, points = jnp.asarray(problem.x_train), jnp.asarray(problem.x_test)
    y, both, cut = jnp.asarray(problem.y_train).ravel(), jnp.concatenate([x, points]), problem.y_train.size
    kernels, z = tangent_kernel(net, weights, both), preactivations(net, weights, both)[-1].ravel()
    H = as_matrix(kernels)
    s, modes = jnp.linalg.eigh(H[:cut, :cut])
    times = jnp.asarray(problem.times)
    a = jax.vmap(lambda time: relaxed(s, time, problem.rule, problem.learning_rate))(times)
    absorbed = (modes[None] * a[:, None, :]) @ modes.T
    found: dict[str, Array] = {"kernel": kernels[len(x) :, len(x) :], "train_kernel": kernels[: len(x), : len(x)]}
    if "first" in shapes:
        R = H[cut:, :cut] @ absorbed
        learned, kept = R @ y, z[None, cut:] - R @ z[:cut]
        one = learned if signs == 2 else learned + kept
        found["first"], found["second"] = one, one[:, :, None] * one[:, None, :]
        if signs == 2:
            found["second"] += kept[:, :, None] * kept[:, None, :]
    # What the reflection does not cancel: derivatives of kernels are odd, so the outputs they are multiplied by count.
    lacking = -z[:cut] if signs == 2 else y - z[:cut]
    start = jnp.zeros(architecture.size)
    back = jax.vjp(lambda xi: preactivations(net, architecture.moved(weights, xi), x)[-1].ravel(), start)[1]

    def along(kernel: Any, sources: Array) -> Array:
        """Return the derivatives of a kernel along J^T source, for every source."""
        directions = jax.vmap(lambda source: back(source)[0])(sources)
        return jax.lax.map(
            lambda v: jax.jvp(lambda xi: kernel(net, architecture.moved(weights, xi), points), (start,), (v,))[1],
            directions,
        )

    moved = absorbed @ lacking
    if "hidden_change" in shapes:
        found["hidden_change"] = along(hidden_kernels, moved)
    sources = {"kernel_change": moved, "kernel_velocity": lacking[None] - moved @ H[:cut, :cut]}
    wanted = [name for name in sources if name in shapes]
    if wanted:
        changes = along(tangent_kernel, jnp.concatenate([sources[name] for name in wanted]))
        found |= dict(zip(wanted, jnp.split(changes, len(wanted))))
    return {name: jnp.broadcast_to(found[name], shape) for name, shape in shapes.items()}
