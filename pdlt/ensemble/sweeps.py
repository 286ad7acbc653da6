"""Tangent kernels of real networks from vectors of layer size: no parameter-sized tensor, no nested autodiff.

The gradient of an output in W^(l) is the outer product of delta_l = dz/dz^(l) and a_{l-1} = sigma(z^(l-1)), and a
step along a gradient changes W^(l) by such an outer product. Everything follows from four sweeps over the layers,

    forward    a_l = sigma(z_l)                     z_{l+1} = W a_l + b
    backward   delta_l = sigma' e_l                 e_l = W^T delta_{l+1}
    tangent    da_l = sigma' dz_l                  dz_{l+1} = W da_l + dW a_l + db         (along all gradients)
    adjoint    ddelta_l = sigma' de_l + sigma'' e_l dz_l       de_l = W^T ddelta_{l+1} + dW^T delta_{l+1}

(dW, db the step; each sweep is the derivative of an earlier one). Dots of forward and backward vectors are the NTK,
those of tangents and adjoints are products of Hessians times gradients (ddNTK II). The action
S = z_out + sum_l delta_l (W a_{l-1} + b - z_l) is stationary in z and delta and linear in the weights, so by the
2n+1 theorem of perturbation theory first-order responses give third derivatives: the dNTK needs no adjoint sweep,
and ddNTK I no sweep of its own.

Weights enter through products with vectors only, asked of an `Oracle`: the one of the sampler `structured` holds real
matrices, that of `conditioned` none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Array = Any
Memory = Any


class Oracle(Protocol):
    """Answers products with a random matrix W of shape (m, n), entries N(0, scale^2); vectors are rows."""

    def start(self, shape: tuple[int, ...], scale: Array, key: Array) -> Memory:
        """Return what is known of matrices of shape (..., m, n) before the first product, with leading axes (...).

        `scale` has the shape (..., 1, 1) or one that broadcasts to it.
        """

    def right(self, memory: Memory, v: Array, noise: Array) -> tuple[Array, Memory]:
        """Return v W^T, shape (k, m), for v of shape (k, n), and what is known of W then.

        `noise` is standard normal, of the product's shape and used nowhere else.
        """

    def left(self, memory: Memory, u: Array, noise: Array) -> tuple[Array, Memory]:
        """Return u W, shape (k, n), for u of shape (k, m), and what is known of W then."""


class Kernels(NamedTuple):
    """Outputs and tangent kernels of a network with M outputs: what the estimators of `network` ask for.

    Attributes:
        z: outputs, (M, N).
        h1: H_{ij; 12} as (M, N, M, N), output and input alternating; h2: dH likewise (6 axes); hh: Hess(z_i) g_k .
            Hess(z_j) g_m as i, k, j, m (8 axes).
        third: ddI_{iijj} as i, j and four inputs, (M, M, N, N, N, N).
    """

    z: Array
    h1: Array = None
    h2: Array = None
    hh: Array = None
    third: Array = None

    def H(self, i: int, j: int) -> Array:
        """Tangent kernel H_{ij; 12}."""
        return self.h1[i, :, j]

    def dH(self, i: int, j: int, k: int) -> Array:
        """Second derivative of z_i along the gradients of z_j and z_k: dH_{ijk; 012}."""
        return self.h2[i, :, j, :, k]

    def ddI(self, i: int, j: int, k: int, m: int) -> Array:
        """Third derivative of z_i along three gradients, ddI_{ijkm; 0123}, for j = i and m = k, other than i."""
        return self.third[i, k]

    def ddII(self, i: int, j: int, k: int, m: int) -> Array:
        """Hess(z_i) g_k . Hess(z_j) g_m: ddII_{ijkm; 1234}."""
        return jnp.transpose(self.hh[i, :, k, :, j, :, m], (0, 2, 1, 3))


class Layer(NamedTuple):
    """One hidden weight matrix W^(l), l > 1, and the vectors on its two sides; or a stack of several of one shape.

    Attributes:
        memory: what the oracle knows of W.
        noise: standard normal arrays for the sweeps: first forward and biases, (N, m) and (1, m), then those of a head
            with M outputs, backward (MN, n), tangent (MN^2, m), adjoint (M^2 N^2, n).
        C_b, lambda_b, rate: variance of the biases, their learning rate, and that of the weights, lambda_W / n.
        z: z^(l-1), (N, n).
        delta: delta_l, (M, N, m).
        e: e_{l-1}, (M, N, n).
        dz: dz^(l-1), (N, M, N, n): input, then output and input whose gradient is followed.
    """

    memory: Memory
    noise: Array
    C_b: Array
    lambda_b: Array
    rate: Array
    z: Array = None
    delta: Array = None
    e: Array = None
    dz: Array = None


class Head(NamedTuple):
    """The measured layer: M neurons on the hidden layers.

    Attributes:
        weight: (M, n).
        lambda_b, rate: learning rates of its biases and weights.
        z: the preactivations below, (N, n).
        gram: of layer 1, lambda_b + lambda_W x.x' / n_0, (N, N).
    """

    weight: Array
    lambda_b: float
    rate: float
    z: Array
    gram: Array


def forward(oracle: Oracle, sigma: list[Callable], z: Array, hidden: list[Layer]) -> tuple[list[Layer], Array, Array]:
    """Return the layers with z and the oracle's memory, the last z, and for layers 2 ... whether sigma is finite.

    Args:
        oracle: answers products with hidden weights.
        sigma: the activation and its pointwise derivatives.
        z: preactivations of layer 1, (N, n_1).
        hidden: the hidden weight matrices.
    """

    def step(z: Array, layer: Layer) -> tuple[Array, tuple[Layer, Array]]:
        a = sigma[0](z)
        product, memory = oracle.right(layer.memory, a, layer.noise[0])
        following = product + jnp.sqrt(layer.C_b) * layer.noise[1]
        return following, (layer._replace(memory=memory, z=z), jnp.isfinite(a).all())

    top, swept = _sweep(step, z, hidden)
    finite = jnp.concatenate([part[1] for part in swept] + [jnp.isfinite(sigma[0](top)).all()[None]])
    return [part[0] for part in swept], top, finite


def kernels(oracle: Oracle, sigma: list[Callable], hidden: list[Layer], head: Head) -> Kernels:
    """Return outputs (without their biases) and kernels, as far as derivatives of sigma are given.

    Args:
        oracle, hidden: as in `forward`, after that sweep.
        sigma: 1 to 4 functions; with 2 the NTK is found, with 3 the dNTK, with 4 the ddNTKs.
        head: the measured layer.
    """
    found = Kernels(head.weight @ sigma[0](head.z).T)
    if len(sigma) > 1:
        found, hidden, e, delta = _backward(oracle, sigma, hidden, head, found)
    if len(sigma) > 2:
        found, hidden, dz = _tangent(oracle, sigma, hidden, head, found, e, delta)
    if len(sigma) > 3:
        found = _adjoint(oracle, sigma, hidden, head, found, e, dz)
    return found


def _backward(
    oracle: Oracle, sigma: list[Callable], hidden: list[Layer], head: Head, found: Kernels
) -> tuple[Kernels, list[Layer], Array, Array]:
    """Add the NTK; return also the layers with delta and e, then e below the head and delta of layer 1."""

    def step(carry: tuple[Array, Array], layer: Layer) -> tuple[tuple[Array, Array], Layer]:
        delta, H = carry
        H = H + _ntk(_gram(layer, sigma[0](layer.z)), _dots(delta))
        product, memory = _ask(oracle.left, layer, delta, 0)
        return (product * sigma[1](layer.z)[None], H), layer._replace(memory=memory, delta=delta, e=product)

    e = jnp.broadcast_to(head.weight[:, None], (len(head.weight), *head.z.shape))
    H = _ntk(_gram(head, sigma[0](head.z)), _head_dots(head))
    (delta, H), hidden = _sweep(step, (e * sigma[1](head.z)[None], H), hidden, reverse=True)
    return found._replace(h1=H + _ntk(head.gram, _dots(delta))), hidden, e, delta


def _tangent(
    oracle: Oracle, sigma: list[Callable], hidden: list[Layer], head: Head, found: Kernels, e: Array, delta: Array
) -> tuple[Kernels, list[Layer], Array]:
    """Add the dNTK; return also the layers with dz, then dz below the head."""

    def second(layer: Layer | Head, e: Array, dz: Array, dots: Array) -> Array:
        """Second derivatives of S: from sigma'', and from the step's dW times the tangent (in both orders)."""
        a, da = sigma[0](layer.z), sigma[1](layer.z)[:, None, None] * dz
        bent = jnp.einsum("iajbn,akcn->iajbkc", (e * sigma[2](layer.z)[None])[:, :, None, None] * dz[None], dz)
        moved = layer.rate * jnp.einsum("iajb,bakc->iajbkc", dots, _lift(a, da))
        return bent + moved + jnp.transpose(moved, (0, 1, 4, 5, 2, 3))

    def step(carry: tuple[Array, Array], layer: Layer) -> tuple[tuple[Array, Array], Layer]:
        dz, dH = carry
        dH = dH + second(layer, layer.e, dz, _dots(layer.delta))
        a, da = sigma[0](layer.z), sigma[1](layer.z)[:, None, None] * dz
        product, memory = _ask(oracle.right, layer, da, 1)
        return (product + _step(_gram(layer, a), layer.delta), dH), layer._replace(memory=memory, dz=dz)

    start = _step(head.gram, delta), jnp.zeros(e.shape[:2] * 3)
    (dz, dH), hidden = _sweep(step, start, hidden)
    return found._replace(h2=dH + second(head, e, dz, _head_dots(head))), hidden, dz


def _adjoint(
    oracle: Oracle, sigma: list[Callable], hidden: list[Layer], head: Head, found: Kernels, e: Array, dz: Array
) -> Kernels:
    """Add the ddNTKs."""

    def below(layer: Layer | Head, e: Array, dz: Array, de: Array) -> tuple[Array, Array]:
        """Return ddelta below a layer, and the third derivatives of S from sigma'' and sigma'''."""
        s1, s2, s3 = (function(layer.z) for function in sigma[1:])
        bent = _third(e * s3[None], de * s2[None, :, None, None], dz)
        return de * s1[None, :, None, None] + (e * s2[None])[:, :, None, None] * dz[None], bent

    def step(carry: tuple[Array, Array, Array], layer: Layer) -> tuple[tuple[Array, Array, Array], None]:
        ddelta, hh, third = carry
        a, da = sigma[0](layer.z), sigma[1](layer.z)[:, None, None] * layer.dz
        dots, lift = _dots(layer.delta), _lift(a, da)
        mixed = layer.rate * jnp.einsum("iakcm,jbm->iakcjb", ddelta, layer.delta)
        cross = jnp.einsum("iakcjb,abmd->iakcjbmd", mixed, lift)
        hh = hh + _hessians(_gram(layer, a), ddelta) + layer.rate * _tangents(dots, da)
        hh = hh + cross + jnp.transpose(cross, (4, 5, 6, 7, 0, 1, 2, 3))
        product, _ = _ask(oracle.left, layer, ddelta, 2)
        de = product + layer.rate * jnp.einsum("iajb,bn->iajbn", dots, a)
        ddelta, bent = below(layer, layer.e, layer.dz, de)
        return (ddelta, hh, third + bent + _moved(mixed, lift)), None

    a, da = sigma[0](head.z), sigma[1](head.z)[:, None, None] * dz
    dots = _head_dots(head)
    de = head.rate * jnp.einsum("iajb,bn->iajbn", dots, a)
    ddelta, third = below(head, e, dz, de)
    (ddelta, hh, third), _ = _sweep(step, (ddelta, head.rate * _tangents(dots, da), third), hidden, reverse=True)
    return found._replace(hh=hh + _hessians(head.gram, ddelta), third=third)


def _ask(product: Callable, layer: Layer, v: Array, which: int) -> tuple[Array, Memory]:
    """Return the products of a layer's weights with vectors (..., k), and the memory then."""
    flat, memory = product(layer.memory, v.reshape(-1, v.shape[-1]), layer.noise[which])
    return flat.reshape(*v.shape[:-1], -1), memory


def _gram(layer: Layer | Head, a: Array) -> Array:
    """Return the inner products of inputs in a layer's parameters: (N, N)."""
    return layer.lambda_b + layer.rate * (a @ a.T)


def _dots(delta: Array) -> Array:
    return jnp.einsum("iam,jbm->iajb", delta, delta)


def _head_dots(head: Head) -> Array:
    """Return the inner products of delta in the head, where it is 1 for the output's own neuron."""
    outputs, inputs = len(head.weight), len(head.z)
    return jnp.broadcast_to(jnp.eye(outputs)[:, None, :, None], (outputs, inputs) * 2)


def _ntk(gram: Array, dots: Array) -> Array:
    return gram[None, :, None, :] * dots


def _step(gram: Array, delta: Array) -> Array:
    """Return (dW a + db) for steps along all gradients: input, output, input, neuron."""
    return gram[:, None, :, None] * delta[None]


def _lift(a: Array, da: Array) -> Array:
    """Return a_b . da_{a, kc} as b, a, k, c."""
    return jnp.einsum("bn,akcn->bakc", a, da)


def _hessians(gram: Array, ddelta: Array) -> Array:
    return gram[None, :, None, None, None, :, None, None] * jnp.einsum("iakcm,jbldm->iakcjbld", ddelta, ddelta)


def _tangents(dots: Array, da: Array) -> Array:
    return jnp.einsum("iajb,akcbld->iakcjbld", dots, jnp.einsum("akcn,bldn->akcbld", da, da))


def _third(e: Array, de: Array, dz: Array) -> Array:
    """Return e dz dz dz + (de dz dz in three orders), along gradients of the outputs i, j, j: i, j and four inputs."""
    own = jnp.einsum("aibn->iabn", dz)
    first = e[:, :, None] * own + jnp.einsum("iaibn->iabn", de)
    second = jnp.einsum("iajcn,iabn,ajdn->ijabcd", de, own, dz)
    return jnp.einsum("iabn,ajcn,ajdn->ijabcd", first, dz, dz) + second + jnp.swapaxes(second, 4, 5)


def _moved(mixed: Array, lift: Array) -> Array:
    """Return ddelta dW da in six orders of the gradients of i, j, j: i, j and four inputs.

    Args:
        mixed: (M, N, M, N, M, N), ddelta of i along k against delta of j as i, a, k, c, j, b.
        lift: (N, N, M, N).
    """
    terms = jnp.einsum("iaibjc,cajd->ijabcd", mixed, lift)
    terms = terms + jnp.einsum("iajcib,bajd->ijabcd", mixed, lift)
    terms = terms + jnp.einsum("iajcjd,daib->ijabcd", mixed, lift)
    return terms + jnp.swapaxes(terms, 4, 5)


def _sweep(step: Callable, carry: Any, hidden: list[Layer], reverse: bool = False) -> tuple[Any, list[Any]]:
    """Scan over the hidden weight matrices, upwards or downwards; matrices of one shape share one compiled step."""
    results = []
    for run in reversed(hidden) if reverse else hidden:
        if len(run.rate) > 1:  # square matrices: the vectors have one length
            carry, result = jax.lax.scan(step, carry, run, reverse=reverse)
        else:
            carry, result = step(carry, jax.tree.map(lambda leaf: leaf[0], run))
            result = jax.tree.map(lambda leaf: leaf[None], result)
        results.append(result)
    return carry, results[::-1] if reverse else results
