"""Normal random numbers: `pdlt.ensemble.normals` against `jax.random.normal`, on the CPU, in both precisions.

Numbers per CPU second, the ratio with its target, and the fraction of the machine's arithmetic throughput: operations
per CPU second (counted in the program; a rotation is three) over those of a matrix product in the same precision, whose
instructions multiply and add at once. Every row twice, as XLA compiles by default (vectors of 256 bits) and with its
option xla_cpu_prefer_vector_width=512, which needs a processor that has these.
"""

import math
import time

import jax
import jax.numpy as jnp

from pdlt.ensemble import normals

SHAPE = (2**15, 8)
SIDE = 1024
CALLS = 32  # in one timed program
REPEATS = 5
TARGET = 3


def calls_per_second(options, *functions):
    """Return calls per CPU second of functions of a key, measured in turns, the best of several times."""

    def program(function):
        def add(total, key):
            return total + function(key), None

        start = jnp.zeros_like(function(keys[0]))
        compiled = jax.jit(lambda keys: jax.lax.scan(add, start, keys)[0], compiler_options=options)
        jax.block_until_ready(compiled(keys))
        return compiled

    keys = jax.random.split(jax.random.key(0), CALLS)
    best = [math.inf for _ in functions]
    programs = [program(function) for function in functions]
    for _ in range(REPEATS):
        for k, compiled in enumerate(programs):
            start = time.process_time()
            jax.block_until_ready(compiled(keys))
            best[k] = min(best[k], time.process_time() - start)
    return [CALLS / seconds for seconds in best]


def matrix_product(key):
    """Return a product of square matrices of side SIDE."""
    x = jnp.linspace(0.1, 0.9, SIDE**2).reshape(SIDE, SIDE)
    return (x + (jax.random.key_data(key)[0] & 1)) @ x  # the key, else the result would be computed once


def operations():
    """Return how many elementwise operations one normal takes: half a block and a quantile."""
    word = jax.ShapeDtypeStruct((8,), jnp.uint32)
    block = jax.make_jaxpr(lambda x, y: normals.threefry((jnp.uint32(1), jnp.uint32(2)), x, y))(word, word)
    quantile = jax.make_jaxpr(normals.quantile)(word)
    return _count(block.jaxpr) / 2 + _count(quantile.jaxpr)


def _count(jaxpr):
    """Return the number of elementwise operations on arrays, those of called functions included."""
    count = 0
    for equation in jaxpr.eqns:
        inner = [p.jaxpr for p in equation.params.values() if hasattr(p, "jaxpr")]
        arrays = equation.outvars[0].aval.shape and equation.primitive.name not in ("broadcast_in_dim", "copy")
        count += sum(map(_count, inner)) if inner else bool(arrays)
    return count


def main():
    print(f"{'':8} {'bits':>5} {'ours M/s':>9} {'jax M/s':>8} {'ratio':>6} {'target':>7} {'of arithmetic':>14}")
    for precision in (False, True):
        for width in (256, 512):
            options = {"xla_cpu_prefer_vector_width": width}
            with jax.enable_x64(precision):
                ours, theirs, products = calls_per_second(
                    options,
                    lambda key: normals.normal(key, SHAPE),
                    lambda key: jax.random.normal(key, SHAPE),
                    matrix_product,
                )
                ours, theirs = (math.prod(SHAPE) * rate for rate in (ours, theirs))
                fraction = ours * operations() / (products * 2 * SIDE**3)
            name = "float64" if precision else "float32"
            rates = f"{ours / 1e6:9.0f} {theirs / 1e6:8.0f} {ours / theirs:6.1f}"
            print(f"{name:8} {width:5} {rates} {TARGET:7} {fraction:14.0%}", flush=True)


if __name__ == "__main__":
    main()
