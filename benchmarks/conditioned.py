"""Real tangent kernels without weight matrices: the sampler `conditioned` against dense autodiff, and against `jets`.

First table: networks per second whose NTK (two outputs) is measured at the last of four layers, sampling included;
`network` is vmap of autodiff with weights from jax.random. Second table, one input: CPU time times squared standard
error of an observable, that of `conditioned` over that of the others. All sides in turn in one process.
Arguments: --float32 for single precision.
"""

import sys
import time

import jax
import numpy as np

import pdlt
from pdlt.ensemble import conditioned, jets, network
from pdlt.ensemble.specs import cumulants, moments

X = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])
#: Networks drawn at once, for working sets that fit into caches (conditioned, jets) or into memory (network).
TOGETHER = {"conditioned": 2**16, "jets": 2**16, "network": 2**20}


def measure(sampler, n, inputs, name, blocks=5, depth=4):
    """Return networks per CPU second (the best block's) and the standard error of the cumulant times sqrt(networks)."""
    net = pdlt.MLP(depth, n, "tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
    dense = sampler is network
    together = max(3, TOGETHER[sampler.__name__.rsplit(".", 1)[1]] // (n * n if dense else n))
    (cumulant,) = cumulants([name])
    wanted = moments([cumulant])
    draw = sampler.sampler(net, X[:inputs], wanted, (depth,))
    block = jax.jit(lambda key: draw(key, together)[0])
    jax.block_until_ready(block(jax.random.key(0)))
    seconds, means = [], []
    for k in range(blocks):
        start = time.process_time()
        means.append([np.ravel(mean)[0] for mean in jax.block_until_ready(block(jax.random.key(k)))])
        seconds.append(time.process_time() - start)
    without = (np.sum(means, axis=0) - means) / (blocks - 1)
    values = dict(zip(wanted, without.T, strict=True))
    terms = [factor * np.prod([values[m] for m, _ in product], axis=0) for factor, product in cumulant.terms()]
    error = np.std(np.sum(terms, axis=0)) * np.sqrt(blocks - 1)  # jackknife
    return together / min(seconds), error * np.sqrt(blocks * together)


def main():
    jax.config.update("jax_enable_x64", "--float32" not in sys.argv)
    print(f"{'N':>2} {'n':>5} {'conditioned/s':>14} {'network/s':>10} {'ratio':>6}")
    for inputs in (1, 2):
        for n in (64, 256, 1024):
            fast, slow = (measure(s, n, inputs, "Theta")[0] for s in (conditioned, network))
            print(f"{inputs:2} {n:5} {fast:14.0f} {slow:10.0f} {fast / slow:6.0f}", flush=True)
    print(f"{'':8} {'conditioned/s':>14} {'jets/s':>8} {'network/s':>10} {'cost/jets':>10} {'network/cost':>13}")
    for name in "ABPR":
        for n in (64, 256):
            sides = [measure(s, n, 1, name, blocks) for s, blocks in ((conditioned, 60), (jets, 60), (network, 20))]
            own, weightless, dense = (error**2 / rate for rate, error in sides)
            rates = " ".join(f"{rate:{w}.0f}" for (rate, _), w in zip(sides, (14, 8, 10), strict=True))
            print(f"{name:2} {n:5} {rates} {own / weightless:10.2f} {dense / own:13.0f}", flush=True)


if __name__ == "__main__":
    main()
