# %% [markdown]
# # 2. The four-point vertex
#
# **What is derived.** Neurons of a finite network are not independent: they share the random covariance
# $\widehat G$ of the layer below. The leading trace of it is the connected four-point function,
# $$\mathbb E[z_{i_1;1}z_{i_2;2}z_{i_3;3}z_{i_4;4}]_c
# =\frac1{n_{\ell-1}}\Big[\delta_{i_1i_2}\delta_{i_3i_4}V_{(12)(34)}+
# \delta_{i_1i_3}\delta_{i_2i_4}V_{(13)(24)} +\delta_{i_1i_4}\delta_{i_2i_3}V_{(14)(23)}\Big].$$
#
# ## Step 1: it is a covariance of covariances
# Given $\widehat G$ the $z$ are Gaussian (file 1, step 1), so a fourth moment is a sum over pairings of
# $\mathbb E[\widehat G_{12}\widehat G_{34}]$, each with its Kronecker deltas. Subtracting the disconnected
# part leaves the covariance of two entries: $V_{(12)(34)}=n_{\ell-1}\,\kappa(\widehat G_{12},\widehat
# G_{34})$.
#
# ## Step 2: the law of total covariance
# $\widehat G'$ is the average of $n_\ell$ terms $\Phi_{12}(z_j)=C_W\sigma_1\sigma_2$ that are independent
# *given* $\widehat G$. Its covariance has a part from the draw of the $z_j$ and a part from the randomness of
# $\widehat G$ itself:
# $$\kappa(\widehat G'_{12},\widehat G'_{34}) =\underbrace{\frac1{n_\ell}\,\mathbb
# E\big[\langle\Phi_{12}\Phi_{34}\rangle - \langle\Phi_{12}\rangle \langle\Phi_{34}\rangle \big]}_{\text{fresh
# noise}} +\underbrace{\kappa\big(\langle\Phi_{12} \rangle_{\widehat G},\langle\Phi_{34}\rangle_{\widehat
# G}\big)}_{\text{noise passed on}} .$$
#
# ## Step 3: leading order
# In the first part replace $\widehat G$ by $K$. In the second, each expectation moves linearly with $\delta$,
# $\langle\Phi\rangle_{K+\delta}=\langle\Phi\rangle+\tfrac12\sum\delta_{\beta\beta'}\langle\partial_\beta
# \partial_{\beta'}\Phi\rangle$, and $\kappa(\delta,\delta)=V/n_{\ell-1}$. Multiplying by $n_\ell$:
# $$V'_{(12)(34)} =C_W^2\big[\langle\sigma_1\sigma_2\sigma_3\sigma_4\rangle -\langle\sigma_1\sigma_2\rangle
# \langle\sigma_3 \sigma_4\rangle \big]
# +\rho\,\frac{C_W^2}4\sum_{\beta_1..\beta_4}V_{(\beta_1\beta_2)(\beta_3\beta_4)}\langle
# \partial_{\beta_1}\partial_{\beta_2}\sigma_1\sigma_2\rangle
# \langle\partial_{\beta_3}\partial_{\beta_4}\sigma_3\sigma_4 \rangle .$$
# The quarter is the product of two halves.

# %%
from fractions import Fraction
from functools import cache
from itertools import pairwise, product
from math import prod

import mpmath
import numpy as np
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.checks.arithmetic import iterate, single_input
from pdlt.checks.gaussian import homogeneous_average, polynomial_averages, quadrature
from pdlt.checks.moments import PolynomialNetwork
from pdlt.checks.scaling import extrapolated
from pdlt.checks.textbook import C_W, V, b1, b2, b3, b4, derived, mean, rho, sigma, sum_inputs, sum_over


def source():
    together = mean(sigma(1) * sigma(2) * sigma(3) * sigma(4))
    return C_W**2 * (together - mean(sigma(1) * sigma(2)) * mean(sigma(3) * sigma(4)))


def passed_on(second=(b3, b4)):
    return V(b1, b2, b3, b4) * mean(sigma(1) * sigma(2), b1, b2) * mean(sigma(3) * sigma(4), *second)


@claim(
    id="V.recursion",
    statement=r"The recursion of $V_{(12)(34)}$ in step 3",
    level="symbolic",
    uses=["K.recursion", "K.heat-equation"],
    published="arXiv:2508.11522 (45), with the labels of its last bracket corrected",
)
def v_recursion():
    return Identity(source() + rho * C_W**2 / 4 * sum_inputs(passed_on(), b1, b2, b3, b4), derived("V"))


@v_recursion.control("(45) as printed: the labels b1, b2 of the first bracket repeated in the second")
def v_misprint():
    literal = sum_over([1, 2, 3, 4], passed_on(second=(b1, b2)), b1, b2, b3, b4)
    return Identity(source() + rho * C_W**2 / 4 * literal, derived("V"))


@v_recursion.control("one half for one quarter")
def v_half():
    return Identity(source() + rho * C_W**2 / 2 * sum_inputs(passed_on(), b1, b2, b3, b4), derived("V"))


# %% [markdown]
# ## The form of the book
# PDLT writes the bracket without derivatives, with indices raised by $K^{-1}$:
# $$\langle\partial_{\beta_1}\partial_{\beta_2}f\rangle
# =\sum_{\gamma_1\gamma_2}K^{\beta_1\gamma_1}K^{\beta_2\gamma_2}\langle
# f\,(z_{\gamma_1}z_{\gamma_2}-K_{\gamma_1\gamma_2})\rangle .$$
# This is integration by parts twice; the right side needs an inverse, the left side does not exist for kinks.
# For $f=\tanh z_1\tanh z_2$ both are integrated numerically and agree in all digits.

# %%
DIGITS = 34
KERNEL = ((Fraction(1, 2), Fraction(1, 5)), (Fraction(1, 5), Fraction(2, 5)))


@cache
def both_forms():
    """Return the matrix <d_b1 d_b2 f>, and <f z z>, <f> from which the book's form is made."""
    with mpmath.workdps(DIGITS):
        kernel = mpmath.matrix([[mpmath.mpf(k.numerator) / k.denominator for k in row] for row in KERNEL])

    def integrands(x, y):
        s, t = mpmath.tanh(x), mpmath.tanh(y)
        ds, dt = 1 - s * s, 1 - t * t
        return -2 * s * ds * t, ds * dt, -2 * t * dt * s, s * t * x * x, s * t * x * y, s * t * y * y, s * t

    d11, d12, d22, xx, xy, yy, f = quadrature(kernel.tolist(), DIGITS, reach=11.5, step=0.18)(integrands)
    return kernel, mpmath.matrix([[d11, d12], [d12, d22]]), mpmath.matrix([[xx, xy], [xy, yy]]), f


@claim(
    id="V.integration-by-parts",
    statement=r"$\langle\partial\partial f\rangle=K^{-1}\langle f(zz-K)\rangle K^{-1}$ for $f=\tanh z_1\tanh z_2$",
    level="precision",
    published="the two forms in PDLT chapter 4 and arXiv:2508.11522 (45)",
)
def by_parts():
    kernel, derivatives, products, f = both_forms()
    with mpmath.workdps(DIGITS):
        book = kernel**-1 * (products - f * kernel) * kernel**-1
    why = "trapezoidal rule: exp(-2 pi w / 0.18) with poles of tanh at w >= (pi/2) / sqrt(1/2), and exp(-11.5^2 / 2)"
    return Agreement(derivatives.tolist(), book.tolist(), 1e-25, why)


@by_parts.control("K not subtracted")
def not_subtracted():
    kernel, derivatives, products, _ = both_forms()
    return Agreement(derivatives.tolist(), (kernel**-1 * products * kernel**-1).tolist(), 1e-25, "as in the claim")


# %% [markdown]
# ## Layer 2, another way
# At layer 2 only the fresh noise exists, at any width: the cumulants of $\widehat G^{(2)}$ are those of a
# single neuron's $\Phi$, divided by powers of $n_1$. They are the Taylor coefficients of the cumulant
# generating function $g(t)=\log\langle e^{t\Phi}\rangle$, $\Phi=C_W\tanh^2z$, which can be computed without
# any product of expectations and differentiated by Cauchy's formula on a circle.

# %%
CW = Fraction(7, 5)


@cache
def one_layer():
    """Return V and the six-point cumulant at layer 2 from the recursions, and from the generating function."""
    with mpmath.workdps(DIGITS):
        variance, weight = mpmath.mpf("0.6"), mpmath.mpf(7) / 5
        integrate = quadrature([[variance]], DIGITS, reach=11.5, step=0.15)

        def average(orders, p):
            assert p == 0 and set(orders) == {0}
            return integrate(lambda z: (mpmath.tanh(z) ** len(orders),))[0]

        theory = pdlt.derive(["V", "1 2 | 3 4 | 5 6"], order=2)
        keys = ("V", "1 2 | 3 4 | 5 6")
        state = dict.fromkeys(theory.keys(), 0)
        parameters = {"C_b": mpmath.mpf(0), "lambda_b": 0, "C_W": weight, "lambda_W": 0, "rho": mpmath.mpf(1)}
        derived_values = [single_input(theory[key], state, average, parameters) for key in keys]

        count, radius = 48, mpmath.mpf(1) / 2
        circle = [radius * mpmath.expjpi(mpmath.mpf(2 * k) / count) for k in range(count)]
        generating = integrate(lambda z: [mpmath.exp(t * weight * mpmath.tanh(z) ** 2) for t in circle])
        logs = [mpmath.log(m) for m in generating]
        taylor = [mpmath.fsum(g / t**m for g, t in zip(logs, circle, strict=True)).real / count for m in (2, 3)]
        return derived_values, [2 * taylor[0], 6 * taylor[1]]


@claim(
    id="V.one-layer",
    statement=r"$V^{(2)}$ and the six-point cumulant at layer 2 are the second and third derivative of "
    r"$\log\langle e^{t\,C_W\tanh^2z}\rangle$ at $t=0$",
    level="precision",
    uses=["V.recursion"],
)
def one_layer_cumulants():
    why = "quadrature as above; Cauchy's formula with 48 points on a circle well inside the first zero of <exp>"
    return Agreement(*one_layer(), 1e-25, why)


@one_layer_cumulants.control("moments instead of cumulants: the product of means not subtracted")
def one_layer_moments():
    with mpmath.workdps(DIGITS):
        integrate = quadrature([[mpmath.mpf("0.6")]], DIGITS, reach=11.5, step=0.15)
        moments = integrate(lambda z: [(CW * mpmath.tanh(z) ** 2) ** m for m in (2, 3)])
    return Agreement(moments, one_layer()[1], 1e-25, "as in the claim")


# %% [markdown]
# ## All indices, four layers, exactly
# The witness of file 1: exact moments of a finite network with a polynomial activation. Two inputs, all
# sixteen components of $V$ at layer 3 and one at layer 4, with the next coefficient `V_1` of the cumulant
# $(V+V^{\{1\}}/n+\dots)/n$, and the leading six-point cumulant.

# %%
NETWORK = PolynomialNetwork(
    sigma=(Fraction(0), Fraction(1), Fraction(1, 2)),
    gram=((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3))),
    ratios=(Fraction(2), Fraction(3), Fraction(1)),
    C_b=Fraction(1, 5),
    C_W=Fraction(1, 2),
    lambda_b=Fraction(0),
    lambda_W=Fraction(0),
)


@cache
def vertex_both_ways():
    theory = pdlt.derive(["V", "1 2 | 3 4 | 5 6"], order=2)
    layers = iterate(theory, *NETWORK.first_layer(), polynomial_averages(NETWORK.sigma), NETWORK.parameters()[:2])
    recursion, exact = [], []
    for inputs in product((0, 1), repeat=4):
        recursion += [layers[2]["V"][inputs], layers[2]["V_1"][inputs]]
        exact += NETWORK.coefficients("1 2 | 3 4", dict(zip((1, 2, 3, 4), inputs, strict=True)), layer=3, terms=2)
    for inputs in ((0, 0, 0, 1, 1, 1), (0, 1, 0, 1, 0, 1)):
        recursion.append(layers[2]["1 2 | 3 4 | 5 6"][inputs])
        place = dict(zip(range(1, 7), inputs, strict=True))
        exact += NETWORK.coefficients("1 2 | 3 4 | 5 6", place, layer=3, terms=1)
    return recursion, exact


@claim(
    id="V.exact-moments",
    statement=r"For a quadratic activation and two inputs, $V$, $V^{\{1\}}$ and the six-point cumulant at layer 3 are "
    "the Taylor coefficients of the finite network's exact joint cumulants",
    level="precision",
    uses=["V.recursion"],
)
def v_exact():
    return Agreement(*vertex_both_ways(), 0, "rational arithmetic on both sides")


@v_exact.control("two indices of different pairs exchanged: V_(12)(34) read as V_(13)(24)")
def v_swapped():
    recursion, exact = vertex_both_ways()
    table = dict(zip(product((0, 1), repeat=4), zip(recursion[:32:2], recursion[1:32:2], strict=True), strict=True))
    swapped = [value for a, b, c, d in table for value in table[a, c, b, d]]
    return Agreement(swapped + recursion[32:], exact, 0, "as in the claim")


# %% [markdown]
# ## Deep linear and ReLU networks, to all orders
# With $C_b=0$ and one input, homogeneity makes $\widehat G^{(L)}/\widehat G^{(1)}$ a product of independent
# averages, one for each layer: of $\chi^2$ variables for the linear network, of rectified ones for ReLU.
# Their moments are elementary: with $m_k=\langle\Phi^k\rangle/\langle\Phi\rangle^k$ (linear $1,3,15$; ReLU
# $1,6,60$),
# $$\frac{\mathbb E\,\widehat G^2}{(\mathbb E\,\widehat G)^2} =\prod_\ell\Big(1 +\frac{m_2-1}{n_\ell}\Big),
# \qquad \frac{\mathbb E\,\widehat G^3}{(\mathbb E\,\widehat G)^3} =\prod_\ell\Big(\frac{m_3}{n_\ell^2}
# +\frac{3m_2}{n_\ell} \big(1-\tfrac1{n_\ell}\big)
# +\big(1-\tfrac1{n_\ell}\big)\big(1-\tfrac2{n_\ell}\big)\Big),$$
# that is $1+2/n$ and $1+5/n$ per layer for the variance. Taylor-expanding the products gives $V$, $V^{\{1\}}$
# and the six-point cumulant at every depth.

# %%
RATIOS = (Fraction(1), Fraction(3, 2), Fraction(2), Fraction(1, 2), Fraction(1))


def product_formula(m2, m3):
    """Return V, V_1 and the six-point cumulant at layer 6 for K = 1, from the products over layers."""
    t = sympy.Symbol("t")  # 1/N, n_l = r_l N
    inverse = [t / sympy.Rational(r.numerator, r.denominator) for r in RATIOS]
    second = sympy.expand(prod(1 + (m2 - 1) * u for u in inverse))
    third = sympy.expand(prod(m3 * u**2 + 3 * m2 * u * (1 - u) + (1 - u) * (1 - 2 * u) for u in inverse))
    last = sympy.Rational(RATIOS[-1].numerator, RATIOS[-1].denominator)
    covariance, skewness = second - 1, sympy.expand(third - 3 * second + 2)
    assert skewness.coeff(t, 1) == 0
    return [covariance.coeff(t, 1) * last, covariance.coeff(t, 2) * last**2, skewness.coeff(t, 2) * last**2]


def product_recursion(moments):
    """Return the same from the recursions; `moments` are (a_+^m + a_-^m) / 2."""
    theory = pdlt.derive(["V", "1 2 | 3 4 | 5 6"], order=2)
    state = {**dict.fromkeys(theory.keys(), Fraction(0)), "K": Fraction(1)}
    for before, after in pairwise((RATIOS[0], *RATIOS)):
        parameters = {"C_b": 0, "lambda_b": 0, "C_W": 1 / moments(2), "lambda_W": 0, "rho": after / before}
        average = homogeneous_average(moments, state["K"])
        state = {e.key: single_input(e, state, average, parameters) for e in theory}
    assert state["K"] == 1
    return [state[key] for key in ("V", "V_1", "1 2 | 3 4 | 5 6")]


def linear(_):
    return Fraction(1)


def relu(_):
    return Fraction(1, 2)


@claim(
    id="V.homogeneous",
    statement=r"$V$, $V^{\{1\}}$ and the six-point cumulant of linear and ReLU networks at layer 6, unequal widths, "
    r"are the Taylor coefficients of $\prod(1+2/n_\ell)$, $\prod(1+5/n_\ell)$ and the products for third moments",
    level="precision",
    uses=["V.recursion"],
    published="linear: PDLT 3.18-3.30; ReLU: the same argument",
)
def v_homogeneous():
    values = product_recursion(linear) + product_recursion(relu)
    return Agreement(values, product_formula(3, 15) + product_formula(6, 60), 0, "rational arithmetic on both sides")


@v_homogeneous.control("1 + 1/n in place of 1 + 2/n: a complex instead of a real Gaussian")
def v_complex():
    return Agreement(product_recursion(linear), product_formula(2, 6), 0, "as in the claim")


# %% [markdown]
# ## Scale invariance at criticality
# With slopes $a_\pm$, $A_m=\frac12(a_+^m+a_-^m)$, $C_W=1/A_2$, and $\nu=3A_4/A_2^2-1$ (linear 2, ReLU 5) the
# fresh noise is $\nu K^2$ in each layer and is passed on unchanged: $V^{(\ell)}=\nu K^2(\ell-1)$ for equal
# widths. Induction: the recursion takes the formula at $\ell$ to the formula at $\ell+1$, for symbolic
# $\ell$, and it is right at $\ell=1$.


# %%
def v_closed_form(nu):
    k, ell, a2, a = sympy.symbols("K ell A_2 a", positive=True)
    average = homogeneous_average(lambda m: {2: a2, 4: a * a2**2}[m], k)
    state = {"K": k, "V": nu(a) * k**2 * (ell - 1)}
    parameters = {"C_b": sympy.S.Zero, "lambda_b": 0, "C_W": 1 / a2, "lambda_W": 0, "rho": 1}
    new = single_input(pdlt.derive(["V"])["V"], state, average, parameters)
    return Identity(new, nu(a) * k**2 * ell)


@claim(
    id="V.scale-invariant",
    statement=r"$V^{(\ell)}=(3A_4/A_2^2-1)K^2(\ell-1)$ on one input at criticality",
    level="symbolic",
    uses=["V.recursion"],
    published="PDLT chapter 5",
)
def v_scale_invariant():
    return v_closed_form(lambda a: 3 * a - 1)


@v_scale_invariant.control("nu without the subtraction of the squared mean")
def v_nu_wrong():
    return v_closed_form(lambda a: 3 * a)


# %% [markdown]
# ## Real fluctuations
# Two inputs, $\tanh$, three layers. The measured $n\,\kappa(\widehat G,\widehat G)$ contains all orders; the
# widths 32 and 64 are combined so that the first correction cancels. All sixteen components are compared (six
# are different numbers).

# %%
INPUTS = np.array([[0.9, -0.4, 1.1], [0.3, 0.8, -0.5]])
TANH = pdlt.MLP(depth=3, width=32, activation="tanh", C_b=0.3, C_W=1.4)
SEED = 21


@cache
def vertex_measured():
    prediction = pdlt.predict(TANH, INPUTS, observables=["V"]).isel(layer=-1)["V"].values
    return prediction, *extrapolated(TANH, INPUTS, ["V"], samples=40_000, sampler="jets", seed=SEED)["V"]


@claim(
    id="V.ensemble",
    statement=r"All components of $V$ of three-layer tanh networks on two inputs, measured on finite networks",
    level="ensemble",
    uses=["V.recursion"],
)
def v_ensemble():
    return Scores(*vertex_measured(), z_max=4, seed=SEED)


@v_ensemble.control("only the fresh noise of the last layer, nothing passed on")
def v_fresh_only():
    _, measured, stderr = vertex_measured()
    prediction = pdlt.predict(TANH, INPUTS, observables=["V"])
    # rho V_passed is what the vertex of layer 2 leaves in layer 3; without it the chain would restart at each layer.
    fresh = prediction["V"].isel(layer=1).values
    return Scores(fresh, measured, stderr, z_max=4, seed=SEED)


@v_ensemble.control("indices of different pairs exchanged")
def v_transposed():
    prediction, measured, stderr = vertex_measured()
    return Scores(prediction.transpose(0, 2, 1, 3), measured, stderr, z_max=4, seed=SEED)


# %% [markdown]
# Real weights tell the same story. The spread of $z^2$ is noisy, so the network is chosen where the answer is
# known at *every* width: ReLU, one input, $V=n\,K^2[(1+5/n)^{L-1}-1]$ with nothing truncated, at $n=6$.

# %%
RELU = pdlt.MLP(depth=4, width=6, activation="relu", C_W=2.0)
ONE_INPUT = INPUTS[:1]


@cache
def relu_measured():
    run = pdlt.simulate(RELU, ONE_INPUT, ["V"], 200_000, "network", SEED, layers=[4], progress=False)
    return run["V"].values, run["V_stderr"].values


@claim(
    id="V.networks",
    statement=r"$V=n\,K^2[(1+5/n)^{3}-1]$ exactly, for real ReLU networks of depth 4 and width 6",
    level="ensemble",
    uses=["V.homogeneous"],
    published="follows from the product formula",
)
def v_networks():
    kernel = 2.0 * float(ONE_INPUT[0] @ ONE_INPUT[0]) / 3
    return Scores([6 * kernel**2 * ((1 + 5 / 6) ** 3 - 1)], *relu_measured(), z_max=3.5, seed=SEED)


@v_networks.control("1 + 2/n, the linear network")
def v_networks_linear():
    kernel = 2.0 * float(ONE_INPUT[0] @ ONE_INPUT[0]) / 3
    return Scores([6 * kernel**2 * ((1 + 2 / 6) ** 3 - 1)], *relu_measured(), z_max=3.5, seed=SEED)
