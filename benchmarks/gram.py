"""Gram matrices K and Theta at infinite width: pdlt.kernel against what one writes by hand, both sides in turn.

ReLU, N = 1000, L = 32: against a jitted jnp.arccos scan over layers on the same inputs (and its error on nearly equal
inputs, both against 50 digits). tanh, N = 500, L = 4: against a jitted scan with a Gauss-Hermite grid for every pair,
in chunks, with 24 nodes a side (the usual) and 192 (an error near 1e-9), the error of all against predict's adaptive
quadrature on a few inputs. CPU-time ratios, float64, compilation left out.
"""

import time

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

import pdlt
from pdlt._jax import x64

CHUNK_NODES = 2**20  # nodes of the quadrature at a time: 8 MB per array


def best(run, repeats=5):
    """Return the shortest CPU and wall times of several runs."""
    cpu, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        run()
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return min(cpu), min(wall)


def arccos_scan(net, x):
    """Return a function that computes K and Theta of a bias-free ReLU network the usual way."""
    gram = jnp.asarray(x @ x.T / x.shape[1])
    parameters = jnp.array([net.C_W[1:], net.lambda_W[1:]]).T

    @jax.jit
    def run(gram):
        def layer(state, p):
            K, theta = state
            root = jnp.sqrt(jnp.diagonal(K))
            scale = root[:, None] * root[None, :]
            cosine = jnp.clip(K / scale, -1, 1)
            angle = jnp.arccos(cosine)
            square = scale / (2 * jnp.pi) * (jnp.sqrt(1 - cosine**2) + (jnp.pi - angle) * cosine)
            slope = (jnp.pi - angle) / (2 * jnp.pi)
            return (p[0] * square, p[1] * square + p[0] * slope * theta), None

        return jax.lax.scan(layer, (net.C_W[0] * gram, net.lambda_W[0] * gram), parameters)[0]

    return lambda: [np.asarray(a) for a in run(gram)]


def pairwise_quadrature(net, x, points):
    """Return a function that computes K and Theta of a tanh network with a Gauss-Hermite grid for every pair."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    u, v = (jnp.asarray(g.ravel()) for g in np.meshgrid(nodes, nodes))
    w = jnp.asarray(np.outer(weights, weights).ravel())
    i, j = np.triu_indices(len(x))
    chunk = CHUNK_NODES // points**2
    size = -(-len(i) // chunk) * chunk
    i, j = np.resize(i, size), np.resize(j, size)
    gram = x @ x.T / x.shape[1]

    def average(q1, q2, c):
        a = jnp.sqrt(q1)[:, None]
        b = (c / jnp.sqrt(q1))[:, None]
        d = jnp.sqrt(jnp.maximum(q2 - c**2 / q1, 0.0))[:, None]
        first, second = jnp.tanh(a * u[None, :]), jnp.tanh(b * u[None, :] + d * v[None, :])
        return (first * second) @ w, ((1 - first**2) * (1 - second**2)) @ w

    @jax.jit
    def run(gram):
        K, theta = net.C_b[0] + net.C_W[0] * gram, net.lambda_b[0] + net.lambda_W[0] * gram
        for layer in range(1, net.depth):
            q = jnp.diagonal(K)
            chunks = [a.reshape(-1, chunk) for a in (q[i], q[j], K[i, j])]
            square, slope = (a.ravel() for a in jax.lax.map(lambda p: average(*p), tuple(chunks)))
            new = net.C_b[layer] + net.C_W[layer] * square
            new_theta = net.lambda_b[layer] + net.lambda_W[layer] * square + net.C_W[layer] * slope * theta[i, j]
            K, theta = (jnp.zeros_like(K).at[i, j].set(a).at[j, i].set(a) for a in (new, new_theta))
        return K, theta

    return lambda: [np.asarray(a) for a in run(gram)]


def exact_relu(net, x, digits=50):
    """Return K and Theta of two inputs of a bias-free ReLU network at many digits."""
    with mpmath.workdps(digits):
        x = [[mpmath.mpf(float(v)) for v in row] for row in x]
        K = [[net.C_W[0] * mpmath.fdot(a, b) / len(a) for b in x] for a in x]
        theta = [[net.lambda_W[0] * mpmath.fdot(a, b) / len(a) for b in x] for a in x]
        for layer in range(1, net.depth):
            square, slope = [[None] * 2 for _ in x], [[None] * 2 for _ in x]
            for a in range(2):
                for b in range(2):
                    scale = mpmath.sqrt(K[a][a] * K[b][b])
                    angle = mpmath.acos(K[a][b] / scale) if a != b else mpmath.mpf(0)
                    rest = mpmath.pi - angle
                    square[a][b] = scale / (2 * mpmath.pi) * (mpmath.sin(angle) + rest * mpmath.cos(angle))
                    slope[a][b] = rest / (2 * mpmath.pi)
            theta = [
                [net.lambda_W[layer] * square[a][b] + net.C_W[layer] * slope[a][b] * theta[a][b] for b in range(2)]
                for a in range(2)
            ]
            K = [[net.C_W[layer] * square[a][b] for b in range(2)] for a in range(2)]
        return [np.array([[float(v) for v in row] for row in matrix]) for matrix in (K, theta)]


def main():
    rng = np.random.default_rng(0)
    with x64():
        net = pdlt.MLP(depth=32, width=1, activation="relu", C_W=2.0)
        x = rng.normal(size=(1000, 32))
        x[1] = x[0] * (1 + 1e-7 * rng.normal(size=32))
        usual, ours = arccos_scan(net, x), lambda: pdlt.kernel(net, x)
        exact = exact_relu(net, x[:2])
        errors = [
            max(float(np.abs(f[:2, :2] / e - 1).max()) for f, e in zip(found, exact, strict=True))
            for found in (usual(), [ours()[name].values[0] for name in ("K", "Theta")])
        ]
        report("ReLU, N = 1000, L = 32", usual, ours, errors)

        net = pdlt.MLP(depth=4, width=100, activation="tanh", C_b=0.1, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
        x = rng.normal(size=(500, 32))
        true = pdlt.kernel(net, x[:8], rtol=1e-14)
        check = pdlt.predict(net, x[:3], ["K", "Theta"], order=0, rtol=1e-12)
        assert all(np.abs(true[n].values[-1, :3, :3] / check[n].values[-1] - 1).max() < 1e-12 for n in check)
        for points in (24, 192):
            usual, ours = pairwise_quadrature(net, x, points), lambda: pdlt.kernel(net, x, rtol=1e-9)
            errors = [
                max(float(np.abs(f[:8, :8] / true[n].values[-1] - 1).max()) for f, n in zip(found, true, strict=True))
                for found in (usual(), [ours()[name].values[0] for name in true])
            ]
            report(f"tanh, N = 500, L = 4, {points} x {points} nodes", usual, ours, errors, repeats=1)


def report(title, usual, ours, errors, repeats=5):
    ours()
    slow, fast = best(usual, repeats), best(ours)
    print(f"{title}: by hand {slow[0]:.3g} CPU s ({slow[1]:.3g} s), pdlt.kernel {fast[0]:.3g} CPU s ({fast[1]:.3g} s)")
    print(f"  ratio of CPU {slow[0] / fast[0]:.3g}, of wall time {slow[1] / fast[1]:.3g}")
    print(f"  largest relative error on some inputs: by hand {errors[0]:.1e}, pdlt.kernel {errors[1]:.1e}")


if __name__ == "__main__":
    main()
