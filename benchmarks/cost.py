"""What one percent costs: CPU seconds until the standard error of an observable is 1 % of it, for each sampler.

Last layer, one input, tanh. `plain` is what one writes without pdlt: vmap of jacrev and nested jvp over networks whose
weights come from jax.random. The noise of a network is the same for `plain`, `structured` and `conditioned`, which
measure the same two outputs of networks of the same law; it is taken from `conditioned`, so that only the time per
network has to be measured for the others. All sides in turn in one process. The second table says how much of what the
machine can do, measured in the same process, each sampler uses. Arguments: --quick leaves out 512 x 32.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import pdlt
from pdlt.ensemble import conditioned, jets, path, structured
from pdlt.ensemble.blocks import OUTPUTS
from pdlt.ensemble.normals import normal
from pdlt.ensemble.specs import NAMED, moments
from pdlt.ensemble.statistics import cumulant

SHAPES = [(64, 8), (512, 8), (512, 32)]
X = np.array([[0.9, -0.4, 1.1]])
SCALES = {"C_b": 0.1, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
WORKING_SET = 2**23  # bytes of what is drawn together, as in pdlt.ensemble.blocks
SECONDS = 3.0  # of measuring a rate
GROUPS = 100  # of samples, for the standard error
SAMPLERS = {"jets": jets, "path": path, "conditioned": conditioned, "structured": structured}


def plain(net, name):
    """Return a function of key and number that measures so many networks, as one would write it by hand."""
    widths = [X.shape[1], *net.width, 2]
    sizes = list(zip(widths[1:], widths[:-1], strict=True))

    def network(xi, weights):
        state = X[0]
        for k, ((W, b), (dW, db)) in enumerate(zip(weights, xi, strict=True)):
            state = jnp.tanh(state) if k else state
            W = W + np.sqrt(net.lambda_W[k] / W.shape[1]) * dW
            state = W @ state + b + np.sqrt(net.lambda_b[k]) * db
        return state

    def one(key):
        keys = jax.random.split(key, 2 * len(sizes))
        weights = [
            (
                np.sqrt(net.C_W[k] / n) * jax.random.normal(keys[2 * k], (m, n)),
                np.sqrt(net.C_b[k]) * jax.random.normal(keys[2 * k + 1], (m,)),
            )
            for k, (m, n) in enumerate(sizes)
        ]
        origin = jax.tree.map(jnp.zeros_like, weights)

        def f(xi):
            return network(xi, weights)

        z = f(origin)
        if name == "V":
            return z[0] ** 2 * z[1] ** 2
        J = jax.jacrev(f)(origin)
        g = [jax.tree.map(lambda leaf, i=i: leaf[i], J) for i in (0, 1)]
        if name in "AB":
            H = sum(a.reshape(2, -1) @ a.reshape(2, -1).T for a in jax.tree.leaves(J))
            return H[0, 0] * H[1, 1] if name == "A" else H[0, 1] ** 2

        def along(function, direction):
            return lambda xi: jax.jvp(function, (xi,), (direction,))[1]

        if name == "P":
            return along(along(f, g[1]), g[1])(origin)[0] * z[0]
        return along(along(along(f, g[0]), g[1]), g[1])(origin)[0]

    return jax.jit(lambda key, count: jax.vmap(one)(jax.random.split(key, count)), static_argnums=1)


def seconds_each(function, count):
    """Return CPU seconds for each of `count` things that function(key, count) makes, compiled before."""
    jax.block_until_ready(function(jax.random.key(0), count))
    times = []
    while sum(times) < SECONDS and len(times) < 200:
        start = time.process_time()
        jax.block_until_ready(function(jax.random.key(len(times)), count))
        times.append(time.process_time() - start)
    return float(np.median(times)) / count


def noise(draw, wanted, measured, n, count):
    """Return the value of a cumulant and its standard error times the root of the number of samples (jackknife)."""
    means = [draw(jax.random.key(k), count)[0] for k in range(1000, 1000 + GROUPS)]
    columns = [np.array([np.ravel(mean[k])[0] for mean in means]) for k in range(len(wanted))]

    def estimate(averages):
        averages = {m: a.reshape(-1, *(1,) * (2 * len(m))) for m, a in zip(wanted, averages, strict=True)}
        return n ** (measured.order - 1) * cumulant(measured, averages).ravel()

    without = estimate([(c.sum() - c) / (GROUPS - 1) for c in columns])
    value = GROUPS * estimate([c.mean(keepdims=True) for c in columns])[0] - (GROUPS - 1) * without.mean()
    return value, np.std(without) * np.sqrt((GROUPS - 1) * GROUPS * count)


def compiled(sampler, net, wanted, **outputs):
    """Return the sampler's function of key and number, compiled, and how many samples fit into caches."""
    layers = (net.depth,)
    draw = sampler.sampler(net, X, wanted, layers, **outputs)
    together = int(np.clip(WORKING_SET / sampler.workload(net, len(X), X.shape[1], wanted, layers, **outputs), 1, 50))
    return jax.jit(draw, static_argnums=1), together


def limits():
    """Return what the machine does in a CPU second: operations of a matrix product, normals, bytes read and written."""
    size = 1500
    product = jax.jit(lambda a, b: a @ b)
    a = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)))
    fast = jax.jit(lambda key, count: normal(key, (count,)), static_argnums=1)
    copy, large = jax.jit(lambda a: a + 1), jnp.zeros(2**24)
    return (
        2 * size**3 / seconds_each(lambda key, count: product(a, a), 1),
        1 / seconds_each(fast, 2**18),
        2 * large.nbytes / seconds_each(lambda key, count: copy(large), 1),
    )


def costs(net, name):
    """Return for each sampler, and for `plain`, CPU seconds for a sample and until the standard error is 1 %."""
    measured = NAMED[name]
    wanted = moments([measured])
    each, errors = {}, {}
    for key, sampler in SAMPLERS.items():
        outputs = {"outputs": OUTPUTS[key]} if key in OUTPUTS else {}
        draw, together = compiled(sampler, net, wanted, **outputs)
        each[key] = seconds_each(draw, together)
        if key == "structured":
            errors[key] = errors["conditioned"]
        else:
            value, errors[key] = noise(draw, wanted, measured, net.width[-1], max(together, 20))
        if key == "path":
            size = abs(value)
    each["plain"] = seconds_each(plain(net, name), max(1, 2**24 // (net.width[0] ** 2 * net.depth)))
    draw, together = compiled(conditioned, net, wanted, outputs=2)
    errors["plain"] = noise(draw, wanted, measured, net.width[-1], max(together, 20))[1]
    return {key: (each[key], each[key] * (errors[key] / (0.01 * size)) ** 2) for key in each}


def main():
    jax.config.update("jax_enable_x64", True)
    flops, normals, traffic = limits()
    print(
        f"limits per CPU second: {flops / 1e9:.0f} Gflop of a matrix product, {normals / 1e6:.0f} M normals, ", end=""
    )
    print(f"{traffic / 1e9:.0f} GB read and written\n")
    names = [*SAMPLERS, "plain"]
    columns = " ".join(f"{name:>12}" for name in [*names, "plain/best", "plain/path"])
    print(f"CPU seconds to 1 %\n{'n':>4} {'L':>3}   {columns}")
    found = {}
    for n, depth in SHAPES[: 2 if "--quick" in sys.argv else 3]:
        net = pdlt.MLP(depth, n, "tanh", **SCALES)
        for name in "VABPR":
            row = found[n, depth, name] = costs(net, name)
            to = {key: seconds for key, (_, seconds) in row.items()}
            ratios = to["plain"] / min(to[key] for key in SAMPLERS), to["plain"] / to["path"]
            numbers = " ".join(f"{to[key]:12.3g}" for key in names)
            print(f"{n:4} {depth:3} {name} {numbers} {ratios[0]:12.3g} {ratios[1]:12.3g}", flush=True)
    print("\nwhat one sample makes of the limits")
    print(f"{'n':>4} {'L':>3}   {'sampler':12} {'us each':>9} {'normals':>8} {'arithmetic':>10} {'memory':>7}")
    for (n, depth, name), row in found.items():
        for key in SAMPLERS:
            count, operations, moved = work(key, name, n, depth)
            each = row[key][0]
            shares = f"{count / normals / each:8.0%} {operations / flops / each:10.0%} {moved / traffic / each:7.0%}"
            print(f"{n:4} {depth:3} {name} {key:12} {1e6 * each:9.1f} {shares}")


def work(sampler, name, n, depth):
    """Return the normals a sample needs, operations in products with matrices and between neurons, and bytes moved.

    Bytes: vectors of neurons stay in caches; matrices of `structured` are written once and read by each sweep.
    """
    hidden = depth - 1
    fields = {"V": 1, "A": 3, "B": 3, "P": 4, "R": 8}[name]
    vectors = {"V": 1, "A": 5, "B": 5, "P": 9, "R": 25}[name]  # of length n that a layer multiplies or makes
    sweeps = {"V": 1, "A": 2, "B": 2, "P": 3, "R": 4}[name]
    if sampler == "jets":
        return fields * n * hidden, 4 * fields**2 * n * hidden, 0
    if sampler == "path":
        return n * hidden, 2 * n * hidden, 0
    if sampler == "conditioned":
        return vectors * n * hidden, 8 * vectors**2 * n * hidden, 0
    weights = n * n * (hidden - 1)
    return weights, 2 * vectors * weights, 8 * (1 + sweeps) * weights


if __name__ == "__main__":
    main()
