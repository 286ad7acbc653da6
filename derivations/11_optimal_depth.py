# %% [markdown]
# # 11. The optimal depth-to-width ratio
#
# **What is derived.** How much two groups of outputs of one network tell about each other, to the order in $1/n$ at
# which it first has a maximum, and the ratio of depth to width at which that is (PDLT, arXiv:2106.10165, appendix
# A). Then what the maximum is worth.
#
# ## Step 1: outputs that share a variance
# Given the layers before, the $n_L$ outputs on one input are independent $N(0,\widehat G)$, and $\widehat G$ differs
# between networks. Put $\widehat G=K(1+\epsilon)$ with $\mathbb E\epsilon=0$ and cumulants
# $\kappa_2=\mathbb E\epsilon^2=V/(nK^2)$, $\kappa_3=O(\kappa_2^2)$ and $\kappa_4=O(\kappa_2^3)$. Expanding the
# density of $m$ outputs around the Gaussian $q=N(0,K)^m$,
# $$\frac pq =1+u, \qquad u=\sum_{k\ge2}\frac{\mathbb E\epsilon^k}{k!}\,h_k, \qquad h_k
# =\frac{K^k}{q}\,\frac{\partial^kq}{\partial K^k}.$$
# The $h_k$ are polynomials in $s=|z|^2/K$, which is $\chi^2$ with $m$ degrees of freedom under $q$. They are Laguerre
# polynomials, orthogonal under $q$.
#
# ## Step 2: the relative entropy
# $$D_m=\int p\log\frac pq=\Big\langle\tfrac12u^2-\tfrac16u^3+\dots\Big\rangle_q
# =\frac{\kappa_2^2}8\langle h_2^2\rangle+\frac{\kappa_2\kappa_3}{6}\langle h_2h_3\rangle
# +\frac{\kappa_2^3}{8}\langle h_2h_4\rangle-\frac{\kappa_2^3}{48}\langle h_2^3\rangle+O(\kappa_2^4).$$
# Orthogonality removes the second and third term: neither the third cumulant nor the fourth moment enters at cubic
# order. With $\langle h_2^2\rangle=m(m+2)/2$ and $\langle h_2^3\rangle=m(m+2)(m+8)$,
# $$D_m=\frac{m(m+2)}{16}\,\kappa_2^2-\frac{m(m+2)(m+8)}{48}\,\kappa_2^3+O(\kappa_2^4).$$

# %%
from functools import cache

import mpmath
import numpy as np
import sympy

from pdlt.checks import Agreement, Identity, claim
from pdlt.predict.information import lognormal_mutual_information, mutual_information, optimal_coupling

m, s, G = sympy.symbols("m s G", positive=True)
kappa, kappa_3 = sympy.symbols("kappa_2 kappa_3")


def h(k):
    """Return h_k as a polynomial in s = |z|^2 at K = 1."""
    q = G ** (-m / 2) * sympy.exp(-s / (2 * G))
    return sympy.expand(sympy.simplify((q.diff(G, k) / q).subs(G, 1)))


def average(polynomial):
    """Return the mean under chi-square: <s^j> = m (m+2) ... (m+2j-2)."""
    terms = sympy.Poly(sympy.expand(polynomial), s).terms()
    return sympy.factor(sum(c * sympy.prod([m + 2 * i for i in range(j)]) for (j,), c in terms))


def entropy(sixths=-1):
    """Return D_m to the cubic order, from the definition."""
    t = sympy.Symbol("t")  # counts powers of 1/n
    moments = {2: t * kappa, 3: t**2 * kappa_3, 4: 3 * t**2 * kappa**2}
    u = sum(moment / sympy.factorial(k) * h(k) for k, moment in moments.items())
    series = sympy.expand(u**2 / 2 + sixths * u**3 / 6)
    return sum(average(series.coeff(t, power)) for power in (2, 3))


def entropy_formula(first):
    return first * (first + 2) * kappa**2 / 16 - first * (first + 2) * (first + 8) * kappa**3 / 48


@claim(
    id="information.relative-entropy",
    statement=r"$D_m=\frac{m(m+2)}{16}\kappa_2^2-\frac{m(m+2)(m+8)}{48}\kappa_2^3$, without $\kappa_3$",
    level="symbolic",
    uses=["V.recursion"],
    published="arXiv:2106.10165, appendix A, in terms of V",
)
def relative_entropy():
    return Identity(entropy(), entropy_formula(m))


@relative_entropy.control("(1+u) log(1+u) expanded with -u^3/3, as if it were log(1+u)")
def wrong_expansion():
    return Identity(entropy(sixths=-2), entropy_formula(m))


# %% [markdown]
# The same without any expansion: let $\widehat G$ take the two values $1\pm\sqrt{\kappa_2}$ with equal probability.
# Then $D_m$ is an integral over $s$, an analytic function of $\kappa_2$ whose first Taylor coefficients are read off
# with 50 digits.


# %%
@cache
def two_point_coefficients(neurons):
    """Return the coefficients of kappa_2^2 and kappa_2^3 of D_m for a two-point law."""
    with mpmath.workdps(50):
        step, points = mpmath.mpf(10) ** -4, 9
        norm = mpmath.mpf(2) ** (-mpmath.mpf(neurons) / 2) / mpmath.gamma(mpmath.mpf(neurons) / 2)

        def divergence(coupling):
            values = [1 + sign * mpmath.sqrt(coupling) for sign in (1, -1)]

            def integrand(x):
                ratio = sum(g ** (-mpmath.mpf(neurons) / 2) * mpmath.exp(-x / 2 * (1 / g - 1)) for g in values) / 2
                return norm * x ** (mpmath.mpf(neurons) / 2 - 1) * mpmath.exp(-x / 2) * ratio * mpmath.log(ratio)

            return mpmath.quad(integrand, [0, 5, 15, 30, 60, 120, 300])

        xs = [step * j for j in range(1, points + 1)]
        ys = [divergence(x) / x**2 for x in xs]
        powers = mpmath.matrix([[x**j for j in range(points)] for x in xs])
        solved = mpmath.lu_solve(powers, mpmath.matrix(ys))
        return [solved[0], solved[1]]


def two_point(shift):
    found = [two_point_coefficients(count) for count in (2, 4)]
    formula = [entropy_formula(sympy.Integer(count)) for count in (2, 4)]
    wanted = [[f.coeff(kappa, 2), f.coeff(kappa, 3) * shift] for f in formula]
    return Agreement(found, wanted, 1e-10, "polynomial of degree 8 through 9 points with spacing 1e-4, 50 digits")


@claim(
    id="information.two-point",
    statement=r"The coefficients of $\kappa_2^2$ and $\kappa_2^3$ in $D_2$ and $D_4$ for a two-point law",
    level="precision",
    uses=["information.relative-entropy"],
)
def information_two_point():
    return two_point(1)


@information_two_point.control("the cubic coefficient off by one part in a million")
def information_shifted():
    return two_point(1 + sympy.Rational(1, 10**6))


# %% [markdown]
# ## Step 3: mutual information and its maximum
# Of two groups of $n_1$ and $n_2=n_L-n_1$ outputs: $I=D_{n_L}-D_{n_1}-D_{n_2}$, because the Gaussian reference is a
# product,
# $$I=\frac{n_1n_2}8\Big[\kappa_2^2-\frac{20+3n_L}6\,\kappa_2^3\Big], \qquad \kappa_2^*=\frac4{20+3n_L},$$
# where $I$ is largest, however the outputs are grouped. With $\kappa_2=\nu L/n$ at leading order the ratio of depth
# to width is $r^*=\kappa_2^*/\nu$.


# %%
n_1, n_2 = sympy.symbols("n_1 n_2", positive=True)


def information(threes=3):
    difference = entropy_formula(n_1 + n_2) - entropy_formula(n_1) - entropy_formula(n_2)
    best = 4 / (20 + threes * (n_1 + n_2))
    formula = n_1 * n_2 / 8 * (kappa**2 - kappa**3 * (20 + threes * (n_1 + n_2)) / 6)
    slope = sympy.cancel(difference.diff(kappa).subs(kappa, best))
    curvature = sympy.cancel(difference.diff(kappa, 2).subs(kappa, best))
    return Identity([difference, slope + 1, curvature], [formula, 1, -n_1 * n_2 / 4])


@claim(
    id="information.optimum",
    statement=r"$I=\frac{n_1n_2}8[\kappa_2^2-\frac{20+3n_L}6\kappa_2^3]$ has its maximum at $4/(20+3n_L)$",
    level="symbolic",
    uses=["information.relative-entropy"],
    published="arXiv:2106.10165, appendix A",
)
def information_optimum():
    return information()


@information_optimum.control("20 + 2 n_L")
def optimum_shifted():
    return information(threes=2)


# %% [markdown]
# ## Step 4: the slope $\nu$
# * Scale-invariant activations: $V=\nu K^2(\ell-1)$ with $\nu=3A_4/A_2^2-1$ (file 8): 5 for ReLU, 2 for linear.
# * At $K=K^*>0$ the kernel does not move and $\chi_\parallel=1$, so $V'=V+C_W^2(\langle\sigma^4\rangle
#   -\langle\sigma^2\rangle^2)$ is linear again: $\nu=C_W^2(\langle\sigma^4\rangle-\langle\sigma^2\rangle^2)/K^{*2}$.
# * $K^*=0$: with $K'=K+a_mK^{m+1}+\dots$ the kernel is $K=(m|a_m|\ell)^{-1/m}$ at large depth, so that
#   $\chi_\parallel=1+(m+1)a_mK^m=1-\frac{m+1}{m\ell}$. The source is $C_W^2(\langle\sigma^4\rangle-\langle\sigma^2
#   \rangle^2)=2K^2+O(K^3)$ for every $\sigma=\sigma_1z+\dots$ Try $V=\nu K^2\ell$ in
#   $V'=\chi_\parallel^2V+2K^2$: the left side grows by $\nu K^2(1-\frac2m)$ per layer, the right side by
#   $-\frac{2(m+1)}m\nu K^2+2K^2$. Hence $3\nu=2$, whatever $m$ and $\sigma$ are.


# %%
def vertex_slope(decay=1):
    order, depth, nu = sympy.symbols("m l nu", positive=True)
    size = depth ** (-2 / order)  # K^2 up to a constant
    kept = -2 * decay * (order + 1) / (order * depth)  # chi_parallel^2 - 1
    balance = (nu * size * depth).diff(depth) - kept * nu * size * depth - 2 * size
    (found,) = sympy.solve(sympy.simplify(balance / size), nu)
    z = sympy.Symbol("z")
    s_1, s_2, s_3, K = sympy.symbols("s_1 s_2 s_3 K", positive=True)
    sigma = s_1 * z + s_2 * z**2 / 2 + s_3 * z**3 / 6

    def gaussian(f):
        terms = sympy.Poly(sympy.expand(f), z).terms()
        return sum(c * sympy.factorial2(k - 1) * K ** (k // 2) for (k,), c in terms if k % 2 == 0)

    source = sympy.expand((gaussian(sigma**4) - gaussian(sigma**2) ** 2) / s_1**4)
    return Identity([found, source.coeff(K, 2)], [sympy.Rational(2, 3), 2])


@claim(
    id="information.slope",
    statement=r"$V/(K^2\ell)\to\frac23$ for every activation with $K^*=0$",
    level="symbolic",
    uses=["V.recursion", "criticality.exponents"],
    published="arXiv:2106.10165, section 5.3.3, for tanh and sin",
)
def information_slope():
    return vertex_slope()


@information_slope.control("chi_parallel instead of its square")
def slope_of_one_leg():
    return vertex_slope(decay=sympy.Rational(1, 2))


# %% [markdown]
# ## Step 5: what the maximum is worth
# At $\kappa_2^*$ the cubic term is two thirds of the quadratic one: the maximum is where the series stops being one.
# The exact information can be had for a log-normal $\widehat G$, which is what scale-invariant activations without
# biases give when depth and width grow together. At $\kappa_2^*=2/13$ for two outputs it is $1.79\cdot10^{-3}$, the
# truncated one $0.99\cdot10^{-3}$; at twice the coupling the exact one is $5.1\cdot10^{-3}$, the truncated one
# negative. The exact information keeps growing with depth: the more the kernel differs between networks, the more one
# output tells about it. What the truncated maximum marks is the depth at which the expansion ends, and with it the
# regime of a weakly coupled network, in which fluctuations between seeds are not yet of the size of the mean. Where
# exactly depends on the truncation: for ReLU and $n_L=1$, $\kappa_2=\nu r$ gives $r^*=0.0348$, solving
# $e^{\nu r}-1=\kappa_2^*$ gives 0.0321, and keeping all cubic terms in $r$, those of $\kappa_2^2$ included, 0.0471.


# %%
def trapezoid_information(coupling):
    """Return the exact information of one and one output by trapezoidal rules in log G and log |z|^2."""
    deviation = np.sqrt(np.log1p(coupling))
    x = np.linspace(-11, 11, 441)
    weights = np.exp(-(x**2) / 2)
    weights /= weights.sum()
    values = np.exp(deviation * x - deviation**2 / 2)
    t = np.linspace(-80, 7, 6001)

    def divergence(count):
        square = np.exp(t)
        logs = -np.multiply.outer(square, 1 / values - 1) / 2 - count / 2 * np.log(values)
        top = logs.max(axis=1)
        ratio = top + np.log(np.exp(logs - top[:, None]) @ weights)
        base = np.exp(-square / 2 + count / 2 * t)
        return (base * np.exp(ratio) * ratio).sum() / base.sum()

    return float(divergence(2) - 2 * divergence(1))


def exact(formula):
    couplings = [scale * optimal_coupling(2) for scale in (0.5, 1.0, 1.5)]
    witness = [trapezoid_information(coupling) for coupling in couplings]
    why = "Gauss rules with 80 nodes against trapezoidal rules, which converge exponentially"
    return Agreement([formula(coupling, 1, 1) for coupling in couplings], witness, 1e-8, why)


@claim(
    id="information.log-normal",
    statement=r"The exact information of two outputs at $\kappa_2^*/2$, $\kappa_2^*$ and $3\kappa_2^*/2$ for a "
    r"log-normal $\widehat G$",
    level="precision",
    uses=["information.optimum"],
)
def information_exact():
    return exact(lognormal_mutual_information)


@information_exact.control("the series truncated at cubic order, whose maximum is in between")
def information_truncated():
    return exact(mutual_information)
