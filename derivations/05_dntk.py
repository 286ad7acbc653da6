# %% [markdown]
# # 5. The differential of the tangent kernel
#
# **What is derived.** During training the tangent kernel itself moves. Its first change is governed by the
# dNTK, $\widehat{dH}_{i_0i_1i_2;012}=\sum_{\mu\nu}\lambda_\mu\lambda_\nu\,\partial_\mu\partial_\nu
# z_{i_0;0}\,\partial_\mu z_{i_1;1}\,\partial_\nu z_{i_2;2}$. It is odd in $z$, so its mean vanishes at
# initialisation, and what enters at order $1/n$ is its correlation with the network's output:
# $$\mathbb E[\widehat{dH}_{i_0i_1i_2}z_{i_3}] =\tfrac1n\big[\delta_{03}\delta_{12}P_{0123}
# +\delta_{01}\delta_{23}Q_{0123} +\delta_{02}\delta_{13}Q_{0213}\big].$$
#
# ## Step 1: two directions
# With two independent directions $\widehat{dH}_{012}=\mathbb E_{ab}[z_{ab,0}\,z_{a1}\,z_{b2}]$, where
# $z_{ab}$ is the mixed second derivative. One more application of the chain rule to the layer map,
# $$z'_{ab} =\sum_jW_j\,\varphi_{ab,j} +\sum_jW_{a,j}\,\varphi_{b,j} +\sum_jW_{b,j}\,\varphi_{a,j}, \qquad
# \varphi_a =\sigma'z_a,\quad \varphi_{ab} =\sigma''z_az_b +\sigma'z_{ab},$$
# shows that second derivatives, too, are linear in the fresh Gaussians of the layer: jets are Gaussian given
# the layer before, and the covariance of two of them is the average over neurons of
# $$\Phi_{S\alpha,T\beta} =C_W\,\varphi_{S\alpha}\varphi_{T\beta} +\lambda_W\sum_{s\in S\cap
# T}\varphi_{S\setminus s,\alpha}\,\varphi_{T\setminus s,\beta}.$$
# The second term is the learning rate of the last layer's own weights: a direction that both jets contain may
# be the one along which $W$ moved.
#
# Pairing the four fields of $\mathbb E[z_{ab,0}z_{a1}z_{b2}z_{3}]$ gives three products of two entries of
# $\widehat G$. Means vanish by the sign symmetry of the directions, so each is a joint cumulant:
# $$P_{0123}=n\,\kappa(\widehat G_{ab0,03},\widehat G_{a1,b2}), \qquad Q_{0123}=n\,\kappa(\widehat
# G_{ab0,a1},\widehat G_{b2,03}),$$
# (03 without letters is plain) and the third is the second with $a$ and $b$ renamed, which exchanges the
# labels 1 and 2. That renaming is the content of (28), whose printed indices cannot be read; it is checked
# below.

# %%
from fractions import Fraction
from functools import cache
from itertools import product

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
    Theta,
    b1,
    b2,
    d,
    derived,
    lambda_W,
    mean,
    relabelled,
    rho,
    sigma,
    sum_inputs,
)
from pdlt.observables import Observable
from pdlt.symbolic.recursion import derive_equation


def third_pairing():
    """Return the recursion of the cumulant of G(ab0, b2) and G(a1, 3), derived as it stands."""
    slots = Observable("third", ("ab", "b", "a", ""), (0, 2, 1, 3), (0, 1, 2, 3))
    return derive_equation(slots, 0).expanded()


@claim(
    id="Q.third-pairing",
    statement=r"$n\,\kappa(\widehat G_{ab0,b2},\widehat G_{a1,03})$ is $Q_{0213}$: the recursion of $Q_{0123}$ with "
    "1 and 2 exchanged",
    level="symbolic",
    published="arXiv:2508.11522 (28), with its indices corrected",
)
def q_third():
    return Identity(third_pairing(), relabelled(derived("Q"), {1: 2, 2: 1}))


@q_third.control("Q_0123 in both terms")
def q_third_same():
    return Identity(third_pairing(), derived("Q"))


# %% [markdown]
# ## Step 2: $P$
# Apply the law of total covariance. In $\Phi_{ab0,03}=C_W(\sigma''_0z_{a0}z_{b0}+\sigma'_0z_{ab0})\sigma_3$
# and $\Phi_{a1,b2}=C_W\sigma'_1\sigma'_2z_{a1}z_{b2}$ no letter is shared, so no $\lambda_W$ appears. The
# fresh noise pairs $z_{a0}z_{a1}$ and $z_{b0}z_{b2}$. Passed on are, from the second factor, always
# $\delta_{a1,b2}$; from the first either $\delta_{a0,b0}$, whose covariance with it is $B_{0012}$, or
# $\delta_{ab0,0\beta}$, which gives $P$ again:
# $$P'_{0123} =C_W^2\Theta_{01}\Theta_{02}\langle\sigma''_0\sigma'_1\sigma'_2\sigma_3\rangle +\rho
# C_W^2\langle\sigma'_1\sigma'_2\rangle \Big[\langle\sigma''_0\sigma_3\rangle B_{0012}
# +\sum_\beta\langle\partial_\beta(\sigma'_0\sigma_3)\rangle P_{012\beta}\Big].$$


# %%
def p_published(curvature):
    source = Theta(0, 1) * Theta(0, 2) * mean(d(0, 2) * d(1) * d(2) * sigma(3))
    again = sum_inputs(mean(d(0) * sigma(3), b1) * P(0, 1, 2, b1), b1)
    return C_W**2 * (source + rho * mean(d(1) * d(2)) * (curvature * B(0, 0, 1, 2) + again))


@claim(
    id="P.recursion",
    statement=r"The recursion of $P_{0123}$ in step 2",
    level="symbolic",
    uses=["B.recursion", "Theta.recursion"],
    published="arXiv:2508.11522 (58), with sigma_3 in place of a second sigma_0",
)
def p_recursion():
    return Identity(p_published(mean(d(0, 2) * sigma(3))), derived("P"))


@p_recursion.control("(58) as printed: <sigma''_0 sigma_0> multiplies B")
def p_misprint():
    return Identity(p_published(mean(d(0, 2) * sigma(0))), derived("P"))


# %% [markdown]
# ## Step 3: $Q$
# In $\Phi_{ab0,a1}$ the letter $a$ is shared, so the layer's own learning rate enters:
# $\Phi_{ab0,a1}=C_W(\sigma''_0z_{a0}z_{b0}+\sigma'_0z_{ab0})\sigma'_1z_{a1}+\lambda_W\sigma'_0z_{b0}\sigma_1$.
# Its last part, with $\Phi_{b2,03}=C_W\sigma'_2z_{b2}\sigma_3$, is exactly what makes $F$ at the *next*
# layer, up to the factor $\lambda_W/C_W$. The rest is as for $P$:
# $$Q'_{0123} =\tfrac{\lambda_W}{C_W}F'_{1032}
# +C_W^2\Theta_{01}\Theta_{02}\langle\sigma''_0\sigma'_1\sigma'_2\sigma_3\rangle +\rho
# C_W^2\Theta_{01}\sum_{\beta\gamma}\langle\partial_\beta(\sigma''_0\sigma'_1)\rangle
# \langle\partial_\gamma(\sigma'_2\sigma_3)\rangle F_{\beta0\gamma2} +\rho
# C_W^2\langle\sigma'_0\sigma'_1\rangle \sum_\gamma\langle\partial_\gamma(\sigma'_2\sigma_3)\rangle
# Q_{012\gamma}.$$
# $F'_{1032}$ is $F$ at layer $\ell+1$ in slot order ($z$ on 1, tangent on 0, $z$ on 3, tangent on 2); to
# compare within one layer the derived recursion of $F$ is substituted.


# %%
def q_published(labels):
    """Return the recursion of Q; `labels` are the slots of F' of the next layer."""
    next_f = relabelled(derived("F"), dict(zip((1, 3, 2, 4), labels, strict=True)))
    source = Theta(0, 1) * Theta(0, 2) * mean(d(0, 2) * d(1) * d(2) * sigma(3))
    mixed = mean(d(0, 2) * d(1), b1) * mean(d(2) * sigma(3), b2) * F(b1, 0, b2, 2)
    again = mean(d(0) * d(1)) * sum_inputs(mean(d(2) * sigma(3), b1) * Q(0, 1, 2, b1), b1)
    return lambda_W / C_W * next_f + C_W**2 * (source + rho * (Theta(0, 1) * sum_inputs(mixed, b1, b2) + again))


@claim(
    id="Q.recursion",
    statement=r"The recursion of $Q_{0123}$ in step 3, with $F'_{1032}$ of the next layer substituted",
    level="symbolic",
    uses=["F.recursion", "Theta.recursion"],
    published="arXiv:2508.11522 (60), with F in slot order (1,0,3,2)",
)
def q_recursion():
    return Identity(q_published((1, 0, 3, 2)), derived("Q"))


@q_recursion.control("F' in the printed slot order (0,1,2,3)")
def q_printed_slots():
    return Identity(q_published((0, 1, 2, 3)), derived("Q"))


# %% [markdown]
# ## Exact moments
# The independent witness once more; now the jets contain $z_{ab}$, obtained by multiplying out
# $\sigma(z+\epsilon_az_a+\epsilon_bz_b+\epsilon_a\epsilon_bz_{ab})$. All components on two inputs at layer 3
# for a quadratic activation; one input for a cubic one, whose $\sigma''$ is not a constant.

# %%
NAMES = ("P", "Q")
SPECS = {"P": "ab0 3 | a1 b2", "Q": "ab0 a1 | b2 3"}
TWO_INPUTS = ((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3)))
QUADRATIC = (Fraction(0), Fraction(1), Fraction(1, 2))
CUBIC = (*QUADRATIC, Fraction(-1, 6))


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
def dntk_both_ways(activation, gram):
    """Return tables name -> inputs -> value at layer 3: from the recursions, and exactly."""
    finite = network(activation, gram)
    averages = polynomial_averages(activation)
    state = iterate(pdlt.derive(list(NAMES)), *finite.first_layer(), averages, finite.parameters())[2]
    exact = {
        name: {
            inputs: finite.coefficients(SPECS[name], dict(enumerate(inputs)), layer=3, terms=1)[0]
            for inputs in product(range(len(gram)), repeat=4)
        }
        for name in NAMES
    }
    return state, exact


def numbers(table):
    return [value for name in NAMES for _, value in sorted(table[name].items())]


@claim(
    id="PQ.exact-moments",
    statement="For a quadratic activation, two inputs and unequal widths, all components of $P$ and $Q$ at layer 3 "
    "are the leading coefficients of the finite network's exact joint cumulants; on one input also for a cubic one",
    level="precision",
    uses=["P.recursion", "Q.recursion"],
)
def pq_exact():
    pairs = [dntk_both_ways(QUADRATIC, TWO_INPUTS), dntk_both_ways(CUBIC, ((Fraction(2, 3),),))]
    values, exact = ([numbers(pair[side]) for pair in pairs] for side in (0, 1))
    return Agreement(values, exact, 0, "rational arithmetic on both sides")


@pq_exact.control("indices 1 and 2 of Q exchanged")
def pq_swapped():
    recursion, exact = dntk_both_ways(QUADRATIC, TWO_INPUTS)
    swapped = {(a, b, c, e): recursion["Q"][a, c, b, e] for a, b, c, e in recursion["Q"]}
    return Agreement(numbers({**recursion, "Q": swapped}), numbers(exact), 0, "as in the claim")


# %% [markdown]
# ## Scale invariance
# A homogeneous activation has $\sigma''=0$ away from the kink. On one input at criticality $P$ stays zero,
# and $Q$ is driven by $F$ alone: $Q=a\,\kappa_W\kappa\,(\ell-1)\ell(\ell+1)/6$. The induction, as in file 4.
# (A Dirac atom in $\sigma''$ would not change this: where it occurs it meets a factor that vanishes at the
# kink, or a derivative of an average that is constant in $K$.)


# %%
def q_induction(step=1):
    ell, k, a, weight, bias, a2 = sympy.symbols("ell K a lambda_W lambda_b A_2", positive=True)
    kw = weight * a2 * k
    kappa = bias + kw

    def closed(m):
        f, b = a * k * kappa * m * (m - 1) / 2, a * kappa**2 * (m - 1) * m * (2 * m - 1) / 6
        return {"K": k, "Theta": kappa * m, "F": f, "B": b, "P": 0, "Q": a * kw * kappa * (m - 1) * m * (m + step) / 6}

    theory = pdlt.derive(["P", "Q"])
    parameters = {"C_b": 0, "lambda_b": bias, "C_W": 1 / a2, "lambda_W": weight, "rho": 1}
    average = homogeneous_average(lambda m: {2: a2, 4: a * a2**2}[m], k)
    before, after = closed(ell), closed(ell + 1)
    return Identity([single_input(theory[key], before, average, parameters) for key in before], list(after.values()))


@claim(
    id="PQ.scale-invariant",
    statement=r"At criticality on one input $P=0$ and $Q=a\kappa_W\kappa(\ell-1)\ell(\ell+1)/6$",
    level="symbolic",
    uses=["ABDF.scale-invariant", "P.recursion", "Q.recursion"],
)
def pq_closed():
    return q_induction()


@pq_closed.control("(l-1) l (l+2) / 6")
def pq_wrong_growth():
    return q_induction(step=2)


# %% [markdown]
# ## Real networks
# Both samplers on two inputs, tanh, three layers: the jets sampler (widths 32 and 64 combined), and real
# weights with automatic differentiation (widths 8 and 16 combined), which knows nothing of directions: it
# contracts Hessians with gradients and correlates the result with the output.

# %%
INPUTS = np.array([[0.9, -0.4, 1.1], [0.3, 0.8, -0.5]])
SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
SEED = 51


@cache
def dntk_measured(sampler, width, samples):
    net = pdlt.MLP(depth=3, width=width, activation="tanh", **SCALES)
    prediction = pdlt.predict(net, INPUTS, observables=list(NAMES)).isel(layer=-1)
    run = extrapolated(net, INPUTS, NAMES, samples=samples, sampler=sampler, seed=SEED)
    predicted = [prediction[name].values for name in NAMES]
    return predicted, [run[name][0] for name in NAMES], [run[name][1] for name in NAMES]


@claim(
    id="PQ.ensemble",
    statement="All components of $P$ and $Q$ of three-layer tanh networks on two inputs, measured on finite networks",
    level="ensemble",
    uses=["P.recursion", "Q.recursion"],
)
def pq_ensemble():
    return Scores(*dntk_measured("jets", 32, 30_000), z_max=4, seed=SEED)


@pq_ensemble.control("indices 1 and 3 of Q exchanged")
def pq_ensemble_swapped():
    (p, q), measured, stderr = dntk_measured("jets", 32, 30_000)
    return Scores([p, q.transpose(0, 3, 2, 1)], measured, stderr, z_max=4, seed=SEED)


@claim(
    id="PQ.networks",
    statement="The same from real weights, with the dNTK by automatic differentiation",
    level="ensemble",
    uses=["P.recursion", "Q.recursion"],
)
def pq_networks():
    return Scores(*dntk_measured("network", 8, 5_000), z_max=4, seed=SEED)


@pq_networks.control("P and Q exchanged")
def pq_networks_exchanged():
    (p, q), measured, stderr = dntk_measured("network", 8, 5_000)
    return Scores([q, p], measured, stderr, z_max=4, seed=SEED)
