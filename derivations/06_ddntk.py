# %% [markdown]
# # 6. Second differentials of the tangent kernel
#
# **What is derived.** To order $1/n$ the training dynamics needs one more derivative. There are two second
# differentials,
# $$\widehat{dd_IH}_{0123} =\sum\lambda_\mu\lambda_\nu\lambda_\rho\,\partial_\mu\partial_\nu\partial_\rho
# z_0\,\partial_\mu z_1\,\partial_\nu z_2\,\partial_\rho z_3, \qquad \widehat{dd_{II}H}_{1234}
# =\sum\lambda_\mu\lambda_\nu\lambda_\rho\,\partial_\mu\partial_\nu z_1\,\partial_\mu\partial_\rho
# z_2\,\partial_\nu z_3\,\partial_\rho z_4,$$
# both even in $z$, so that their means do not vanish; they are of order $1/n$:
# $$\mathbb E[\widehat{dd_IH}] =\tfrac1n\big[\delta_{01}\delta_{23}R_{0123} +\delta_{02}\delta_{31}R_{0231}
# +\delta_{03}\delta_{12}R_{0312}\big], \qquad \mathbb E[\widehat{dd_{II}H}]
# =\tfrac1n\big[\delta_{12}\delta_{34}S_{1234} +\delta_{13}\delta_{24}T_{1324}
# +\delta_{14}\delta_{23}U_{1423}\big].$$
# $T$ is written in slot order (1,3,2,4) throughout, as in GMG's recursion; their (30) has its last two
# indices exchanged.
#
# ## Step 1: three directions
# $\widehat{dd_IH}_{0123}=\mathbb E_{abc}[z_{abc,0}z_{a1}z_{b2}z_{c3}]$ and $\widehat{dd_{II}H}_{1234}=\mathbb
# E_{abc}[z_{ab,1}z_{ac,2}z_{b3}z_{c4}]$. Pairing the four jets, given the layer before,
# $$R_{0123}=n\,\kappa(\widehat G_{abc0,a1},\widehat G_{b2,c3}),\quad S_{1234}=n\,\kappa(\widehat
# G_{ab1,ac2},\widehat G_{b3,c4}),\quad T_{1324}=n\,\kappa(\widehat G_{ab1,b3},\widehat G_{ac2,c4}),\quad
# U_{1423}=n\,\kappa(\widehat G_{ab1,c4},\widehat G_{ac2,b3}).$$
# The third derivative of the activation along three directions is
# $\varphi_{abc}=\sigma'''z_az_bz_c+\sigma''(z_{ab}z_c+z_{ac}z_b+z_{bc}z_a)+\sigma'z_{abc}$, the sum over set
# partitions of $\{a,b,c\}$ (Faà di Bruno).
#
# ## Step 2: the law of total covariance, four more times
# Nothing new happens; the selection rules leave few terms. For $R$,
# $\Phi_{abc0,a1}=C_W\varphi_{abc0}\sigma'_1z_{a1}+\lambda_W\varphi_{bc0}\sigma_1$ and
# $\Phi_{b2,c3}=C_W\sigma'_2\sigma'_3z_{b2}z_{c3}$, so the part with $\lambda_W$ is $P'$ with other labels,
# and the part with $C_W$ is one derivative higher:
# $$R'_{0123} =C_W\lambda_W\Big\{\Theta_{02}\Theta_{03}\langle\sigma''_0\sigma_1\sigma'_2\sigma'_3\rangle
# +\rho\langle\sigma'_2\sigma'_3\rangle \big[\langle\sigma''_0\sigma_1\rangle B_{0023}
# +\textstyle\sum_\beta\langle\partial_\beta(\sigma'_0\sigma_1)\rangle P_{023\beta}\big]\Big\}$$
# $$+C_W^2\Big\{\Theta_{01}\Theta_{02}\Theta_{03}\langle\sigma'''_0\sigma'_1\sigma'_2\sigma'_3\rangle
# +\rho\Theta_{01}\langle\sigma'_2\sigma'_3\rangle \big[\langle\sigma'''_0\sigma'_1\rangle B_{0023}
# +\textstyle\sum_\beta\langle\partial_\beta(\sigma''_0\sigma'_1)\rangle P_{023\beta}\big]
# +\rho\langle\sigma'_0\sigma'_1\rangle \langle\sigma'_2\sigma'_3\rangle R_{0123}\Big\}.$$
# For $S$ and $U$:
# $$S'_{1234} =C_W\lambda_W\big\{\langle\sigma'_1\sigma'_2\sigma'_3\sigma'_4\rangle \Theta_{13}\Theta_{24}
# +\rho\langle\sigma'_1\sigma'_2\rangle \langle\sigma'_3\sigma'_4\rangle B_{1234}\big\}$$
# $$+C_W^2\big\{\Theta_{12}\Theta_{13}\Theta_{24}\langle\sigma''_1\sigma''_2\sigma'_3\sigma'_4\rangle
# +\rho\Theta_{12}\langle\sigma''_1\sigma''_2\rangle \langle\sigma'_3\sigma'_4\rangle B_{1234}
# +\rho\langle\sigma'_1\sigma'_2\rangle \langle\sigma'_3\sigma'_4\rangle S_{1234}\big\},$$
# $$U'_{1423}
# =C_W^2\big\{\Theta_{12}\Theta_{24}\Theta_{13}\langle\sigma''_1\sigma'_4\sigma''_2\sigma'_3\rangle
# +\rho\langle\sigma'_1\sigma'_4\rangle \langle\sigma'_2\sigma'_3\rangle U_{1423}\big\}.$$
# For $T$ both entries share a letter with themselves, so there are terms with $\lambda_W^2$; with
# $[x|y]_F=\sum_{\beta\gamma}\langle\partial_\beta x\rangle\langle\partial_\gamma y\rangle F_{\beta1\gamma2}$,
# $$T'_{1324} =\lambda_W^2\big\{\Theta_{12}\langle\sigma'_1\sigma_3\sigma'_2\sigma_4\rangle
# +\rho[\sigma'_1\sigma_3|\sigma'_2\sigma_4]_F\big\}$$
# $$+C_W\lambda_W\big\{\Theta_{12}\Theta_{24}\langle\sigma'_1\sigma_3\sigma''_2\sigma'_4\rangle
# +\rho\Theta_{24}[\sigma'_1\sigma_3|\sigma''_2\sigma'_4]_F+\rho\langle\sigma'_2\sigma'_4\rangle
# \textstyle\sum_\beta\langle\partial_\beta(\sigma'_1\sigma_3)\rangle Q_{241\beta}\big\}
# +\{1\leftrightarrow2,3\leftrightarrow4\}$$
# $$+C_W^2\big\{\Theta_{13}\Theta_{24}\big(\Theta_{12}\langle\sigma''_1\sigma'_3\sigma''_2\sigma'_4\rangle
# +\rho[\sigma''_1\sigma'_3|\sigma''_2\sigma'_4]_F\big) +\rho\Theta_{13}\langle\sigma'_2\sigma'_4\rangle
# \textstyle\sum_\beta\langle\partial_\beta(\sigma''_1\sigma'_3)\rangle Q_{241\beta}
# +\{1\leftrightarrow2,3\leftrightarrow4\} +\rho\langle\sigma'_1\sigma'_3\rangle
# \langle\sigma'_2\sigma'_4\rangle T_{1324}\big\}.$$

# %%
from fractions import Fraction
from functools import cache

import numpy as np
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.checks.arithmetic import iterate, single_input
from pdlt.checks.gaussian import homogeneous_average, polynomial_averages
from pdlt.checks.moments import PolynomialNetwork
from pdlt.checks.scaling import extrapolated
from pdlt.checks.textbook import (
    C_W,
    B,
    F,
    P,
    Q,
    R,
    S,
    T,
    Theta,
    U,
    b1,
    b2,
    d,
    derived,
    lambda_W,
    mean,
    rho,
    sigma,
    sum_inputs,
)


def r_published(first=None):
    """Return the recursion of R; `first` is what stands for sigma'_1 in three places of the C_W^2 terms."""
    one = first or d(1)
    pair = mean(d(2) * d(3))
    fresh = mean(d(0, 2) * sigma(1) * d(2) * d(3)) * Theta(0, 2) * Theta(0, 3)
    moved = mean(d(0, 2) * sigma(1)) * B(0, 0, 2, 3) + sum_inputs(mean(d(0) * sigma(1), b1) * P(0, 2, 3, b1), b1)
    fresh_cw = mean(d(0, 3) * one * d(2) * d(3)) * Theta(0, 1) * Theta(0, 2) * Theta(0, 3)
    moved_cw = mean(d(0, 3) * one) * B(0, 0, 2, 3) + sum_inputs(mean(d(0, 2) * one, b1) * P(0, 2, 3, b1), b1)
    again = mean(d(0) * d(1)) * pair * R(0, 1, 2, 3)
    return C_W * lambda_W * (fresh + rho * pair * moved) + C_W**2 * (
        fresh_cw + rho * Theta(0, 1) * pair * moved_cw + rho * again
    )


@claim(
    id="R.recursion",
    statement="The recursion of $R_{0123}$ in step 2",
    level="symbolic",
    uses=["P.recursion", "B.recursion"],
    published="arXiv:2508.11522 (63), with sigma'_1 for sigma_1 in three places",
)
def r_recursion():
    return Identity(r_published(), derived("R"))


@r_recursion.control("(63) as printed: sigma_1 for sigma'_1 in three places of the C_W^2 terms")
def r_misprint():
    return Identity(r_published(first=sigma(1)), derived("R"))


def s_published(third=1):
    """Return the recursion of S; `third` multiplies its third term."""
    pair = mean(d(3) * d(4))
    fresh = mean(d(1) * d(2) * d(3) * d(4)) * Theta(1, 3) * Theta(2, 4)
    curved = Theta(1, 2) * Theta(1, 3) * Theta(2, 4) * mean(d(1, 2) * d(2, 2) * d(3) * d(4))
    moved = Theta(1, 2) * mean(d(1, 2) * d(2, 2)) * pair * B(1, 2, 3, 4)
    own = mean(d(1) * d(2)) * pair
    return C_W * lambda_W * (fresh + rho * own * B(1, 2, 3, 4)) + C_W**2 * (
        third * curved + rho * moved + rho * own * S(1, 2, 3, 4)
    )


@claim(
    id="S.recursion",
    statement="The recursion of $S_{1234}$ in step 2",
    level="symbolic",
    uses=["B.recursion"],
    published="arXiv:2508.11522 (66), with 1/n_l in front of its third term",
)
def s_recursion():
    return Identity(s_published(), derived("S"))


@s_recursion.control("(66) as printed: 1/n_(l-1) in front of the third term, a factor rho too much")
def s_misprint():
    return Identity(s_published(third=rho), derived("S"))


def t_published(primed=False):
    """Return the recursion of T; `primed` differentiates other products in the Q terms with C_W lambda_W."""

    def moved(x, y):
        return rho * sum_inputs(mean(x, b1) * mean(y, b2) * F(b1, 1, b2, 2), b1, b2)

    def half(i, j, k, m, swap):
        """Return the C_W lambda_W and C_W^2 terms with (i, j, k, m) = (1, 3, 2, 4), or the other way round."""
        pair = (d(i) * sigma(j), d(k, 2) * d(m))
        inherited = moved(*pair[:: -1 if swap else 1])
        differentiated = d(i) * (d(j) if primed else sigma(j))
        plain = sum_inputs(mean(differentiated, b1) * Q(k, m, i, b1), b1)
        curved = sum_inputs(mean(d(i, 2) * d(j), b1) * Q(k, m, i, b1), b1)
        own = rho * mean(d(k) * d(m))
        with_rate = Theta(1, 2) * Theta(k, m) * mean(pair[0] * pair[1]) + Theta(k, m) * inherited + own * plain
        return C_W * lambda_W * with_rate + C_W**2 * Theta(i, j) * own * curved

    rates = Theta(1, 2) * mean(d(1) * sigma(3) * d(2) * sigma(4)) + moved(d(1) * sigma(3), d(2) * sigma(4))
    curved = Theta(1, 2) * mean(d(1, 2) * d(3) * d(2, 2) * d(4)) + moved(d(1, 2) * d(3), d(2, 2) * d(4))
    again = rho * mean(d(1) * d(3)) * mean(d(2) * d(4)) * T(1, 3, 2, 4)
    halves = half(1, 3, 2, 4, swap=False) + half(2, 4, 1, 3, swap=True)
    return lambda_W**2 * rates + halves + C_W**2 * (Theta(1, 3) * Theta(2, 4) * curved + again)


@claim(
    id="T.recursion",
    statement="The recursion of $T_{1324}$ in step 2",
    level="symbolic",
    uses=["Q.recursion", "F.recursion"],
    published="arXiv:2508.11522 (68), with the products differentiated in two Q terms corrected",
)
def t_recursion():
    return Identity(t_published(), derived("T"))


@t_recursion.control("(68): the Q terms with C_W lambda_W differentiate another product, sigma'_1 sigma'_3")
def t_misprint():
    return Identity(t_published(primed=True), derived("T"))


@t_recursion.control("T in the slot order (1,3,4,2) of (30)")
def t_slots():
    return Identity(t_published().subs(T(1, 3, 2, 4), T(1, 3, 4, 2)), derived("T"))


def u_published(source):
    return C_W**2 * (
        source * mean(d(1, 2) * d(4) * d(2, 2) * d(3)) + rho * mean(d(1) * d(4)) * mean(d(2) * d(3)) * U(1, 4, 2, 3)
    )


@claim(
    id="U.recursion",
    statement="The recursion of $U_{1423}$ in step 2",
    level="symbolic",
    uses=["Theta.recursion"],
    published="arXiv:2508.11522 (70)",
)
def u_recursion():
    return Identity(u_published(Theta(1, 2) * Theta(2, 4) * Theta(1, 3)), derived("U"))


@u_recursion.control("the directions of the second derivatives exchanged: Theta_14 Theta_23")
def u_swapped():
    return Identity(u_published(Theta(1, 2) * Theta(2, 3) * Theta(1, 4)), derived("U"))


# %% [markdown]
# ## Exact moments
# Two inputs and a quadratic activation; one input and a cubic one, the first for which $\sigma'''$ is not
# zero. Layer 3, unequal widths.

# %%
NAMES = ("R", "S", "T", "U")
SPECS = {
    "R": ("abc0 a1 | b2 c3", (0, 1, 2, 3)),
    "S": ("ab1 ac2 | b3 c4", (1, 2, 3, 4)),
    "T": ("ab1 b3 | ac2 c4", (1, 3, 2, 4)),
    "U": ("ab1 c4 | ac2 b3", (1, 4, 2, 3)),
}
TWO_INPUTS = ((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3)))
QUADRATIC = (Fraction(0), Fraction(1), Fraction(1, 2))
CUBIC = (Fraction(0), Fraction(1), Fraction(0), Fraction(-1, 6))
COMPONENTS = ((0, 1, 0, 0), (0, 1, 0, 1), (0, 0, 0, 1), (1, 1, 0, 0))


def network(activation, gram):
    return PolynomialNetwork(
        sigma=activation,
        gram=gram,
        ratios=(Fraction(2), Fraction(3)),
        C_b=Fraction(1, 5),
        C_W=Fraction(1, 2),
        lambda_b=Fraction(1, 3),
        lambda_W=Fraction(3, 4),
    )


@cache
def ddntk_both_ways(activation, gram, components):
    """Return the tensors at layer 3 from the recursions, and the exact values of the components, name by name."""
    finite = network(activation, gram)
    averages = polynomial_averages(activation)
    state = iterate(pdlt.derive(list(NAMES)), *finite.first_layer(), averages, finite.parameters())[2]
    exact = [
        finite.coefficients(spec, dict(zip(axes, inputs, strict=True)), layer=3, terms=1)[0]
        for spec, axes in SPECS.values()
        for inputs in components
    ]
    return state, exact


@claim(
    id="RSTU.exact-moments",
    statement="For a quadratic activation on two inputs and a cubic one on one input, $R$, $S$, $T$, $U$ at layer 3 "
    "are the leading coefficients of the finite network's exact joint cumulants",
    level="precision",
    uses=["R.recursion", "S.recursion", "T.recursion", "U.recursion"],
)
def rstu_exact():
    values, witness = [], []
    for activation, gram, components in (
        (QUADRATIC, TWO_INPUTS, COMPONENTS),
        (CUBIC, ((Fraction(2, 3),),), ((0, 0, 0, 0),)),
    ):
        recursion, exact = ddntk_both_ways(activation, gram, components)
        values += [recursion[name][inputs] for name in NAMES for inputs in components]
        witness += exact
    return Agreement(values, witness, 0, "rational arithmetic on both sides")


@rstu_exact.control("T with its last two indices exchanged, the slot order of (30)")
def rstu_slots():
    recursion, exact = ddntk_both_ways(QUADRATIC, TWO_INPUTS, COMPONENTS)
    wrong = {**recursion, "T": {(a, b, c, e): recursion["T"][a, b, e, c] for a, b, c, e in recursion["T"]}}
    return Agreement([wrong[name][inputs] for name in NAMES for inputs in COMPONENTS], exact, 0, "as in the claim")


# %% [markdown]
# ## Scale invariance
# Without curvature ($\sigma''=\sigma'''=0$) only the terms with $\lambda_W$ drive the ddNTKs. On one input at
# criticality $R$ and $U$ stay zero. In $S'$ the fresh noise and the $B$ passed on add up to $B$ of the next
# layer, $S'=S+\lambda_WA_2B'$; in $T'$ they add up to $F'$ and a $Q$ is passed on twice,
# $T'=T+\lambda_W^2A_2^2F'+2\lambda_WA_2Q$. With the closed forms of files 4 and 5 both are sums of cubics in
# $\ell$:
# $$S=a\,\lambda_WA_2\,\kappa^2\,\tfrac{(\ell-1)\ell^2(\ell+1)}{12}, \qquad
# T=a\,\lambda_WA_2\,\kappa_W\kappa\,\tfrac{(\ell-1)\ell^2(\ell+1)}{12}.$$


# %%
def ddntk_induction(power=2):
    ell, k, a, weight, bias, a2 = sympy.symbols("ell K a lambda_W lambda_b A_2", positive=True)
    kw = weight * a2 * k
    kappa = bias + kw

    def closed(m):
        quartic = a * weight * a2 * kappa * (m - 1) * m**power * (m + 1) / 12
        return {
            "K": k,
            "Theta": kappa * m,
            "F": a * k * kappa * m * (m - 1) / 2,
            "B": a * kappa**2 * (m - 1) * m * (2 * m - 1) / 6,
            "P": 0,
            "Q": a * kw * kappa * (m - 1) * m * (m + 1) / 6,
            "R": 0,
            "S": kappa * quartic,
            "T": kw * quartic,
            "U": 0,
        }

    theory = pdlt.derive(list(NAMES))
    parameters = {"C_b": 0, "lambda_b": bias, "C_W": 1 / a2, "lambda_W": weight, "rho": 1}
    average = homogeneous_average(lambda m: {2: a2, 4: a * a2**2}[m], k)
    before, after = closed(ell), closed(ell + 1)
    return Identity([single_input(theory[key], before, average, parameters) for key in before], list(after.values()))


@claim(
    id="RSTU.scale-invariant",
    statement=r"At criticality on one input $R=U=0$, $S=a\lambda_WA_2\kappa^2(\ell-1)\ell^2(\ell+1)/12$ and "
    r"$T=(\kappa_W/\kappa)S$",
    level="symbolic",
    uses=["PQ.scale-invariant", "R.recursion", "S.recursion", "T.recursion", "U.recursion"],
)
def rstu_closed():
    return ddntk_induction()


@rstu_closed.control("one power of l less")
def rstu_wrong_growth():
    return ddntk_induction(power=1)


# %% [markdown]
# ## Real networks
# Third derivatives of real networks by automatic differentiation, all components on two inputs. The next
# order is large here (four per cent at width 64), which makes these a good test of the extrapolation, too.

# %%
INPUTS = np.array([[0.9, -0.4, 1.1], [0.3, 0.8, -0.5]])
SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
SEED = 61


@cache
def ddntk_measured(sampler, width, samples):
    net = pdlt.MLP(depth=3, width=width, activation="tanh", **SCALES)
    prediction = pdlt.predict(net, INPUTS, observables=list(NAMES)).isel(layer=-1)
    run = extrapolated(net, INPUTS, NAMES, samples=samples, sampler=sampler, seed=SEED)
    predicted = [prediction[name].values for name in NAMES]
    return predicted, [run[name][0] for name in NAMES], [run[name][1] for name in NAMES]


@claim(
    id="RSTU.ensemble",
    statement="All components of $R$, $S$, $T$, $U$ of three-layer tanh networks on two inputs, from finite networks",
    level="ensemble",
    uses=["R.recursion", "S.recursion", "T.recursion", "U.recursion"],
)
def rstu_ensemble():
    return Scores(*ddntk_measured("jets", 32, 12_000), z_max=4, seed=SEED)


@rstu_ensemble.control("T and U exchanged")
def rstu_exchanged():
    (r, s, t, u), measured, stderr = ddntk_measured("jets", 32, 12_000)
    return Scores([r, s, u, t], measured, stderr, z_max=4, seed=SEED)


@claim(
    id="RSTU.networks",
    statement="The same from real weights, with the ddNTKs by automatic differentiation",
    level="ensemble",
    uses=["R.recursion", "S.recursion", "T.recursion", "U.recursion"],
)
def rstu_networks():
    return Scores(*ddntk_measured("network", 8, 1_500), z_max=4, seed=SEED)


@rstu_networks.control("R and S doubled")
def rstu_doubled():
    (r, s, t, u), measured, stderr = ddntk_measured("network", 8, 1_500)
    return Scores([2 * r, 2 * s, t, u], measured, stderr, z_max=4, seed=SEED)
