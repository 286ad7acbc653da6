"""Model comparison over depth at fixed width: the table and the figure of docs/bayes.md."""

import sys

import numpy as np

import pdlt

X = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
Y = np.array([[1.4, -0.9, 0.3], [0.7, -1.2, 0.9], [1.5, -0.2, -0.3], [0.2, -1.3, 0.4]])
NOISE, DEPTH, WIDTHS = 0.05, 12, (64, 128, 256)


def network(width):
    return pdlt.MLP(depth=DEPTH, width=width, activation="relu", C_W=2.0)


def measured(width, networks, seed=0, batch=1000):
    """Return the log-evidence of finite networks of depth 1 ... DEPTH, and its standard error.

    Given the kernel of the last layer the labels are Gaussian; kernels are drawn layer by layer, exactly.
    """
    rng, found = np.random.default_rng([seed, width]), []
    for _ in range(networks // batch):
        kernel, row = np.broadcast_to(2 * X @ X.T / 3, (batch, 4, 4)), []
        for _ in range(DEPTH):
            C = kernel + NOISE * np.eye(4)
            square = (Y * np.linalg.solve(C, np.broadcast_to(Y, (batch, *Y.shape)))).sum((1, 2))
            row.append(np.exp(-square / 2) / np.linalg.det(2 * np.pi * C) ** (Y.shape[1] / 2))
            values, vectors = np.linalg.eigh(kernel)
            root = vectors * np.sqrt(np.maximum(values, 0))[:, None]
            active = np.maximum(rng.standard_normal((batch, width, 4)) @ root.swapaxes(1, 2), 0)
            kernel = 2 / width * active.swapaxes(1, 2) @ active
        found.append(row)
    p = np.concatenate(found, axis=1)
    return np.log(p.mean(1)), p.std(1) / p.mean(1) / np.sqrt(p.shape[1])


def main(networks=20_000, path=None):
    theory = pdlt.log_evidence(network(10**6), X, Y, NOISE, depths=range(1, DEPTH + 1))
    infinite, first = theory.log_evidence.values, theory.log_evidence_1.values
    print(f"{'':5} {'infinite':>8}" + "".join(f" | width {n:<3} order 1/n   networks" for n in WIDTHS))
    columns = {n: (infinite + first / n, *measured(n, networks)) for n in WIDTHS}
    for k in range(DEPTH):
        cells = [f" | {sums[k]:19.2f} {mean[k]:10.2f}" for sums, mean, _ in columns.values()]
        print(f"{k + 1:5} {infinite[k]:8.2f}{''.join(cells)}")
    best = [f" | {1 + sums.argmax():19} {1 + mean.argmax():10}" for sums, mean, _ in columns.values()]
    print(f"{'best':5} {1 + infinite.argmax():8}{''.join(best)}")
    if path:
        draw(infinite, columns, path)


def draw(infinite, columns, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    depths = np.arange(2, DEPTH + 1)
    axes.plot(depths, infinite[1:], "k--", label="infinite width")
    for colour, (n, (sums, mean, error)) in enumerate(columns.items()):
        axes.plot(depths, sums[1:], color=f"C{colour}", label=f"order 1/n, width {n}")
        style = {"color": f"C{colour}", "fmt": "o", "markersize": 4}
        axes.errorbar(depths, mean[1:], 2 * error[1:], **style, label=f"finite networks, width {n}")
    axes.set(xlabel="depth", ylabel="log-evidence")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(path=sys.argv[1] if len(sys.argv) > 1 else None)
