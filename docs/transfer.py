"""One task, then another: what the first has left in the tangent kernel. The numbers of docs/transfer.md."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import pdlt
from pdlt._jax import x64
from pdlt.finite import Architecture, trained

#: Four inputs on a circle. By symmetry the tangent kernel of infinite width has equal eigenvalues for the tasks
#: "related" (proportional to the labels of the first task) and "unrelated"; "parity" has another one.
X = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
FIRST = np.array([2.0, 0.0, -2.0, 0.0])
TASKS = {
    "related": np.array([1.0, 0.0, -1.0, 0.0]) / np.sqrt(2),
    "unrelated": np.array([0.0, 1.0, 0.0, -1.0]) / np.sqrt(2),
    "parity": np.array([1.0, -1.0, 1.0, -1.0]) / 2,
}
RESIDUALS = tuple(TASKS.values())
LEARNED = 12.0  # time of the first task: its slowest mode has fallen by e^-10


def network(width):
    return pdlt.MLP.critical("gelu", depth=3, width=width, lambda_b=0.2)


def rates(kernel):
    """Return e.H.e of every task's unit residual e: how fast gradient flow starts to reduce it."""
    return np.array([e @ kernel @ e for e in TASKS.values()])


def bounds(errors):
    """Return the largest standard errors that rates can have if components of the kernel have these."""
    return np.array([abs(e) @ errors @ abs(e) for e in TASKS.values()])


def predicted(samples=2**16):
    """Return rates at order 0, the coefficients of 1/n before the first task and of what it changes, and its error."""
    net = network(64)
    mean = pdlt.predict(net, X, ["Theta"]).isel(layer=-1)
    moved = pdlt.predict_training(
        net, X, FIRST, X, [np.inf], order=1, kernels="tangent", covariance="none", method="sampled", samples=samples
    )
    changes, errors = (moved[name].values[0, :, :, 0, 0] for name in ("kernel_change_1", "kernel_change_1_stderr"))
    return rates(mean.Theta.values), rates(mean.Theta_1.values), rates(changes), bounds(errors)


def measured(width, networks, seed=1):
    """Return the change of the rates in really trained networks, and an upper bound of its standard error."""
    run = pdlt.simulate_training(
        network(width), X, FIRST, X, [LEARNED], observables=["kernel_change"], samples=networks, seed=seed
    )
    errors = run.kernel_change_stderr.values[0, :, :, 0, 0]
    return rates(run.kernel_change.values[0, :, :, 0, 0]), bounds(errors)


def second_task(net, networks, times, x=X, first=FIRST, residuals=RESIDUALS, learned=LEARNED, seed=2):
    """Train networks on second tasks, alone and after the first one.

    The labels of a second task are what the network computes, minus a residual: every network starts with the same
    loss, and at infinite width learns alike with and without the first task.

    Returns:
        Losses over the initial ones, shape (networks/2, 2, 2, tasks, times): the members of a pair have opposite signs
        of the last layer, which takes out most of the noise; then alone, after the first task.
    """
    architecture = Architecture(net, x.shape[1], 1)
    run = partial(trained, architecture, tolerance=1e-6)

    def one(key, sign):
        weights = architecture.draw(key)
        weights = (*weights[:-1], jax.tree.map(lambda a: sign * a, weights[-1]))
        untrained = jnp.zeros(architecture.size)
        trained_once = run(weights, untrained, x, first[:, None], np.array([learned]))[0]

        def losses(start, residual):
            labels = architecture.evaluate(weights, start, x) - residual[:, None]
            along = run(weights, start, x, labels, times)
            squares = jax.vmap(lambda p: ((architecture.evaluate(weights, p, x) - labels) ** 2).sum())(along)
            return squares / (residual**2).sum()

        every = jax.vmap(losses, in_axes=(None, 0))
        return jnp.stack([every(start, np.array(residuals)) for start in (untrained, trained_once)])

    with x64():
        keys = jax.random.split(jax.random.PRNGKey(seed), networks // 2)
        both = jax.jit(jax.vmap(lambda key: jnp.stack([one(key, 1.0), one(key, -1.0)])))
        return np.concatenate([np.asarray(both(keys[i : i + 50])) for i in range(0, len(keys), 50)])


def starting_rates(net, networks, h=0.02, **problem):
    """Return -1/2 d log(loss)/dt at the start of the second tasks, after the first task and what that has added.

    By the one-sided difference of second order. Means (tasks,) and standard errors of both.
    """
    logs = np.log(second_task(net, networks, np.array([h, 2 * h]), **problem))
    found = -(4 * logs[..., 0] - logs[..., 1]).mean(1) / (4 * h)
    after, added = found[:, 1], found[:, 1] - found[:, 0]
    return [(r.mean(0), r.std(0) / np.sqrt(len(r))) for r in (after, added)]


def main(networks=1000, widths=(32, 64, 128), path=None):
    infinite, before, change, uncertain = predicted()
    print("rates at infinite width, before and after: ", *(f"{name} {r:.4f}" for name, r in zip(TASKS, infinite)))
    print(
        "n x change by the first task, predicted:   ",
        *(f"{name} {c:.2f}({e:.2f})" for name, c, e in zip(TASKS, change, uncertain)),
    )
    for width in widths:
        values, errors = measured(width, networks)
        cells = (f"{name} {width * v:.2f}({width * e:.2f})" for name, v, e in zip(TASKS, values, errors))
        print(f"    measured, width {width:4}:                  ", *cells)
    print("\nstarting rates of the second task after the first, and what the first has added")
    print(f"{'width':>5} {'task':>10} | order 1  networks        | order 1  networks")
    for width in widths:
        after, added = starting_rates(network(width), networks)
        for k, name in enumerate(TASKS):
            cells = []
            for (values, errors), value in ((after, infinite + (before + change) / width), (added, change / width)):
                cells.append(f"{value[k]:7.4f}  {values[k]:.4f}({errors[k]:.4f})")
            print(f"{width:5} {name:>10} | {'  | '.join(cells)}")
    if path:
        draw(infinite, widths[0], networks, path)


def draw(infinite, width, networks, path):
    import matplotlib.pyplot as plt

    times = np.linspace(0.02, 1.5, 40)
    alone, after = second_task(network(width), networks, times).mean((0, 1))
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for k, name in enumerate(TASKS):
        axes.semilogy(times, np.exp(-2 * infinite[k] * times), "--", color=f"C{k}", alpha=0.5)
        axes.semilogy(times, alone[k], ":", color=f"C{k}")
        axes.semilogy(times, after[k], color=f"C{k}", label=name)
    axes.set(xlabel="time since the second task began", ylabel="loss / initial loss")
    title = f"dashed: infinite width; dotted: width {width}, second task alone; solid: after the first"
    axes.set_title(title, size=9)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(path=sys.argv[1] if len(sys.argv) > 1 else None)
