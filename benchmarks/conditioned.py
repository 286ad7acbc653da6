"""Real finite networks without weight matrices: the sampler `conditioned` against dense autodiff, and against `jets`.

First table: networks per CPU second, sampling included, and the ratio with its target. The other side is dense:
weights from jax.random, derivatives by autodiff, under vmap; for NTK, K and V that is the sampler `network`, for the
dNTK a plain program that takes one Hessian-vector product of one output (this package's side measures two outputs).
Second table: for numbers of outputs, standard errors at equal CPU time relative to two outputs. Third table, one input:
CPU time times squared standard error of an observable, that of `conditioned` over that of the others. All sides in turn
in one process. Arguments: --float32 for single precision; ratios, outputs, errors for one table only.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import pdlt
from pdlt.ensemble import conditioned, jets, network, structured
from pdlt.ensemble.specs import cumulants, moments

X = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])
SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
#: Preactivations (conditioned, jets) or weights (dense) of a layer drawn at once: what fits into caches, or memory.
TOGETHER = {conditioned: 2**15, jets: 2**15, structured: 2**20, network: 2**20}
CALLS = {conditioned: 16, jets: 16, structured: 1, network: 1}  # of those in one call of the timed program


def rate(draw, together, repeats=1, blocks=5):
    """Return networks per CPU second (the best block's), the means of every block and their size.

    `draw` is a function of key and number of networks.
    """

    def block(key):
        return jax.lax.map(lambda k: draw(k, together), jax.random.split(key, repeats))

    block = jax.jit(block)
    jax.block_until_ready(block(jax.random.key(0)))
    seconds, means = [], []
    for k in range(blocks):
        start = time.process_time()
        means.append([np.mean(mean, axis=0).ravel()[0] for mean in jax.block_until_ready(block(jax.random.key(k)))])
        seconds.append(time.process_time() - start)
    return together * repeats / min(seconds), np.array(means), together * repeats


def measure(sampler, n, inputs, names, blocks=5, depth=4, **outputs):
    """Return networks per CPU second, and the standard error of every cumulant times sqrt(networks)."""
    net = pdlt.MLP(depth, n, "tanh", **SCALES)
    together = max(3, TOGETHER[sampler] // (n * n if sampler in (structured, network) else n))
    measured = cumulants(names)
    wanted = moments(measured)
    draw = sampler.sampler(net, X[:inputs], wanted, (depth,), **outputs)
    networks, means, size = rate(lambda key, samples: draw(key, samples)[0], together, CALLS[sampler], blocks)
    without = (np.sum(means, axis=0) - means) / (blocks - 1)
    values = dict(zip(wanted, without.T, strict=True))
    errors = []
    for cumulant in measured:
        terms = [factor * np.prod([values[m] for m, _ in product], axis=0) for factor, product in cumulant.terms()]
        errors.append(np.std(np.sum(terms, axis=0)) * np.sqrt(blocks - 1))  # jackknife
    return networks, np.array(errors) * np.sqrt(blocks * size)


def hessian_vector_products(n, depth):
    """Return networks per CPU second whose dNTK is found by one Hessian-vector product."""
    sizes = [X.shape[1], *[n] * (depth - 1), 1]

    def one(key):
        keys = jax.random.split(key, depth)
        shapes = zip(sizes[1:], sizes[:-1], strict=True)
        weights = [np.sqrt(1.4 / k) * jax.random.normal(key, (m, k)) for key, (m, k) in zip(keys, shapes, strict=True)]

        def output(weights, biases):
            state = jnp.asarray(X[0], weights[0].dtype)
            for weight, bias in zip(weights, biases, strict=True):
                z = weight @ state + bias
                state = jnp.tanh(z)
            return z[0]

        parameters = (weights, [jnp.zeros(m) for m in sizes[1:]])
        gradient, along = jax.jvp(jax.grad(output, (0, 1)), parameters, jax.grad(output, (0, 1))(*parameters))
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, along)))

    def draw(key, samples):
        return [jax.vmap(one)(jax.random.split(key, samples)).mean()]

    return rate(draw, TOGETHER[network] // n**2)[0]


def ratios():
    """Print networks per second."""
    print(f"{'':12}  N     n  L  conditioned/s    jets/s  dense/s  ratio  target")

    def row(what, inputs, n, depth, own, weightless, dense, target):
        best = max(own, weightless or 0)
        text = f"{weightless:9.0f}" if weightless else " " * 9
        line = f"{what:12} {inputs:2} {n:5} {depth:2} {own:14.0f} {text} {dense:8.0f} {best / dense:6.0f} {target:7}"
        print(line, flush=True)

    for inputs, targets in ((1, (20, 100, 400)), (2, (10, 60, 200))):
        for n, target in zip((64, 256, 1024), targets, strict=True):
            own, dense = (measure(s, n, inputs, ["Theta"])[0] for s in (conditioned, network))
            row("NTK", inputs, n, 4, own, None, dense, target)
    for n, target in zip((64, 256, 1024), (50, 300, 1000), strict=True):
        own, weightless, dense = (measure(s, n, 1, ["K", "V"])[0] for s in (conditioned, jets, network))
        row("K, V", 1, n, 4, own, weightless, dense, target)
    for (n, depth), target in (((64, 4), 12), ((128, 8), 25)):
        own = measure(conditioned, n, 1, ["P"], depth=depth)[0]
        row("dNTK", 1, n, depth, own, None, hessian_vector_products(n, depth), target)


def outputs():
    """Print how the number of outputs pays: inverse costs at equal standard error, 1 for two outputs."""
    groups = ("V", "AB", "P", "R")  # of observables that need the same sweeps; R with many outputs compiles for minutes
    print(f"{'':12}     n  M  {'  '.join(f'{name:>6}' for group in groups for name in group)}")
    for sampler in (conditioned, structured):
        for n in (64, 256):
            first = []
            for count in (2, 3, 4, 8):
                gains = []
                for group in groups[: 4 if count <= 4 else 3]:
                    networks, errors = measure(sampler, n, 1, list(group), 60, outputs=count)
                    gains += list(networks / errors**2)
                first = first or gains
                text = "  ".join(f"{gain / unit:6.2f}" for gain, unit in zip(gains, first, strict=False))
                print(f"{sampler.__name__[14:]:12} {n:5} {count:2}  {text}", flush=True)


def errors():
    """Print costs at equal standard error."""
    print(f"{'':8} {'conditioned/s':>14} {'jets/s':>8} {'network/s':>10} {'cost/jets':>10} {'network/cost':>13}")
    for name in "ABPR":
        for n in (64, 256):
            sides = [measure(s, n, 1, [name], blocks) for s, blocks in ((conditioned, 60), (jets, 60), (network, 20))]
            own, weightless, dense = (error[0] ** 2 / rate for rate, error in sides)
            rates = " ".join(f"{rate:{w}.0f}" for (rate, _), w in zip(sides, (14, 8, 10), strict=True))
            print(f"{name:2} {n:5} {rates} {own / weightless:10.2f} {dense / own:13.0f}", flush=True)


def main():
    jax.config.update("jax_enable_x64", "--float32" not in sys.argv)
    tables = {"ratios": ratios, "outputs": outputs, "errors": errors}
    for table in [tables[name] for name in sys.argv[1:] if name in tables] or tables.values():
        table()


if __name__ == "__main__":
    main()
