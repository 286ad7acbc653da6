# %% [markdown]
# # 8. Closed forms in depth: scale-invariant activations
#
# **What is derived.** For $\sigma(z)=a_+z$ ($z>0$), $a_-z$ ($z<0$), $C_b=0$ and one input, every tensor as a
# function of the depth $\ell$. Notation: $A_m=(a_+^m+a_-^m)/2$, $a=A_4/A_2^2$, $\nu=3a-1$, $\kappa_W=\lambda_WA_2K$,
# $\kappa=\lambda_b+\kappa_W$.
#
# ## Step 1: expectations are numbers
# A product of $i$ factors $\sigma$ and $j$ factors $\sigma'$ is $z^i$ times $a_\pm^{i+j}$. In the recursions $i-p$ and
# $i+j$ are even for $p$ derivatives of the product, so only the even part counts and
# $$\langle\partial^p(\sigma^i\sigma'^j)\rangle =A_{i+j}\,\frac{i!}{(i-p)!}\,(i-p-1)!!\;K^{(i-p)/2}.$$
#
# ## Step 2: the recursions are linear and triangular
# At $C_W=1/A_2$ the kernel does not change with depth, every tensor obeys $X'=X+\text{source}$, and the source is a
# polynomial in $\ell$ built from tensors that are already known. Summing a polynomial gives a polynomial.
# For $V$ the source is $C_W^2(\langle\sigma^4\rangle-\langle\sigma^2\rangle^2)=\nu K^2$, a constant, hence
# $V=\nu K^2(\ell-1)$; for $B$ it is $a\,\Theta^2=a\kappa^2\ell^2$, hence the sum of squares.

# %%
import sympy

import pdlt
from pdlt.checks import Identity, claim
from pdlt.symbolic.depth import A_2, K, ell, widths
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W

a = sympy.Symbol("a_4", positive=True)
k_W = lambda_W * A_2 * K
k = lambda_b + k_W
PAIRS = ell * (ell - 1) / 2
SQUARES = (ell - 1) * ell * (2 * ell - 1) / 6


def published(nu):
    return {
        "Theta": k * ell,
        "V": nu * K**2 * (ell - 1),
        "F": a * K * k * PAIRS,
        "B": a * k**2 * SQUARES,
        "D": K * (k_W * nu + k * (a - 1)) * PAIRS,
        "A": (k_W**2 * nu + k_W * k * (a - 1) + k**2 * (a - 1)) * SQUARES + k_W * k * (a - 1) * PAIRS,
        "Q": a * k_W * k * (ell - 1) * ell * (ell + 1) / 6,
    }


def both(nu):
    table = published(nu)
    found = pdlt.closed_form(list(table), activation=None)
    return Identity([found[key] for key in table], list(table.values()))


@claim(
    id="depth.scale-invariant",
    statement=r"$\Theta=\kappa\ell$, $V=\nu K^2(\ell-1)$, $F$, $B$, $D$, $A$, $Q$ as polynomials in $\ell$",
    level="symbolic",
    uses=["K_1.scale-invariant"],
)
def depth_scale_invariant():
    return both(3 * a - 1)


@depth_scale_invariant.control("the coupling 3a - 2 instead of 3a - 1: the squared mean subtracted twice")
def wrong_coupling():
    return both(3 * a - 2)


# %% [markdown]
# ## Step 3: all orders of the vertex at once
# Without biases $\widehat G$ is a product of independent averages, and $V$ at width $n$ is
# $nK^2\big[(1+\nu/n)^{\ell-1}-1\big]$. Its expansion in $1/n$ is finite, with binomial coefficients:
# $V^{\{j\}}=\nu^{j+1}K^2\binom{\ell-1}{j+1}$. The recursions know nothing of the product.


# %%
def vertex(first):
    found = pdlt.closed_form("V", activation=None, order=3)
    falling = [sympy.ff(ell - 1, first + j) / sympy.factorial(first + j) for j in range(3)]
    exact = [(3 * a - 1) ** (j + 1) * K**2 * sympy.expand_func(f) for j, f in enumerate(falling)]
    return Identity([found[key] for key in ("V", "V_1", "V_2")], exact)


@claim(
    id="depth.vertex-to-order-three",
    statement=r"$V+V^{\{1\}}/n+V^{\{2\}}/n^2$ is $nK^2[(1+\nu/n)^{\ell-1}-1]$ to this order, for every depth",
    level="symbolic",
    uses=["depth.scale-invariant"],
)
def depth_vertex():
    return vertex(1)


@depth_vertex.control("binomial coefficients shifted by one")
def shifted():
    return vertex(2)


# %% [markdown]
# ## Step 4: away from criticality
# With $\chi=C_WA_2\neq1$ the kernel is $K^{(\ell)}=K\chi^{\ell-1}$ and every tensor a sum of $\ell^d\chi^{k\ell}$:
# a recursion $X'=\chi^jX+\ell^d\chi^{k\ell}$ is solved by the same power of $\ell$ if $k\neq j$, by the next one
# if $k=j$ (resonance). $V$ is resonant: $V/K^{(\ell)2}$ grows as at criticality. The mean NTK is a geometric sum,
# $\Theta=\lambda_b\,(\chi^\ell-1)/(\chi-1)+\lambda_WA_2K\,\ell\,\chi^{\ell-2}$, since
# $x\cdot x/n_0=K/C_W=A_2K/\chi$. The sums over layers are then done by hand: $B$ is driven by
# $C_W^2A_4\Theta^2=a\chi^2\Theta^2$ and carried on by $\chi^2$, $F$ likewise, hence
# $$B=a\sum_{m<\ell}\chi^{2(\ell-m)}\,\Theta^{(m)2},\qquad
# F=a\sum_{m<\ell}\chi^{2\ell-m-1}\,K\,\Theta^{(m)} .$$

# %%
chi = sympy.Symbol("chi", positive=True)


def ntk(depth):
    """The mean NTK off criticality; C_W = chi / A_2."""
    return lambda_b * (chi**depth - 1) / (chi - 1) + lambda_W * A_2 * K * depth * chi ** (depth - 2)


def away_from_criticality(mean):
    found = pdlt.closed_form(["Theta", "V", "B", "F"], activation=None, critical=False)
    pairs = []
    for depth in range(1, 6):
        before = range(1, depth)
        wanted = {
            "Theta": mean(depth),
            "V": (3 * a - 1) * (K * chi ** (depth - 1)) ** 2 * (depth - 1),
            "B": a * sum(chi ** (2 * (depth - m)) * mean(m) ** 2 for m in before),
            "F": a * sum(chi ** (2 * depth - m - 1) * K * mean(m) for m in before),
        }
        pairs += [(found[key].subs(ell, depth).subs(C_W, chi / A_2), value) for key, value in wanted.items()]
    return Identity([sympy.cancel(x) for x, _ in pairs], [sympy.cancel(y) for _, y in pairs])


@claim(
    id="depth.away-from-criticality",
    statement=r"for $C_W$ free $\Theta$ is a geometric sum, $V=\nu K^{(\ell)2}(\ell-1)$, $B$ and $F$ sum $\Theta$",
    level="symbolic",
    uses=["depth.scale-invariant"],
)
def depth_away_from_criticality():
    return away_from_criticality(ntk)


@depth_away_from_criticality.control("the input's square taken as K instead of K / C_W in the mean NTK")
def input_not_divided():
    return away_from_criticality(lambda depth: ntk(depth) + (chi - 1) * lambda_W * A_2 * K * depth * chi ** (depth - 2))


# %% [markdown]
# ## Step 5: unequal widths
# At first order in the inverse widths the layers fluctuate independently and their effects add: layer $m$ contributes
# $1/n_m$ times its source, carried from $m+1$ to $\ell$ by the homogeneous recursion. At criticality
# $$\frac V{n_{\ell-1}}=\nu K^2\sum_{m<\ell}\frac1{n_m},\quad
# \frac F{n_{\ell-1}}=aK\kappa\sum_{m<\ell}\frac m{n_m},\quad
# \frac B{n_{\ell-1}}=a\kappa^2\sum_{m<\ell}\frac{m^2}{n_m},\quad
# \frac Q{n_{\ell-1}}=a\kappa_W\kappa\sum_{m<\ell}\frac{m(\ell-m)}{n_m}:$$
# the NTK has the value $\kappa m$ at the layer that fluctuates. $Q$ needs a second layer, which feeds $F$ into it at
# every step after $m$.

# %%
LAST = 5
SIZES = {widths[m]: sympy.Symbol(f"n_{m}", positive=True) for m in range(1, LAST)}
n = dict(enumerate(SIZES.values(), start=1))


def at_last(formula):
    """The formula at layer 5, written out."""
    return formula.subs(ell, LAST).doit().subs(SIZES)


def first_order(power):
    found = pdlt.closed_form(["V", "F", "B", "Q"], activation=None, equal_widths=False)
    weights = {
        "V": lambda m: (3 * a - 1) * K**2,
        "F": lambda m: a * K * k * m,
        "B": lambda m: a * k**2 * m**power,
        "Q": lambda m: a * k_W * k * m * (LAST - m),
    }
    wanted = [n[LAST - 1] * sum(f(m) / n[m] for m in range(1, LAST)) for f in weights.values()]
    return Identity([at_last(found[key]) for key in weights], wanted)


@claim(
    id="depth.unequal-widths",
    statement=r"$V$, $F$, $B$, $Q$ over $n_{\ell-1}$ are sums over layers of $1$, $m$, $m^2$, $m(\ell-m)$ over $n_m$",
    level="symbolic",
    uses=["depth.scale-invariant"],
)
def depth_unequal_widths():
    return first_order(power=2)


@depth_unequal_widths.control("B weighted as F is, with the first power of the layer")
def first_power():
    return first_order(power=1)


# %% [markdown]
# ## Step 6: preactivations at every order
# Beyond the first order the layers' effects multiply. For the preactivations they do nothing else: given the layers
# before, $\widehat G$ is multiplied by an independent average of $n_m$ terms with cumulants $\kappa_q$, so that
# $$\frac{E\widehat G^2}{(E\widehat G)^2}=\prod_{m<\ell}\Big(1+\frac\nu{n_m}\Big),\qquad
# \frac{E\widehat G^3}{(E\widehat G)^3}=\prod_{m<\ell}\Big(1+\frac{3\nu}{n_m}+\frac{\tau}{n_m^2}\Big),\qquad
# \tau=15a_6-9a+2,$$
# where $\nu=\kappa_2$ and $\tau=\kappa_3$ of one term (its moments are $1$, $3a$ and $15a_6$). Coefficients of the
# expansion are symmetric in the widths, hence polynomials in the power sums $p_r=\sum_mn_m^{-r}$: with
# $\prod(1+\nu x_m)$ come the elementary symmetric polynomials, $V^{\{1\}}=\tfrac12\nu^2K^2n_{\ell-1}^2(p_1^2-p_2)$. The
# package knows neither the product nor $\tau$: it solves the recursions with undetermined coefficients over
# partitions. The claim compares at four layers, off criticality, through order three.

# %%
x = sympy.Symbol("x")
a_6 = sympy.Symbol("a_6", positive=True)
SIX = "1 2 | 3 4 | 5 6"


def products(tau):
    found = pdlt.closed_form(["V", SIX], activation=None, order=3, critical=False, equal_widths=False)
    nu, hidden = 3 * a - 1, range(1, LAST)
    kernel = K * chi ** (LAST - 1)
    second = sympy.expand(sympy.prod(1 + nu * x / n[m] for m in hidden))
    third = sympy.expand(sympy.prod(1 + 3 * nu * x / n[m] + tau * x**2 / n[m] ** 2 for m in hidden))
    four_point, six_point = second - 1, third - 3 * second + 2
    last = n[LAST - 1]
    wanted = {
        "V": kernel**2 * last * four_point.coeff(x, 1),
        "V_1": kernel**2 * last**2 * four_point.coeff(x, 2),
        "V_2": kernel**2 * last**3 * four_point.coeff(x, 3),
        SIX: kernel**3 * last**2 * six_point.expand().coeff(x, 2),
        f"{SIX}_1": kernel**3 * last**3 * six_point.expand().coeff(x, 3),
    }
    return Identity([at_last(found[key]).subs(C_W, chi / A_2) for key in wanted], list(wanted.values()))


@claim(
    id="depth.preactivations-unequal-widths",
    statement=r"four- and six-point cumulants to order three, for any widths and $C_W$, are the series of the products",
    level="symbolic",
    uses=["depth.vertex-to-order-three", "depth.unequal-widths"],
)
def depth_preactivations():
    return products(15 * a_6 - 9 * a + 2)


@depth_preactivations.control("the third cumulant of a term without its subtraction 2 kappa_1^3")
def third_moment():
    return products(15 * a_6 - 9 * a)
