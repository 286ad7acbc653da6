"""Threes and eights of scikit-learn's digits: kernel machine, order 1/n and trained networks (docs/training.md).

    python docs/digits_at_finite_width.py [images to train on] [networks]
"""

import json
import sys
import time

import numpy as np

import pdlt

TIMES = [0.1, 0.3, 1.0]


def digits(training, test, seed=0):
    """Return images of threes and eights, of pixel norm 1 on average, and labels 1 and -1, to train and to test on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    kept = np.isin(data.target, (3, 8))
    x, y = data.data[kept], np.where(data.target[kept] == 3, 1.0, -1.0)
    order = np.random.default_rng(seed).permutation(len(x))[: training + test]
    x = x[order] * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1).mean()
    return x[:training], y[order][:training], x[training:], y[order][training:]


def compare(training=100, test=20, networks=1000, width=64, samples=2**14, times=TIMES):
    """Return prediction, ensemble and labels of the test images."""
    x, y, x_test, y_test = digits(training, test)
    net = pdlt.MLP(depth=3, width=width, activation="tanh", C_b=0.05, C_W=1.5, lambda_W=1.0)
    begin = time.perf_counter()
    theory = pdlt.predict_training(net, x, y, x_test, times, order=1, covariance="none", samples=samples)
    middle = time.perf_counter()
    run = pdlt.simulate_training(net, x, y, x_test, times, observables=("mean",), samples=networks, tolerance=1e-4)
    return theory, run, y_test, (middle - begin, time.perf_counter() - middle)


def table(theory, run, y_test):
    """Yield per time: errors of kernel machine and ensemble on the labels, and how far apart their means are."""
    n = width_of(theory)
    for k, at in enumerate(theory.time.values):
        kernel, first = theory["mean"].values[k, :, 0], theory.mean_1.values[k, :, 0] / n
        measured, noise = run["mean"].values[k, :, 0], run["mean_stderr"].values[k, :, 0]
        apart, left = measured - kernel, measured - kernel - first
        yield {
            "time": at,
            "accuracy": float((np.sign(measured) == np.sign(y_test)).mean()),
            "distance": float(np.sqrt((apart**2).mean())),
            "left": float(np.sqrt((left**2).mean())),
            "noise": float(np.sqrt((noise**2 + (theory.mean_1_stderr.values[k, :, 0] / n) ** 2).mean())),
            "correlation": float(np.corrcoef(apart, first)[0, 1]),
        }


def width_of(theory):
    """Return the width that a prediction was made for."""
    return json.loads(theory.attrs["network"])["width"][-1]


def main(training=100, networks=1000):
    theory, run, y_test, seconds = compare(training, networks=networks)
    print(f"{training} images, {networks} networks of width {width_of(theory)}")
    print(f"prediction {seconds[0]:.0f} s, ensemble {seconds[1]:.0f} s")
    names = ("rms(ensemble - kernel machine)", "rms left after order 1", "of it noise", "correlation")
    print(f"{'time':>6} {'accuracy':>9} {names[0]:>31} {names[1]:>23} {names[2]:>12} {names[3]:>12}")
    for row in table(theory, run, y_test):
        line = "{time:>6.3g} {accuracy:>9.3f} {distance:>31.4f} {left:>23.4f} {noise:>12.4f} {correlation:>12.3f}"
        print(line.format(**row))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
