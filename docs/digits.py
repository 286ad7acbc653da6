"""The digits that ship with scikit-learn, regressed at infinite width: the numbers of docs/regression.md."""

import time

import numpy as np

import pdlt
from pdlt.learning.scores import scores


def digits(training=1000, seed=0):
    """Return images and labels to train and to test on: pixels from 0 to 1, one-hot labels minus their mean 1/10."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = data.data[order] / 16, np.eye(10)[data.target[order]] - 0.1
    return x[:training], y[:training], x[training:], y[training:]


def main(training=1000, repeats=4):
    x, y, x_test, y_test = digits(training)
    relu = pdlt.MLP(depth=3, width=512, activation="relu", C_W=2.0)
    gelu = pdlt.MLP.critical("gelu", depth=3, width=512)
    linear = pdlt.MLP(depth=1, width=1, activation="linear")
    flow = {"times": [0.1, 1, 10, np.inf], "covariance": "variance", "order": 0}
    rows = {
        "relu, flow": lambda: pdlt.predict_training(relu, x, y, x_test, **flow),
        "relu, flow, ridge 0.1": lambda: pdlt.predict_training(relu, x, y, x_test, **flow, ridge=0.1),
        "gelu, flow": lambda: pdlt.predict_training(gelu, x, y, x_test, **flow),
        "linear, flow": lambda: pdlt.predict_training(linear, x, y, x_test, **flow, unresolved="freeze"),
        "relu, posterior, noise 0.01": lambda: pdlt.posterior(relu, x, y, x_test, 0.01, "variance"),
    }
    print(f"{len(x)} images to train on, {len(x_test)} to test on, 10 outputs")
    print(f"{'':28} {'time':>5} {'squared error':>14} {'accuracy':>9} {'condition':>10} {'seconds':>9}")
    for name, run in rows.items():
        costs = []
        for _ in range(repeats):  # the first one compiles
            begin = time.perf_counter()
            found = scores(run(), y_test)
            costs.append(time.perf_counter() - begin)
        cost = f"{min(costs):.1f} s"
        times = [f"{t:g}" for t in found.time.values] if "time" in found.dims else [""]
        errors, shares = np.atleast_1d(found.squared_error.values), np.atleast_1d(found.accuracy.values)
        for i, t in enumerate(times):
            last = f" {found.attrs['condition']:10.2g} {cost:>9}" if i == len(times) - 1 else ""
            print(f"{name if i == 0 else '':28} {t:>5} {errors[i]:14.5f} {shares[i]:9.4f}{last}")


if __name__ == "__main__":
    main()
