"""Tangent kernels of random networks with neural-tangents, against plain vmap of jacrev: CPU time per network.

Optional, in an environment of its own, because neural-tangents wants an older jax; it does not use pdlt:

    python -m venv nt
    nt/bin/pip install "neural-tangents==0.6.5" "jax==0.4.26" "jaxlib==0.4.26" "numpy<2" "scipy<1.13"
    nt/bin/python benchmarks/neural_tangents_ensemble.py

The ratio times the column `plain` of `python benchmarks/cost.py` for A and B is what they cost with neural-tangents.
"""

import time

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

SHAPES = [(64, 8), (512, 8)]
SECONDS = 3.0


def seconds_each(function, count):
    """Return the median CPU seconds for each of `count` networks that function(keys) measures, compiled before."""
    jax.block_until_ready(function(jax.random.split(jax.random.PRNGKey(0), count)))
    times = []
    while sum(times) < SECONDS:
        keys = jax.random.split(jax.random.PRNGKey(len(times)), count)
        start = time.process_time()
        jax.block_until_ready(function(keys))
        times.append(time.process_time() - start)
    return float(np.median(times)) / count


def main():
    jax.config.update("jax_enable_x64", True)
    x = jnp.array([[0.9, -0.4, 1.1]])
    print(f"{'n':>4} {'L':>3} {'plain s':>9} {'best of neural-tangents s':>26} {'ratio':>6}  implementation")
    for n, depth in SHAPES:
        hidden = [layer for _ in range(depth - 1) for layer in (stax.Dense(n, 1.2, 0.3), stax.Erf())]
        init, apply, _ = stax.serial(*hidden, stax.Dense(2, 1.2, 0.3))

        def plain(key, init=init, apply=apply):
            _, params = init(key, x.shape)
            J = jax.jacrev(lambda p: apply(p, x)[0])(params)
            return sum(a.reshape(2, -1) @ a.reshape(2, -1).T for a in jax.tree_util.tree_leaves(J))

        count = max(1, 2**23 // (n * n * depth))
        own = seconds_each(jax.jit(jax.vmap(plain)), count)
        found = {}
        for name in ("JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS"):  # structured derivatives compile for minutes
            kernel = nt.empirical_ntk_fn(apply, trace_axes=(), implementation=nt.NtkImplementation[name])

            def measured(key, init=init, kernel=kernel):
                return kernel(x, None, init(key, x.shape)[1])

            found[name] = seconds_each(jax.jit(jax.vmap(measured)), count)
        best = min(found, key=found.get)
        print(f"{n:4} {depth:3} {own:9.2g} {found[best]:26.2g} {found[best] / own:6.2f}  {best.lower()}", flush=True)


if __name__ == "__main__":
    main()
