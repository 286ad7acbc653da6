"""The double-scaling limit: against the recursion engine, exact finite networks, known moments, and measurement.

The exact finite networks are a linear recursion typed here (`exact_cumulants`), which knows nothing of a limit.
"""

import itertools
import math
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference_systems
import sympy

import pdlt
from pdlt.observables import NAMED, observable
from pdlt.symbolic import jet_diffusion
from pdlt.symbolic.depth import A_2, K, ell
from pdlt.symbolic.double_scaling import a_4, double_scaling, r, reliable_ratio, truncations, w
from pdlt.symbolic.expressions import lambda_b, lambda_W

PAIRS = ("V", "D", "F", "A", "B", "P", "Q", "R", "S", "T", "U")
THIRD = ("1 2 | 3 4 | 5 6", "1 2 | a3 a4 | b5 b6")


@cache
def expanded(order: int):
    """Return the 1/n expansion as functions of depth."""
    return pdlt.closed_form(list({2: ("K", "Theta", *PAIRS, *THIRD), 3: PAIRS[:5]}[order]), None, order)


def leading_depths(name: str, order: int, drop: int = 0) -> list[sympy.Expr]:
    """Return, for X, X_1, ..., the coefficient of the highest possible power of ell (less `drop`) in natural units."""
    slots = observable(name).slots
    half, first = sum(map(len, slots)) // 2, observable(name).leading_order
    kappa = sympy.Symbol("kappa", positive=True)
    size = K ** sum(sympy.Rational(1 - len(slot), 2) for slot in slots) * kappa**half
    found = expanded(order)
    values = []
    for j in range(order - first + 1):
        formula = sympy.Poly(sympy.expand(found[f"{name}_{j}" if j else name]), ell)
        top = half + first + j
        assert formula.degree() <= top
        value = formula.coeff_monomial(ell ** (top - drop)) / size
        # w = lambda_W A_2 K / kappa and lambda_b = (1 - w) kappa: K and kappa must drop out.
        values.append(sympy.expand(value.subs({lambda_W: w * kappa / (A_2 * K), lambda_b: (1 - w) * kappa})))
    return values


def kept(name: str, order: int) -> list[sympy.Expr]:
    polynomial = truncations(name, None, order)
    return [sympy.expand(polynomial.coeff(r, k)) for k in range(observable(name).leading_order, order + 1)]


@pytest.mark.parametrize(
    ("name", "order"),
    [(name, 3) for name in PAIRS[:5]] + [(name, 2) for name in ("K", "Theta", *PAIRS[5:], *THIRD)],
)
def test_powers_of_r_are_the_leading_powers_of_depth(name: str, order: int) -> None:
    """The engine expands in 1/width and solves in depth; the limit never expands."""
    values = leading_depths(name, order)
    assert kept(name, order) == values
    assert any(values)


def test_a_lower_power_of_depth_is_seen() -> None:
    assert kept("B", 2) != leading_depths("B", 2, drop=1)


def test_pairings_across_different_directions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wick's theorem with the block-diagonal covariance of leading order is right at order 1 and wrong at order 2."""
    whole = jet_diffusion._average

    def block_diagonal(entries: jet_diffusion.Moment, learning_rates: int) -> dict[jet_diffusion.Moment, int]:
        found = {tuple(sorted(m)): c for m, c in whole(entries, learning_rates).items()}
        if len(entries) == 1:
            return found
        direct = tuple(sorted(entries))
        within = {m: c for m, c in found.items() if all(S == T for S, T in m)}
        return {direct: 1, **within}

    wanted = {name: leading_depths(name, 2) for name in ("V", "F", "B")}
    monkeypatch.setattr(jet_diffusion, "_average", block_diagonal)
    jet_diffusion.solve.cache_clear()
    try:
        found = {name: kept(name, 2) for name in wanted}
    finally:
        jet_diffusion.solve.cache_clear()
    assert found["V"] == wanted["V"]
    for name in ("F", "B"):
        assert found[name][0] == wanted[name][0] and found[name][1] != wanted[name][1]


# Exact moments of finite networks: one layer averages n terms Phi(u), u ~ N(0, G), so that with phi_S = s z_S
#
#     E[G'_X G'_Y | G] = F_X F_Y + (E[Phi_X Phi_Y] - E Phi_X E Phi_Y) / n,    F_X = lambda_b [X = ss] + E Phi_X.

Entry = tuple[str, str]
Product = tuple[Entry, ...]


def entry(first: str, second: str) -> Entry:
    return (first, second) if first <= second else (second, first)


def terms(component: Entry, weight) -> list:
    """Return Phi C_W A_2 / s^2 as (jets, coefficient), weight = lambda_W A_2."""
    S, T = component
    return [(component, 1)] + [(entry(S.replace(s, ""), T.replace(s, "")), weight) for s in S if s in T]


def step(product: Product, a, bias, weight, n) -> dict:
    """Return the mean of a product of one or two entries of the next layer: products of entries -> coefficient."""
    result: dict = {}

    def collect(entries: Product, value) -> None:
        key = tuple(sorted(entries))
        result[key] = result.get(key, 0) + value

    phis = [[((e,), c) for e, c in terms(X, weight)] for X in product]
    means = [[*phi, ((), bias)] if X[0] == X[1] and len(X[0]) == 1 else phi for X, phi in zip(product, phis)]
    for choice in itertools.product(*means):
        collect(sum((e for e, _ in choice), ()), math.prod(c for _, c in choice))
    if len(product) == 2:
        for ((A, B),), c in phis[0]:
            for ((C, D),), d in phis[1]:
                for one, other in (((A, B), (C, D)), ((A, C), (B, D)), ((A, D), (B, C))):
                    collect((entry(*one), entry(*other)), a * c * d / n)
                collect(((A, B), (C, D)), -c * d / n)
    return result


def components(name: str) -> Product:
    slots = observable(name).slots
    return tuple(entry(*pair) for pair in zip(slots[::2], slots[1::2]))


def exact_cumulants(names, a, bias, weight, n, depth: int) -> dict:
    """Return n times the cumulants of layer `depth` in a critical network with K = 1 and C_b = 0."""
    rows: dict = {}
    queue = [tuple(sorted(components(name))) for name in names] + [(X,) for name in names for X in components(name)]
    while queue:
        product = queue.pop()
        if product not in rows:
            rows[product] = step(product, a, bias, weight, n)
            queue.extend(rows[product])
    order = list(rows)
    kind = object if isinstance(n, Fraction) else float
    matrix = np.array([[rows[x].get(y, 0 * n) for y in order] for x in order], dtype=kind)
    first = {("", ""): 1 + 0 * n} | {(s, s): bias + weight for s in "abc"}
    state = np.array([math.prod((first.get(e, 0 * n) for e in x), start=1 + 0 * n) for x in order], dtype=kind)
    mean = dict(zip(order, np.linalg.matrix_power(matrix, depth - 1) @ state))
    return {
        name: n * (mean[tuple(sorted(components(name)))] - math.prod(mean[X,] for X in components(name)))
        for name in names
    }


def test_the_finite_recursion_is_the_published_one() -> None:
    """V, D, F, A, B of a ReLU network of width 5 and depth 4, exactly; their series in 1/n end."""
    n = Fraction(5)
    weight = Fraction(3, 7)  # lambda_W A_2 = 3/7, K = 1
    published = reference_systems.homogeneous_moments(Fraction(1, 2), Fraction(2), 2 * weight, Fraction(1, 2), 4, 12)
    found = exact_cumulants(published, Fraction(2), Fraction(0), weight, n, 4)
    for name, series in published.items():
        assert float(found[name]) == pytest.approx(sum(x / 5**j for j, x in enumerate(series)), rel=1e-13)


@cache
def extrapolated(a: int, share: float, ratio: Fraction) -> dict[str, float]:
    """Return the limits of all second cumulants, in natural units, from widths 64 ... 1024."""
    table = []
    for n in (64, 128, 256, 512, 1024):
        depth = int(ratio * n)
        found = exact_cumulants(PAIRS, float(a), 1 - share, share, float(n), depth)
        table.append({name: x / n / depth ** (sum(map(len, NAMED[name].slots)) / 2) for name, x in found.items()})
    for k in range(1, len(table)):
        table = [{x: (2**k * b[x] - a[x]) / (2**k - 1) for x in PAIRS} for a, b in itertools.pairwise(table)]
    return table[0]


@pytest.mark.parametrize(("activation", "a"), [("linear", 1), ("relu", 2)])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_wide_and_deep_networks_approach_the_limit(activation: str, a: int, share: float) -> None:
    """Five widths leave an error of n^-5 (below 1e-7 here, rounding included) at every power of r at once."""
    limits = double_scaling(PAIRS, activation)
    values = extrapolated(a, share, Fraction(1, 2))
    for name, limit in limits.items():
        assert float(limit.subs({r: 0.5, w: share})) == pytest.approx(values[name], rel=1e-6), name
        assert abs(float(truncations(name, activation, 1).subs({r: 0.5, w: share})) - values[name]) > 0.1 * values[name]


@cache
def measured(width: int, depth: int):
    """Return a run of critical linear networks with K = 1 and lambda_b = lambda_W = 1/2."""
    net = pdlt.MLP(depth, width, "linear", C_b=0.0, C_W=1.0, lambda_b=0.5, lambda_W=0.5)
    run = pdlt.simulate(net, [[1.0]], list(PAIRS), samples=6_000, seed=1, layers=[depth])
    return {name: (run[name].item(), run[f"{name}_stderr"].item()) for name in PAIRS}


def test_simulated_networks_are_the_finite_ones() -> None:
    """|z| < 4 for eleven correlated numbers. Width 32, depth 9, where the leading order is far off: z > 4 for most."""
    exact = exact_cumulants(PAIRS, 1.0, 0.5, 0.5, 32.0, 9)
    leading = pdlt.closed_form(list(PAIRS), "linear")
    values = {ell: 9, K: 1, lambda_b: sympy.Rational(1, 2), lambda_W: sympy.Rational(1, 2)}
    z = {name: (x - exact[name]) / stderr for name, (x, stderr) in measured(32, 9).items()}
    off = {name: (x - float(leading[name].subs(values))) / stderr for name, (x, stderr) in measured(32, 9).items()}
    assert max(map(abs, z.values())) < 4, z
    assert sum(abs(value) > 4 for value in off.values()) > len(PAIRS) / 2, off


# What is known --------------------------------------------------------------------------------------------------------


def moments_of_the_kernel(activation, highest: int) -> list[sympy.Expr]:
    """Return E G^m / K^m, m = 1 ... highest, from the cumulants."""
    specs = [" | ".join(f"{2 * i + 1} {2 * i + 2}" for i in range(m)) for m in range(1, highest + 1)]
    found = double_scaling(specs, activation)
    cumulants = [found[observable(spec).name] for spec in specs]
    moments: list[sympy.Expr] = []
    for m in range(1, highest + 1):
        terms = (math.comb(m - 1, j - 1) * cumulants[j - 1] * ([1, *moments][m - j]) for j in range(1, m + 1))
        moments.append(sympy.expand(sympy.Add(*terms)))
    return moments


def log_normal(nu, highest: int) -> list[sympy.Expr]:
    return [sympy.exp(nu * m * (m - 1) * r / 2) for m in range(1, highest + 1)]


def test_the_kernel_is_log_normal() -> None:
    """Deep linear networks: e^(m (m - 1) r), from the product formula of PDLT (3.30); nu = 3 a_4 - 1 for others."""
    assert moments_of_the_kernel("linear", 5) == log_normal(2, 5)
    assert moments_of_the_kernel("relu", 4) == log_normal(5, 4)
    assert moments_of_the_kernel("relu", 4) != log_normal(4, 4)
    general = zip(moments_of_the_kernel(None, 3), log_normal(3 * a_4 - 1, 3))
    assert all(sympy.simplify(x - y) == 0 for x, y in general)


def test_means_have_no_corrections() -> None:
    assert double_scaling(["K", "Theta"], None) == {"K": 1, "Theta": 1}


def test_coinciding_exponents() -> None:
    """At a_4 = 2 two exponents of the third cumulants are equal, and the general formula is a limit."""
    spec = "1 a2 | 3 a4 | 5 6"
    near = double_scaling(spec, None)[spec].subs({a_4: 2 + sympy.Rational(1, 10**9), r: sympy.Rational(1, 3), w: 1})
    at = double_scaling(spec, "relu")[spec].subs({r: sympy.Rational(1, 3), w: 1})
    assert float(near.evalf(30)) == pytest.approx(float(at), rel=1e-7)


def test_slopes_enter_as_one_number() -> None:
    general = double_scaling(["V", "B", "T"], None)
    for activation, a in {"relu": 2, "-3*z": 1, "abs": 1, "leaky_relu(1/2)": sympy.Rational(34, 25)}.items():
        special = double_scaling(["V", "B", "T"], activation)
        assert all(sympy.simplify(special[x] - f.subs(a_4, a)) == 0 for x, f in general.items())
    irrational = double_scaling("F", "z + 2**(1/3)*abs(z)")["F"]
    slopes = 1 + 2 ** (1 / 3), 1 - 2 ** (1 / 3)
    a = 2 * (slopes[0] ** 4 + slopes[1] ** 4) / (slopes[0] ** 2 + slopes[1] ** 2) ** 2
    general_F = double_scaling("F", None)["F"]
    assert float(irrational.subs({r: 0.3, w: 1})) == pytest.approx(float(general_F.subs({a_4: a, r: 0.3, w: 1})))


# Truncations ----------------------------------------------------------------------------------------------------------


def test_truncations_are_taylor_polynomials() -> None:
    """Against sympy's own series of the printed expression."""
    for name in ("V", "F", "B", "U"):
        series = sympy.series(double_scaling(name, "linear")[name], r, 0, 4).removeO()
        assert sympy.expand(series - truncations(name, "linear", 3)) == 0
    assert truncations("V", "relu", 2) == 5 * r + 25 * r**2 / 2


def test_reliable_ratio_of_the_vertex() -> None:
    """exp(x) - 1 = x / 0.9 at x = nu r."""
    x = sympy.nsolve(sympy.exp(r) - 1 - r / 0.9, r, 0.2)
    assert reliable_ratio("V", "relu", 1) == pytest.approx(float(x / 5), rel=1e-9)
    assert reliable_ratio("V", "linear", 1) == pytest.approx(float(x / 2), rel=1e-9)
    assert reliable_ratio("V", "linear", 1, tolerance=1e-9) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize("name", ["A", "B", "S"])
def test_reliable_ratio_is_the_first_crossing(name: str) -> None:
    limit = double_scaling(name)[name].subs(w, sympy.Rational(1, 2))
    previous = 0.0
    for order in (1, 2, 3):
        ratio = reliable_ratio(name, "relu", order, tolerance=0.05, w=Fraction(1, 2))
        error = (truncations(name, "relu", order).subs(w, sympy.Rational(1, 2)) / limit - 1).subs
        assert abs(float(error(r, ratio))) == pytest.approx(0.05, rel=1e-6)
        assert all(abs(float(error(r, ratio * k / 20))) < 0.05 for k in range(1, 20))
        assert ratio > previous
        previous = ratio


def test_reliable_ratio_where_nothing_or_everything_is_kept() -> None:
    assert reliable_ratio("P", "relu", 1) == 0
    assert reliable_ratio("P", "relu", 2) > 0
    assert reliable_ratio("K", "relu", 0) == math.inf
    assert reliable_ratio("Q", "relu", 1, w=0) == math.inf  # without weights in the NTK, Q is zero at every order


def test_the_page_shows_these_ratios() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "double_scaling.md").read_text(encoding="utf-8")
    for activation, name in itertools.product(("linear", "relu"), ("V", "B", "A")):
        ratios = "".join(f"{reliable_ratio(name, activation, order):9.3f}" for order in (1, 2, 3))
        assert f"{activation:>18} {name}{ratios}\n" in page


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: double_scaling("V", "tanh"), "scale-invariant"),
        (lambda: double_scaling("V", "z + 1"), "scale-invariant"),
        (lambda: double_scaling("W"), "not known"),
        (lambda: double_scaling([]), "at least one"),
        (lambda: double_scaling("abc1 ab2 | cd3 4 | d5 6 | 7 8"), "more than 100 moments"),
        (lambda: double_scaling("a1 a2 | b3 b4 | c5 c6 | d7 d8", None), "name the activation"),
        (lambda: truncations("V", "relu", 0), "from 1, where 'V' first appears"),
        (lambda: truncations("V", "relu", True), "Argument `order`"),
        (lambda: truncations("V", "relu", 10**9), "Argument `order`"),
        (lambda: reliable_ratio("V", None, 1), "Argument `activation`"),
        (lambda: reliable_ratio("V", "relu", 1, tolerance=0), "Argument `tolerance`"),
        (lambda: reliable_ratio("V", "relu", 1, tolerance=1.0), "Argument `tolerance`"),
        (lambda: reliable_ratio("V", "relu", 1, w=float("nan")), "Argument `w`"),
    ],
)
def test_what_is_refused(call, words: str) -> None:
    with pytest.raises(pdlt.PdltError, match="Argument") as caught:
        call()
    assert words in str(caught.value)
