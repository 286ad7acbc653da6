"""`predict` against its slow twin, and what a cold process costs."""

import subprocess
import sys
import time

import numpy as np

import pdlt
from pdlt.predict.reference import predict_reference

NETWORK = {"activation": "gelu", "C_b": 0.172922391, "C_W": 1.983058257, "lambda_b": 0.3, "lambda_W": 1.0}
INPUTS = np.array([[0.9, -0.4, 1.1], [-0.3, 0.8, 0.5]])

COLD = f"""
import pdlt
pdlt.predict(pdlt.MLP(depth=4, width=64, **{NETWORK!r}), {INPUTS.tolist()!r})
"""


def main():
    observables = ["K", "Theta", "V", "B"]
    net = pdlt.MLP(depth=3, width=64, **NETWORK)
    for inputs in (INPUTS[:1], INPUTS):
        pdlt.predict(net, inputs, observables)
        start = time.process_time()
        for _ in range(10):
            fast = pdlt.predict(net, inputs, observables)
        quick = (time.process_time() - start) / 10
        start = time.process_time()
        slow = predict_reference(net, inputs, observables)
        twin = time.process_time() - start
        worst = max(
            float(np.abs(fast[k].values - np.asarray(slow[k], dtype=float)).max() / np.abs(fast[k].values).max())
            for k in ("K", "Theta", "V", "B")
        )
        print(f"{len(inputs)} input(s): predict {1e3 * quick:.1f} ms, twin {twin:.1f} s, ratio {twin / quick:.0f}, "
              f"largest relative difference {worst:.0e}")
    net = pdlt.MLP(depth=4, width=64, **NETWORK)
    pdlt.predict(net, INPUTS)
    start = time.perf_counter()
    pdlt.predict(net, 1.001 * INPUTS)
    warm = time.perf_counter() - start
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", COLD], check=True)
    cold = time.perf_counter() - start
    print(f"all tensors, two inputs, depth 4, GELU: {1e3 * warm:.0f} ms once compiled, {cold:.1f} s in a cold process")


if __name__ == "__main__":
    main()
