"""What the prediction of training leaves out, against width: the table of docs/training.md.

    python docs/training_sweep.py                  all of it (about an hour on two cores)
    python docs/training_sweep.py 0.1 tanh 1       a tenth of the networks, one activation, one output

With `--stores FOLDER` ensembles are kept and continued.
"""

import sys
from pathlib import Path

import numpy as np

import pdlt
from pdlt.trained.slopes import fit_powers, residuals, slope

WIDTHS = (16, 32, 64, 128)
SAMPLES = (20_000, 20_000, 12_000, 5_000)  # residuals fall faster than noise does, so that narrow networks tell more
TIMES = (0.5, 1.0, 2.0)
SCALES = {"tanh": (0.3, 1.4, 0.7, 1.1), "sin": (0.3, 1.2, 0.5, 0.8), "gelu": (0.2, 1.7, 0.5, 0.8)}
OBSERVABLES = ("mean", "covariance", "kernel_change")

LEGEND = """columns: powers of 1/n with which falls what is left after order 0, and after order 1; coefficient of 1/n in
what is left, over its standard error (root mean square over entries), after both; chi^2 per degree of freedom of fits
of n^-2 and n^-3 to what is left, after both; what order 1 leaves, over its error (rms over entries), at each width"""

X = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5], [-0.7, 0.3, 0.8]])  # two to train on, all three to look at
Y = np.array([[1.0, -0.5, 0.3], [-0.5, 0.8, 0.6]])


def measure(activation, outputs, share, stores):
    """Yield for each observable the measured series, its errors and the two coefficients of theory, entries last."""
    series, found = None, []
    for width, samples in zip(WIDTHS, SAMPLES):
        net = pdlt.MLP(3, width, activation, *SCALES[activation])
        problem = (net, X[:2], Y[:, :outputs], X, TIMES)
        if series is None:  # the coefficients are the same for all equal widths
            series = pdlt.predict_training(*problem, order=1, kernels="tangent")
        store = stores / f"{activation}_{outputs}_{width}.db" if stores else None
        samples = max(200, round(share * samples))
        run = pdlt.simulate_training(*problem, observables=OBSERVABLES, samples=samples, store=store, tolerance=1e-5)
        found.append(run)
    for name in OBSERVABLES:
        value, error = (np.stack([run[key].values for run in found]) for key in (name, f"{name}_stderr"))
        first = series[f"{name}_1"].values
        zeroth = series[name].values if name in series else np.zeros_like(first)
        entries = independent(name, outputs)
        yield name, *(part[..., *entries] for part in (value, error, zeroth, first))


def row(value, error, zeroth, first):
    """Return the numbers of one row of the table."""
    before, after = (residuals(WIDTHS, value, series) for series in ([zeroth], [zeroth, first]))
    falls = [slope(WIDTHS, left, error) for left in (before, after)]
    # With three powers in the fit, that of the coefficient which theory has given must vanish, and did not before.
    left_over = [rms(fit_powers(WIDTHS, left, error, (1, 2, 3)).z(1)) for left in (before, after)]
    # And n^-2 and n^-3 must be enough for what order 1 leaves, and not for what order 0 leaves.
    fits = [fit_powers(WIDTHS, left, error, (2, 3)) for left in (before, after)]
    chi2 = [float(fit.chi2.mean()) / fit.dof for fit in fits]
    sizes = [rms(z) for z in after / error]
    powers = "  ".join(f"{found.power:5.2f} ± {found.stderr:.2f}" for found in falls)
    tests = f"{left_over[0]:6.1f}  {left_over[1]:4.1f}   {chi2[0]:6.0f}  {chi2[1]:4.1f}"
    return f"{powers}   {tests}   {'  '.join(f'{size:5.1f}' for size in sizes)}"


def rms(values):
    return float(np.sqrt(np.mean(values**2)))


def independent(name, outputs):
    """Return the places of entries that are not others' mirror images, among (point, output) or pairs of them."""
    if name == "mean":
        return tuple(np.indices((len(X), outputs)).reshape(2, -1))
    i = np.indices((len(X), len(X), outputs, outputs)).reshape(4, -1)
    first, second = i[0] * outputs + i[2], i[1] * outputs + i[3]
    return tuple(i[:, first <= second])


def main(arguments):
    stores = None
    if "--stores" in arguments:
        k = arguments.index("--stores")
        stores = Path(arguments[k + 1])
        stores.mkdir(exist_ok=True)
        arguments = arguments[:k] + arguments[k + 2 :]
    share = float(arguments[0]) if arguments else 1.0
    activations = [arguments[1]] if len(arguments) > 1 else list(SCALES)
    several = [int(arguments[2])] if len(arguments) > 2 else [1, 3]
    print(f"widths {WIDTHS}, {[round(share * samples) for samples in SAMPLES]} networks")
    print(LEGEND)
    for activation in activations:
        for outputs in several:
            for name, *numbers in measure(activation, outputs, share, stores):
                print(f"{activation:5} {outputs} outputs  {name:14} {row(*numbers)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
