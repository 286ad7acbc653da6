"""Sampler `path`: the tangents of a network integrated exactly, given its forward path.

Only the plain preactivations are drawn, layer by layer. Given them, expectations of products of tangent components of G
(the jets' covariance, see `jets`) follow a linear recursion in depth whose coefficients are means over the neurons of
the path (`tangent_moments`). So a draw gives the conditional expectation of what `jets` would draw: the same
expectation at any width, with less variance (Rao and Blackwell), for the price of one field instead of all jets.
"""

import itertools
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble.controls import BATCH, count, features, fit, worthwhile
from pdlt.ensemble.jets import Sample, semidefinite_factor
from pdlt.ensemble.layer_scan import scan_layers
from pdlt.ensemble.normals import normal
from pdlt.ensemble.specs import Moment
from pdlt.ensemble.tangent_moments import (
    GIVEN,
    NEXT,
    Component,
    Inverse,
    Mean,
    Product,
    Recursion,
    moment,
    recursion,
    require_feasible,
)
from pdlt.errors import PdltError
from pdlt.networks import MLP

Array = Any
Feature = tuple[tuple[int, int], ...]  # a product over neurons of derivatives (order, input) and of eps (EPS, k)

EPS = -1
LOST = 1e-4  # largest share of a number that rounding may take
PATHS = 10  # from which it is seen
#: Least width of the layers that make G random, with several inputs. Below, some paths come so near to a singular G
#: (all neurons dead on both inputs, say) that a few in 10^5 carry rounding errors larger than everything else.
NARROWEST = {"smooth": 8, "kinked": 16}
PILOT_BYTES = 2.0**30  # what the pilot may take; without it there are no controls
PILOT_SEED = 0x70646C74  # of the fit of the controls; keys of blocks are derived in another way


class _Level(NamedTuple):
    """Terms of the products of one level: coefficient times factor times an earlier value, summed into a product."""

    coefficient: np.ndarray
    factor: np.ndarray
    value: np.ndarray
    product: np.ndarray
    products: int


def sampler(net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...]) -> Sample:
    """Return a function (key, samples) -> (means, finite), to be compiled; arguments and result as in `jets`.

    Raises:
        PdltError: if the recursion of these moments for so many inputs is too long, or inputs are so nearly parallel,
            at the start, in a deep layer or on rare paths through narrow layers, that rounding would take more than
            LOST of a moment.
    """
    n_inputs = len(x)
    _require_resolved(net, x, moments, max(layers))
    kinds = tuple(dict.fromkeys(pair for wanted in moments for pair in wanted if pair[0] == pair[1]))
    pilot_bytes = BATCH * workload(net, n_inputs, x.shape[1], moments, layers)
    if pilot_bytes > PILOT_BYTES or not worthwhile(net.width[: max(layers) - 1], n_inputs):
        kinds = ()
    rule = _rule((*moments, *((kind,) for kind in kinds)), n_inputs)
    factors, levels, following = _tables(rule)
    coefficients = _coefficients(net, factors, n_inputs)
    gathers = {own: _gather(own, n_inputs, rule) for own in (*moments, *((kind,) for kind in kinds))}
    kept = np.unique(np.concatenate([tangent.ravel() for _, tangent in gathers.values()]))
    gram = x @ x.T / x.shape[1]
    start = net.C_b[0] + net.C_W[0] * gram, _first(rule, net.lambda_b[0] + net.lambda_W[0] * gram)
    last = max(layers)

    def step(width: int, state: tuple[Array, Array], key_scale: tuple[Array, Array]) -> tuple[Any, Any]:
        g, values = state
        key, scale = key_scale
        factor, eps, z, g = _forward(net, width, g, key, scale)
        if levels:
            known, every = coefficients(z, eps, factor, scale, width), values
            for level in levels:
                terms = level.coefficient[:, None] * known[level.factor] * every[level.value]
                found = jax.ops.segment_sum(terms, level.product, level.products, indices_are_sorted=True)
                every = jnp.concatenate([every, found])
            values = every[following]
        return (g, values), (g, values[kept], features(eps) if kinds else ())

    def chain(key: Array, samples: int) -> tuple[Callable[[Moment], tuple[Array, Array]], Array, Array]:
        """Return plain and tangent components by moment in the measured layers, phi, and what is finite."""
        g, values = start
        state = (
            jnp.broadcast_to(jnp.asarray(g), (samples, n_inputs, n_inputs)),
            jnp.broadcast_to(jnp.asarray(values)[:, None], (len(values), samples)),
        )
        gs, tangents, phi = scan_layers(net, step, state, key, last)
        finite = jnp.isfinite(gs).all(axis=(1, 2, 3)) & jnp.isfinite(tangents).all(axis=(1, 2))
        measured = np.array(layers) - 2

        def components(wanted: Moment) -> tuple[Array, Array]:
            return gs[measured], tangents[measured][:, np.searchsorted(kept, gathers[wanted][1])]

        return components, phi.reshape(-1, samples) if kinds else phi, finite

    def pilot(key: Array) -> tuple[dict[tuple[str, str], Array], Array]:
        components, phi, _ = chain(key, BATCH)
        found = {}
        for kind in kinds:
            g, tangent = components((kind,))
            found[kind] = g if kind == ("", "") else jnp.moveaxis(tangent, -1, 1)
        return found, phi

    if kinds:
        compiled, key = jax.jit(pilot), jax.random.key(PILOT_SEED)
        controls = fit(lambda k: compiled(jax.random.fold_in(key, k)), [(k - 1) * count(n_inputs) for k in layers])

    def sample(key: Array, samples: int) -> tuple[list[Array], Array]:
        components, phi, finite = chain(key, samples)
        means = []
        for wanted in moments:
            mean = _mean(*components(wanted), gathers[wanted][0])
            means.append(mean - controls.correction(wanted, phi) if kinds else mean)
        return means, finite

    return sample


def workload(net: MLP, n_inputs: int, n_0: int, moments: tuple[Moment, ...], layers: tuple[int, ...]) -> float:
    """Return a rough number of bytes that one sample needs.

    Raises:
        PdltError: if the recursion of these moments for so many inputs is too long.
    """
    rule = _rule(moments, n_inputs)
    factors, levels, _ = _tables(rule)
    first, second = _features(factors)
    terms = max((len(level.value) for level in levels), default=0)
    values = len(rule.moments) + sum(level.products for level in levels)
    width = max(net.width[: max(layers) - 1])
    return 8.0 * (3 * width * (len(first) + len(second) + n_inputs) + 3 * terms + 2 * values + len(first) * len(second))


def _forward(net: MLP, width: int, g: Array, key: Array, scale: Array) -> tuple[Array, Array, Array, Array]:
    """Return F, eps and z of a layer with covariance g, (samples, N, N), and the covariance of the next layer."""
    factor = semidefinite_factor(g)
    eps = normal(key, (len(g), g.shape[1], width))
    z = jnp.einsum("sak,skn->san", factor, eps)
    a = net.activation.jax(0)(z)
    return factor, eps, z, scale[0] + scale[1] * jnp.einsum("san,sbn->sab", a, a) / width


def _require_resolved(net: MLP, x: np.ndarray, moments: tuple[Moment, ...], last: int) -> None:
    """Refuse inputs whose difference drowns in rounding, from a few paths.

    Moments of e = F^-1 G_0. are differences of moments of G, where a direction occurs in two factors: with a pivot of F
    that is r times the root of its entry of G, a moment of d directions loses a share of r^(-2d) of the rounding
    error. Inputs that are equal to rounding have no pivot, and lose nothing.

    Raises:
        PdltError: naming the layer.
    """
    directions = _directions(moments)
    if len(np.unique(x, axis=0)) == 1 or directions == 0:
        return
    least = NARROWEST["smooth" if net.activation.is_smooth else "kinked"]
    narrow = [layer for layer, width in enumerate(net.width[: last - 2], start=1) if width < least]
    if narrow:
        raise PdltError(
            "Argument `width`: with several inputs the sampler 'path' divides by the covariance of hidden layers and "
            f"needs all of them but the last at least {least} wide, but layer {narrow[0]} has "
            f'{net.width[narrow[0] - 1]}; use sampler="jets".'
        )
    gram = net.C_b[0] + net.C_W[0] * x @ x.T / x.shape[1]

    def step(width: int, g: Array, key_scale: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, _, _, following = _forward(net, width, g, *key_scale)
        pivots, sizes = (jnp.diagonal(m, axis1=1, axis2=2) for m in (factor, g))
        share = jnp.where(pivots > 0, pivots**2 / jnp.where(pivots > 0, sizes, 1.0), 1.0)
        return following, share.min()

    start = jnp.asarray(gram)[None]
    keys = jax.random.split(jax.random.key(PILOT_SEED), PATHS)
    every = jax.jit(lambda: jax.lax.map(lambda key: scan_layers(net, step, start, key, last), keys))
    lost = jnp.finfo(start.dtype).eps / np.asarray(every()).min(axis=0) ** directions
    if (lost > LOST).any():
        raise PdltError(
            f"Argument `x`: inputs are so nearly parallel at layer {1 + int(np.argmax(lost > LOST))} that the sampler "
            '"path" would lose its digits; use sampler="jets", fewer directions or layers, or precision="float64".'
        )


def _directions(moments: tuple[Moment, ...]) -> int:
    """Return the largest number of directions of a moment."""
    return max(len(set("".join(slot for pair in wanted for slot in pair))) for wanted in moments)


@lru_cache(maxsize=4)  # a run asks several times, for its memory too
def _rule(moments: tuple[Moment, ...], n_inputs: int) -> Recursion:
    require_feasible(_directions(moments), n_inputs)
    return recursion([own for m in moments for own in _tangents(m, n_inputs).values()], n_inputs)


def _tangents(wanted: Moment, n_inputs: int) -> dict[tuple[int, ...], tuple[Component, ...]]:
    """Return for all inputs of the slots with tangents the product of those components."""
    pairs = [pair for pair in wanted if pair != ("", "")]
    found = {}
    for entry in itertools.product(range(n_inputs), repeat=2 * len(pairs)):
        found[entry] = moment(((s, entry[2 * k]), (t, entry[2 * k + 1])) for k, (s, t) in enumerate(pairs))
    return found


def _gather(wanted: Moment, n_inputs: int, rule: Recursion) -> tuple[list[bool], np.ndarray]:
    """Return which components are plain, and the place of the others' product, shape (N,) * slots with tangents."""
    place = {components: k for k, components in enumerate(rule.moments)}
    plain = [pair == ("", "") for pair in wanted]
    places = [place[components] for components in _tangents(wanted, n_inputs).values()]
    return plain, np.array(places).reshape((n_inputs,) * (2 * plain.count(False)))


def _mean(g: Array, tangents: Array, plain: list[bool]) -> Array:
    """Return the mean over samples of a moment, shape (layers,) + (N,) * slots.

    Args:
        g: plain components, (layers, samples, N, N).
        tangents: conditional expectations of the product of the others, (layers, N, ..., N, samples).
        plain: which components are plain.
    """
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    slots = ["".join(itertools.islice(letters, 2)) for _ in plain]
    of_tangents = "".join(pair for pair, is_plain in zip(slots, plain, strict=True) if not is_plain)
    operands = [f"LS{pair}" for pair, is_plain in zip(slots, plain, strict=True) if is_plain]
    formula = f"{','.join([*operands, f'L{of_tangents}S'])}->L{''.join(slots)}"
    product = jnp.einsum(formula, *[g] * len(operands), tangents)
    return product / g.shape[1]


def _first(rule: Recursion, kernel: np.ndarray) -> np.ndarray:
    """Return the moments in layer 1, where only components of single directions are not 0: the tangent kernel."""
    values = []
    for components in rule.moments:
        entries = [kernel[a, b] if S == T and len(S) == 1 else 0.0 for (S, a), (T, b) in components]
        values.append(math.prod(entries))
    return np.array(values, dtype=float)


@lru_cache(maxsize=4)
def _tables(rule: Recursion) -> tuple[list[Mean | Inverse | None], list[_Level], np.ndarray]:
    """Return the factors in use, the levels as arrays, and the places of the next layer's moments among all values."""
    place: dict[Product, int] = {tuple((GIVEN, c) for c in components): k for k, components in enumerate(rule.moments)}
    factors: dict[Mean | Inverse | None, int] = {}
    levels = []
    for level in rule.levels:
        rows = [
            (term.coefficient, factors.setdefault(term.factor, len(factors)), place[term.product], k)
            for k, terms in enumerate(level.values())
            for term in terms
        ]
        place |= {product: len(place) + k for k, product in enumerate(level)}
        coefficient, factor, value, product = (np.array(column) for column in zip(*rows, strict=True))
        levels.append(_Level(coefficient.astype(float), factor, value, product, len(level)))
    following = [place[tuple((NEXT, c) for c in components)] for components in rule.moments]
    return list(factors), levels, np.array(following)


def _features(factors: list[Mean | Inverse | None]) -> tuple[list[Feature], list[Feature]]:
    """Return what the means are inner products of: products of derivatives, and of components of eps."""
    means = [factor for factor in factors if isinstance(factor, Mean)]
    return list(dict.fromkeys(mean.sigma for mean in means)), list(dict.fromkeys(_noise(mean) for mean in means))


def _noise(mean: Mean) -> Feature:
    return tuple((EPS, k) for k in mean.eps)


def _coefficients(net: MLP, factors: list[Mean | Inverse | None], n_inputs: int) -> Callable[..., Array]:
    """Return the function of z, eps, F, the layer's constants and the width that gives all factors, (factors, samples).

    z and eps have shape (samples, N, width), F (samples, N, N).
    """
    first, second = _features(factors)
    means = [factor for factor in factors if isinstance(factor, Mean)]
    left = np.array([first.index(mean.sigma) for mean in means])
    right = np.array([second.index(_noise(mean)) for mean in means])
    powers = np.array([mean.powers for mean in means])
    inverses = [factor for factor in factors if isinstance(factor, Inverse)]
    rows_of = {factor: row for row, factor in enumerate([*means, *inverses, None])}
    places = np.array([rows_of[factor] for factor in factors])

    def evaluate(z: Array, eps: Array, factor: Array, scale: Array, width: int) -> Array:
        known: dict[Feature, Array] = {(): jnp.ones_like(z[:, 0])}
        for order, k in sorted({part for feature in first + second for part in feature}):
            known[(order, k),] = eps[:, k] if order == EPS else net.activation.jax(order)(z[:, k])
        for feature in first + second:
            for size in range(2, len(feature) + 1):
                if feature[:size] not in known:
                    known[feature[:size]] = known[feature[: size - 1]] * known[feature[size - 1],]
        halves = (jnp.stack([known[feature] for feature in half], axis=1) for half in (first, second))
        inner = jnp.einsum("san,sbn->sab", *halves) / width
        C_W, lambda_b, lambda_W = scale[1], scale[2], scale[3]
        constants = jnp.stack([C_W, lambda_W, lambda_b, jnp.full_like(C_W, 1 / width)])
        weight = jnp.prod(constants[None] ** powers, axis=1)
        inverse = _inverse(factor)
        rows = [weight[:, None] * inner[:, left, right].T]
        rows += [inverse[:, k, b][None] for k, b in inverses] + [jnp.ones((1, len(z)))]
        return jnp.concatenate(rows)[places]

    return evaluate


def _inverse(factor: Array) -> Array:
    """Return the inverse of lower triangular matrices (samples, N, N), with zero rows where the pivot is 0."""
    n_inputs = factor.shape[-1]
    rows: list[Array] = []
    for k in range(n_inputs):
        pivot = factor[:, k, k]
        row = jnp.broadcast_to(jnp.eye(n_inputs)[k], (len(factor), n_inputs))
        for b, other in enumerate(rows):
            row = row - factor[:, k, b, None] * other
        regular = pivot > 0
        rows.append(jnp.where(regular[:, None], row / jnp.where(regular, pivot, 1.0)[:, None], 0.0))
    return jnp.stack(rows, axis=1)
