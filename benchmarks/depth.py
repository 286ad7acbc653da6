"""One input, all order-1 tensors, depth 1000: a compiled scan over layers against a Python loop over layers."""

import time

import numpy as np

import pdlt
from pdlt._jax import x64
from pdlt.codegen.execute import step
from pdlt.codegen.program import lower
from pdlt.numerics.backends import choose
from pdlt.predict.initialisation import _compiled, _first_layer, evaluate_program, layer_parameters


def network(depth):
    return pdlt.MLP(depth, 1000, "tanh", C_b=0.0, C_W=1.0, lambda_b=0.0, lambda_W=1.0)


def python_loop(program, net, x, backend):
    """Evaluate layer by layer from Python, each layer's step uncompiled numpy."""
    data = backend.data(1, 1, program.averages)
    nodes, weights = data[1]
    state = [np.asarray(t) for t in _first_layer(program, net, x)]
    parameters = layer_parameters(net, x.shape[1])
    place = program.keys.index("K")
    for layer in range(net.depth - 1):
        z = np.sqrt(state[place]) * nodes[:, 0]
        values = {k: np.asarray(net.activation.jax(k)(z)) for k in range(6)}
        averages = [
            (weights * np.prod([values[k] for _, ks in average for k in ks], axis=0)).sum()
            for average in program.averages
        ]
        state = step(program, np, state, averages, {name: value[layer] for name, value in parameters.items()})
    return state


def seconds(function, repeats):
    function()
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def main():
    x = np.array([[1.0, 1.0]])
    program = lower(pdlt.derive(), single=True, kinked=False)
    net = network(1000)
    backend = choose(net.activation, 1, program.averages)
    scan = seconds(lambda: evaluate_program(program, net, x, backend, 1), 20)
    with x64():
        loop = seconds(lambda: python_loop(program, net, x, backend), 1)
    print(f"depth 1000: scan {1e3 * scan:.1f} ms, loop {1e3 * loop:.0f} ms, ratio {loop / scan:.0f}")
    for depth in (4, 32, 256, 1000):
        _compiled.cache_clear()
        start = time.process_time()
        evaluate_program(program, network(depth), x, backend, 1)
        print(f"depth {depth:4}: compilation and first run {time.process_time() - start:.2f} s")


if __name__ == "__main__":
    main()
