"""Cost at equal standard error: the weight-free sampler against real networks.

For each sampler the CPU time per network and the standard error of an observable give the cost of reaching a given
standard error, time * stderr^2; the printed ratio is that of `network` to that of `jets`.
"""

import time

import pdlt

OBSERVABLES = ["V", "A", "P"]
#: width -> samples of each sampler; enough for stable standard errors, few enough to finish.
SAMPLES = {64: (20_000, 2_000), 256: (8_000, 800), 1024: (4_000, 200)}


def cost(net, x, sampler, samples, name):
    """Return CPU seconds times squared standard error of one observable at the last layer."""
    options = {"samples": samples, "sampler": sampler, "layers": [net.depth], "progress": False}
    pdlt.simulate(net, x, [name], seed=1, **{**options, "samples": 100})  # compile
    start = time.process_time()
    run = pdlt.simulate(net, x, [name], seed=0, **options)
    seconds = time.process_time() - start
    return seconds, float(run[f"{name}_stderr"].values.ravel()[0])


def main():
    x = [[0.9, -0.4, 1.1]]
    print(f"{'n':>5} {'':3} {'jets s':>8} {'stderr':>9} {'network s':>10} {'stderr':>9} {'cost ratio':>11}")
    for width, (many, few) in SAMPLES.items():
        net = pdlt.MLP(4, width, "tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
        for name in OBSERVABLES:
            (t_j, e_j), (t_n, e_n) = cost(net, x, "jets", many, name), cost(net, x, "network", few, name)
            ratio = t_n * e_n**2 / (t_j * e_j**2)
            print(f"{width:5} {name:3} {t_j:8.2f} {e_j:9.2g} {t_n:10.2f} {e_n:9.2g} {ratio:11.0f}", flush=True)


if __name__ == "__main__":
    main()
