# %% [markdown]
# # 9. Large depth: powers, coefficients, first corrections
#
# **What is derived.** At criticality every tensor grows or decays as a power of depth. This file derives the powers,
# their coefficients and the first corrections, from the recursions alone, by dominant balance. One input, equal widths.
#
# ## Step 1: the kernel is the clock
# Around a critical point $x=K-K^*$ obeys $x'=x+a_1x^2+a_2x^3+\dots$ (file 7). With $y=-a_1x>0$
# $$y' =y -y^2+\frac{a_2}{a_1^2}\,y^3+\dots$$
# A step in depth changes $y^e$ by $-e\,y^{e+1}$ plus higher powers: it acts as a small derivative. Depth itself obeys
# $\ell'=\ell+1$. The ansatz $\ell=\frac1y+\beta\ln y+c_K+\dots$ gives
# $$\frac1{y'}-\frac1y =1+\Big(1-\frac{a_2}{a_1^2}\Big)y+\dots,\qquad \ln\frac{y'}y =-y+\dots
# \qquad\Rightarrow\qquad \beta =1-\frac{a_2}{a_1^2},$$
# and inverted, $y=\frac1\ell\Big[1+\frac{c_K-\beta\ln\ell}{\ell}+\dots\Big]$. The constant $c_K$ is a shift of the
# depth: the first layers decide it, the equation does not.

# %%
import numpy as np
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, claim
from pdlt.predict.couplings import ell

c_K = sympy.Symbol("c_K")
w = sympy.Symbol("w", nonnegative=True)
THIRD = sympy.Rational(1, 3)


def clocks(sign=1):
    """Return the log(l)/l^2 terms of the kernel found by pdlt, and those of step 1 from a_1 and a_2."""
    found, expected = [], []
    for name in ("tanh", "sin", "tanh(z)+tanh(z)**2/2"):
        kernel = pdlt.scaling(name, ["V"]).kernel
        a_1, a_2 = (pdlt.criticality(name).exact[key] for key in ("a_1", "a_2"))
        found.append(sympy.expand(kernel).coeff(sympy.log(ell), 1).coeff(ell, -2).subs(c_K, 0))
        expected.append((1 - sign * a_2 / a_1**2) / a_1)
    return found, expected


@claim(
    id="large-depth.kernel",
    statement=r"$K=\frac1{|a_1|\ell}\big[1-(1-a_2/a_1^2)\frac{\ln\ell}\ell+\dots\big]$ at $K^*=0$",
    level="symbolic",
    uses=["criticality.series-of-activations"],
)
def kernel_clock():
    return Identity(*clocks())


@kernel_clock.control("the sign of a_2")
def kernel_clock_sign():
    return Identity(*clocks(sign=-1))


# %% [markdown]
# ## Step 2: balance
# A recursion $X'=\text{own}\cdot X+\text{source}$ has $\text{own}=1-e_h\,y+\dots$: a product of susceptibilities, so
# that $e_h$ counts them, $2$ for each $\chi_\parallel$ and $p_\perp$ for each $\chi_\perp$. Insert $X=x_0\,y^e$:
# the left side minus the first term on the right is $-(e-e_h)\,x_0\,y^{e+1}$. So a source $s\,y^{e+1}$ is balanced by
# $$X =\frac{-s}{e-e_h}\,y^{e},$$
# one power of depth more than the source. What is left over is of order $y^{e+2}$ and is balanced in the same way. If
# $e=e_h$ the source drives the solution $y^{e_h}$ of the equation without source, and the answer is $s\,y^e\ln(1/y)$.
# The solution without source itself comes with a constant, again known to the first layers only.
#
# **The vertex at $K^*=0$.** $V'=\chi_\parallel^2V+C_W^2(\langle\sigma^4\rangle-\langle\sigma^2\rangle^2)$. With
# $\sigma=\sigma_1z+\dots$ and $C_W=1/\sigma_1^2$ the source is $2K^2$ and $e_h=4$. With $K=y/|a_1|$ the balance at
# $e=1$ is $V=\frac{2}{3}y/a_1^2$, hence
# $$\frac{V}{nK^2} =\frac23\,\frac\ell n :$$
# the same for every activation of the class. The others follow the same way. With $\lambda$'s such that all layers
# contribute equally to $\Theta$ (file 7), $w$ being the weights' share:

# %%
# Odd sigma, where p_perp = 1. F: source C_W^2 <sigma^2 sigma'^2> Theta -> K Theta, e_h = 4, e = 0: 1/4.
# B: source C_W^2 <sigma'^4> Theta^2 -> Theta^2, e_h = 2 p_perp = 2, e = -1: 1/3.
BY_HAND = {"V": sympy.Rational(2, 3), "F": sympy.Rational(1, 4), "B": THIRD}


def leading(activations, table):
    found, expected = [], []
    for name in activations:
        couplings = pdlt.scaling(name, list(table))
        found += [couplings[key].leading.coefficient for key in table]
        expected += list(table.values())
    return found, expected


@claim(
    id="large-depth.universal",
    statement=r"$V/(nK^2)=\frac23r$, $F/(nK\Theta)=\frac14r$, $B/(n\Theta^2)=\frac13r$ for odd activations of the "
    r"class $K^*=0$",
    level="symbolic",
    uses=["large-depth.kernel"],
)
def universal():
    return Identity(*leading(["tanh", "sin", "erf"], BY_HAND))


@universal.control("e_h = 3 in the vertex: chi_parallel = 1 - 3/2 y")
def wrong_free_exponent():
    return Identity(*leading(["tanh", "sin", "erf"], {**BY_HAND, "V": sympy.Integer(1)}))


# %% [markdown]
# With constant $\lambda_W$ and $\lambda_b=0$, all of the literature's coefficients for $\tanh$ follow, those of the
# dNTK and ddNTKs included; the ones missing there ($A$, $D$, $Q$, $T$, $U$) turn out to be suppressed by powers of
# $\ell$, some with logarithms.

# %%
PUBLISHED = {
    "V": sympy.Rational(2, 3),
    "F": sympy.Rational(1, 4),
    "B": THIRD,
    "P": -sympy.Rational(1, 12),
    "R": -sympy.Rational(1, 12),
    "S": sympy.Rational(1, 12),
}


def of_tanh(table):
    couplings = pdlt.scaling("tanh", learning_rates="weights")
    suppressed = [couplings[name].leading.power for name in ("A", "D", "Q", "T", "U")]
    linear = [couplings[name].leading.coefficient for name in table if couplings[name].at_fixed_ratio]
    return [*linear, *map(sympy.sympify, map(int, suppressed))], [*table.values(), -1, 0, 0, -1, -1]


@claim(
    id="large-depth.tanh",
    statement=r"$\tanh$, $\lambda_b=0$: $V,F,B,P,RK/\Theta,SK/\Theta$ over their natural sizes are $\frac23,\frac14,"
    r"\frac13,-\frac1{12},-\frac1{12},\frac1{12}$ times $\ell$; $A,D,Q,T,U$ grow more slowly",
    level="symbolic",
    uses=["large-depth.universal"],
    published="coefficients for large depth in arXiv:2106.10165, chapters 8 and 11, and arXiv:2508.11522",
)
def tanh_published():
    return Identity(*of_tanh(PUBLISHED))


@tanh_published.control("the opposite sign of P")
def tanh_wrong_sign():
    return Identity(*of_tanh({**PUBLISHED, "P": sympy.Rational(1, 12)}))


# %% [markdown]
# ## Step 3: against the recursions
# The recursions themselves, iterated through two hundred thousand layers, know nothing of balances. For $V$ only $c_K$
# is free; it is read off the kernel of the last layer. What is left over must fall as $(\ln\ell/\ell)^2$.

# %%
DEPTHS = (100_000, 200_000)
NEXT = "the next correction is about 0.1 (ln l/l)^2, 1.3e-9 at depth 100,000"


def vertex_against_recursion(log_factor=1):
    result = pdlt.scaling("tanh", ["V"])
    net = pdlt.MLP.critical("tanh", depth=max(DEPTHS), width=10**9)
    found = pdlt.predict(net, [[1.0]], ["K", "V"])
    K, V = found.K.values.ravel(), found.V.values.ravel()
    shift = sympy.nsolve((result.kernel - K[-1]).subs(ell, len(K)), c_K, 0)
    terms = [t._replace(coefficient=t.coefficient * (log_factor if t.logs else 1)) for t in result["V"].terms]
    series = sympy.lambdify(ell, sympy.Add(*(t.expression for t in terms)).subs(c_K, shift))
    return [series(d) for d in DEPTHS], [V[d - 1] / K[d - 1] ** 2 for d in DEPTHS]


@claim(
    id="large-depth.vertex-iterated",
    statement=r"$V/K^2=\frac23\ell-\frac5{18}\ln\ell+\dots$ for $\tanh$, with its constant, agrees with the iterated "
    r"recursion at depths 100,000 and 200,000",
    level="precision",
    uses=["large-depth.universal"],
)
def vertex_iterated():
    return Agreement(*vertex_against_recursion(), rtol=1e-8, why=NEXT)


@vertex_iterated.control("the logarithm ten percent too large")
def vertex_wrong_log():
    return Agreement(*vertex_against_recursion(1.1), rtol=1e-8, why=NEXT)


# %% [markdown]
# ## Step 4: a half-stable point
# A kernel that starts at $K^*>0$ stays there. Then all expectations are constants, $y=1/\ell$ is an exact clock
# ($y'=y/(1+y)$), and the same balance ends after finitely many terms: polynomials in $\ell$, the coefficients being
# integrals at $K^*$. But $\chi_\perp$ depends on the kernel, $\chi_\perp=1+b_1\,\Delta K$, and the kernel fluctuates:
# so do the products of $\chi_\perp$ in the NTK, and $A/(n\Theta^2)$ acquires a term $\ell^3/n$. For GELU its
# coefficient is $7\cdot10^{-4}$, and it overtakes the linear term at a depth of about 35 ($w=\frac12$).


# %%
INTEGRALS = "predictions are integrated to 1e-8 or better"


def gelu_at_rest(without=None):
    names = ["V", "A", "B", "D", "Q", "S"]
    result = pdlt.scaling("gelu", names).at_share(sympy.Rational(1, 2))
    c = result.criticality
    square = c.input_square
    net = pdlt.MLP.critical("gelu", depth=50, width=10**9, lambda_b=square, lambda_W=1.0)
    found = pdlt.predict(net, [[float(np.sqrt(square))]], ["K", "Theta", *names])
    K, Theta = (found[name].values.ravel()[-1] for name in ("K", "Theta"))
    values, witness = [], []
    for name in names:
        alpha, beta = result[name].natural
        terms = [t for t in result[name].terms if t.power != without]
        values.append(float(sympy.Add(*(t.expression for t in terms)).subs(ell, 50)))
        witness.append(found[name].values.ravel()[-1] / (K ** float(alpha) * Theta ** float(beta)))
    return values, witness


@claim(
    id="large-depth.half-stable",
    statement=r"GELU at $K^*$: $V,A,B,D,Q,S$ over their natural sizes are the polynomials in $\ell$ found by balance",
    level="precision",
    uses=["criticality.series-of-activations"],
)
def half_stable():
    return Agreement(*gelu_at_rest(), rtol=1e-8, why=INTEGRALS)


@half_stable.control("without the cubic term of A, as if the NTK did not feel the kernel's fluctuations")
def half_stable_without_cubic():
    return Agreement(*gelu_at_rest(without=3), rtol=1e-8, why=INTEGRALS)
