# %% [markdown]
# # 18. Bayesian inference with networks of finite width
#
# **What is derived.** The evidence of labels and the posterior of functions at order $1/n$, for any number of labels,
# of outputs and any noise, if the prior is that of networks at initialisation. Compared with exact integrals for deep
# linear networks, and with finite networks by importance sampling.
#
# ## Step 1: a mixture of Gaussians
# Given the kernel $\hat G=\hat G^{(L)}$ of the last layer, outputs are independent Gaussians $N(0,\hat G)$, exactly and
# at any width. Only $\hat G$ differs from network to network, with $n=n_{L-1}$:
# $$\mathbb E\,\hat G=K+\tfrac1nK_1+O(n^{-2}),\qquad
# \mathrm{cov}(\hat G_{12},\hat G_{34})=\tfrac1nV_{(12)(34)}+O(n^{-2}),$$
# and higher cumulants are $O(n^{-2})$. For a function $f$ of the kernel, therefore,
# $$\mathbb E f(\hat G)=f(K)+\tfrac1n\big\{f'[K_1]+\tfrac12f''[V]\big\}+O(n^{-2}), \tag{1}$$
# where $f'[X]$ is the derivative in the direction $X$, and $f''[V]=\sum_rw_rf''[X_r,X_r]$ for any decomposition
# $V=\sum_rw_rX_r\otimes X_r$: from the eigenvectors of $V$ as a matrix of pairs, or from neurons drawn at random.
# Labels $y$ have the evidence $p(y)=\mathbb E\,p(y|\hat G)$; what is asked of the posterior is
# $\mathbb E[p(y|\hat G)f(\hat G)]/\mathbb E\,p(y|\hat G)$. With $\ell=\log p(y|\hat G)$, (1) gives
# $$\log p(y)=\ell+\tfrac1n\big\{\ell'[K_1]+\tfrac12\big(\ell''+\ell'\ell'\big)[V]\big\},\qquad
# \mathbb E[f|y]=f+\tfrac1n\big\{f'[K_1]+\tfrac12f''[V]+(\ell'f')[V]\big\}. \tag{2}$$
# The last term is inference proper: labels make some kernels more probable than others.

# %%
import itertools
from functools import cache
from types import SimpleNamespace

import numpy as np
import sympy as sp

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.learning.finite_width import Expansion, coefficients
from pdlt.learning.kernel_fluctuations import KernelFluctuations, Part
from pdlt.learning.posterior import Factor

# %% [markdown]
# ## Step 2: derivatives of Gaussian inference
# With $C=\hat G+\text{noise}$ on the training inputs, $m=C^{-1}y$, $A=\hat G_{*}C^{-1}$ (test to training inputs) and
# $T=(-A,1)$, one has $d(C^{-1})=-C^{-1}XC^{-1}$ and $dA=WC^{-1}$ with $W=(TX)$ restricted to training inputs, so
# $dT=(-WC^{-1},0)$. For $n_L$ outputs with labels $y_i$,
# $$\ell'[X]=\tfrac12\mathrm{tr}\,[(mm^{\mathsf T}-n_LC^{-1})X],\qquad
# \ell''[X,X]=-\mathrm{tr}\,[mm^{\mathsf T}XC^{-1}X]+\tfrac{n_L}2\mathrm{tr}\,[C^{-1}XC^{-1}X].$$
# The mean $Ay_i=\hat G_*m_i$ has $\mu_i'[X]=Wm_i$ and $\mu_i''[X,X]=-2WC^{-1}Xm_i$; the covariance
# $\Sigma=\hat G_{**}-A\hat G_*^{\mathsf T}$ of each output has $\Sigma'[X]=TXT^{\mathsf T}$ and
# $\Sigma''[X,X]=-2WC^{-1}W^{\mathsf T}$. The claim checks them for two training inputs and one test input against
# derivatives taken by a computer, all labels and kernels being symbols.

# %%
t, noise = sp.symbols("t s")
G = sp.Matrix(3, 3, lambda i, j: sp.Symbol(f"G{min(i, j)}{max(i, j)}"))
X = sp.Matrix(3, 3, lambda i, j: sp.Symbol(f"X{min(i, j)}{max(i, j)}"))
Y = sp.Matrix(2, 1, sp.symbols("y0 y1"))


def by_hand(bent=1, curved=2):
    """Return l', l'', mu', mu'', Sigma', Sigma'' times powers of det C: polynomials."""
    C = G[:2, :2] + noise * sp.eye(2)
    adjugate, det = C.adjugate(), C.det()
    m, A = adjugate * Y, G[2:, :2] * adjugate  # times det
    T, x = sp.Matrix.hstack(-A, det * sp.eye(1)), X[:2, :2]
    W = (T * X)[:, :2]
    return [
        ((m * m.T - det * adjugate) * x).trace() / 2,
        (-m * m.T * x * adjugate * x).trace() + bent * det * (adjugate * x * adjugate * x).trace() / 2,
        (W * m)[0],
        (-curved * W * adjugate * x * m)[0],
        (T * X * T.T)[0],
        (-2 * W * adjugate * W.T)[0],
    ]


def by_derivative():
    moved = G + t * X
    C = moved[:2, :2] + noise * sp.eye(2)
    adjugate, det = C.adjugate(), C.det()
    A = moved[2:, :2] * adjugate  # over det

    def rational(numerator, times):
        """Return the first two derivatives of numerator / det at t = 0, times a power of det."""
        first = sp.diff(numerator, t) * det - numerator * sp.diff(det, t)
        second = sp.diff(first, t) * det - 2 * first * sp.diff(det, t)
        return [sp.expand((expression * times).subs(t, 0)) for expression in (first, second)]

    # det''/det - (det'/det)^2 and det'/det are the derivatives of log det.
    slope, curve = sp.diff(det, t), sp.diff(det, t, 2) * det - sp.diff(det, t) ** 2
    l_1, l_2 = rational(-(Y.T * adjugate * Y)[0] / 2, 1)
    l_1, l_2 = l_1 - (slope * det / 2).subs(t, 0), l_2 - (curve * det / 2).subs(t, 0)
    mean = rational((A * Y)[0], 1)
    covariance = rational(moved[2, 2] * det - (A * moved[:2, 2:])[0], 1)
    return [l_1, l_2, *mean, *covariance]


@claim(
    id="bayes.derivatives",
    statement=r"$\ell',\ell'',\mu',\mu'',\Sigma',\Sigma''$ of step 2, two training inputs and a test input",
    level="symbolic",
)
def bayes_derivatives():
    return Identity(by_hand(), by_derivative())


@bayes_derivatives.control("tr[C^-1 X C^-1 X] without its factor 1/2")
def bent_twice():
    return Identity(by_hand(bent=2), by_derivative())


@bayes_derivatives.control("mu'' = -W C^-1 X m: one of two equal terms forgotten")
def curved_once():
    return Identity(by_hand(curved=1), by_derivative())


# %% [markdown]
# ## Step 3: the same from an action
# PDLT (chapters 4 and 6) writes the prior of outputs as $e^{-S}$ with a quartic coupling. On one input, with
# $r^2=\sum_iz_i^2$, (2) is indeed of that form:
# $$S=\tfrac12g\,r^2-\frac v{8n}r^4,\qquad v=\frac V{K^4},\qquad
# g=\frac1K+\frac1n\Big\{-\frac{K_1}{K^2}+\frac{(n_L+2)V}{2K^3}\Big\},$$
# and its normalisation, from $\langle r^2\rangle=n_LK$ and $\langle r^4\rangle=n_L(n_L+2)K^2$, is the constant of (2).


# %%
def one_input(pairs=2):
    K, K_1, V, n_L, r = sp.symbols("K K_1 V n_L r", positive=True)
    slope = (r**2 / K**2 - n_L / K) / 2
    mixture = slope * K_1 + V / 2 * (slope**2 - r**2 / K**3 + n_L / (2 * K**2))
    g_1, v = -K_1 / K**2 + (n_L + pairs) * V / (2 * K**3), V / K**4
    quadratic, quartic = -g_1 / 2, v / 8
    log_Z = quadratic * n_L * K + quartic * n_L * (n_L + 2) * K**2
    return Identity(mixture, quadratic * r**2 + quartic * r**4 - log_Z)


@claim(
    id="bayes.action",
    statement="On one input the log-density of outputs at order $1/n$ is minus an action with quartic coupling $V/K^4$",
    level="symbolic",
    uses=["bayes.derivatives"],
    published="PDLT chapters 4 and 6 (the form of the action)",
)
def bayes_action():
    return one_input()


@bayes_action.control("n_L + 1 pairs in the quadratic coupling")
def fewer_pairs():
    return one_input(pairs=1)


# %% [markdown]
# ## Step 4: many inputs
# What the package adds up (`pdlt.learning.finite_width`), against averages over a kernel that takes finitely many
# values: $\hat G=K+K_1/n\pm\sqrt{w_1/n}\,X_1\pm\sqrt{w_2/n}\,X_2\pm\dots$ has $V=\sum_rw_rX_r\otimes X_r$, and its
# average is a finite sum at any $n$. The coefficient of $1/n$ is read off from eight values of $n$.


# %%
def coefficient(function, widths):
    """Return the coefficient of 1/n of a smooth function of 1/n, by interpolation at some n."""
    n = np.array(widths, dtype=float)
    scaled = np.vander(n[0] / n, increasing=True)
    return np.linalg.solve(scaled, np.array([function(k) for k in n]))[1] * n[0]


def gaussian(kernel, y, noise, tests):
    """Return p(y | kernel), posterior mean and second moments of outputs, and the kernel, on the last inputs."""
    d, outputs = y.shape
    C = kernel[:d, :d] + noise * np.eye(d)
    m, gain = np.linalg.solve(C, y), np.linalg.solve(C, kernel[:d, d:]).T
    log_p = -(np.sum(y * m) + outputs * np.linalg.slogdet(2 * np.pi * C)[1]) / 2
    mean, covariance = kernel[d:, :d] @ m, kernel[d:, d:] - gain @ kernel[:d, d:]
    second = np.einsum("pq,ij->pqij", covariance, np.eye(outputs)) + np.einsum("pi,qj->pqij", mean, mean)
    return np.exp(log_p), mean, second, kernel[d:, d:]


def moments(evidence, mean, second, kernel, prior):
    """Return log-evidence, posterior mean, covariance and shift of the kernel from averages weighted by p(y|kernel)."""
    mean, second, kernel = mean / evidence, second / evidence, kernel / evidence
    covariance = second - np.einsum("pi,qj->pqij", mean, mean)
    return np.concatenate([[np.log(evidence)], mean.ravel(), covariance.ravel(), (kernel - prior).ravel()])


@cache
def mixture():
    rng = np.random.default_rng(18)
    d, tests, outputs, terms, noise = 3, 2, 2, 3, 0.3
    symmetric = [a + a.T for a in rng.normal(size=(terms + 1, d + tests, d + tests)) / 4]
    root = rng.normal(size=(d + tests, d + tests))
    K, K_1, factors = root @ root.T + np.eye(d + tests), symmetric[0], np.array(symmetric[1:])
    weights, y = np.array([1.0, 0.5, 2.0]), rng.normal(size=(d, outputs))

    def average(n):
        total = [0.0, 0.0, 0.0, 0.0]
        for signs in itertools.product([1, -1], repeat=terms):
            kernel = K + K_1 / n + np.einsum("r,rab->ab", signs * np.sqrt(weights / n), factors)
            p, *values = gaussian(kernel, y, noise, tests)
            total = [a + b for a, b in zip(total, [p, *(p * value for value in values)], strict=True)]
        count = 2**terms
        return moments(*(value / count for value in total), prior=(K + K_1 / n)[d:, d:])

    measured = coefficient(average, [60, 90, 140, 200, 300, 450, 700, 1000])
    return SimpleNamespace(K=K, K_1=K_1, weights=weights, factors=factors, y=y, d=d, noise=noise, measured=measured)


def package(case, weights=1.0, outputs=None):
    C = Factor(case.K[: case.d, : case.d] + case.noise * np.eye(case.d), 0.0)
    expansion = Expansion.of(C, case.K[case.d :, : case.d], case.y, "full")
    part = Part(2, 0, weights * case.weights, case.factors)
    found = coefficients({2: expansion}, KernelFluctuations({2: case.K_1}, 1, lambda: iter([part])))[2]
    names = ("log_evidence_1", "mean_1", "covariance_1", "hidden_kernel_change_1")
    return np.concatenate([np.ravel(found[name][0]) for name in names])


@claim(
    id="bayes.contraction",
    statement="`pdlt.posterior` at order $1/n$ expands averages over kernels: 3 inputs, 2 outputs, 2 test inputs",
    level="precision",
    uses=["bayes.derivatives"],
)
def bayes_contraction():
    return Agreement(package(mixture()), mixture().measured, 1e-8, "interpolation in 1/n of sums in double precision")


@bayes_contraction.control("V twice as large: the factor 1/2 of the expansion forgotten")
def contraction_doubled():
    return Agreement(package(mixture(), weights=2.0), mixture().measured, 1e-8, "as above")


# %% [markdown]
# ## Step 5: deep linear networks
# Without biases, one training input $x$: $\hat G_{xx}=K_{xx}\,s_1\cdots s_{L-1}$ with independent
# $s_\ell=\chi^2_{n_\ell}/n_\ell$. At another input $x_*$, hidden units have a part along those on $x$ (coefficient
# $\rho=K_{*x}/K_{xx}$) and an independent one, of variance $\omega=K_{**}-\rho K_{*x}$, so for one hidden layer, with
# $g=\hat G_{xx}$ and $\mathbb E_g$ the average weighted by $p(y|g)=\prod_iN(y_i;0,g+s)$,
# $$\mathbb E[z_{*i}|y]=\rho\,y_i\,\mathbb E_g\Big[\frac g{g+s}\Big],\quad
# \mathbb E[z_{*i}z_{*j}|y]=\delta_{ij}\,\mathbb E_g\Big[\frac{\rho^2gs}{g+s}+\omega-\frac\omega n\frac g{g+s}\Big]
# +y_iy_j\,\mathbb E_g\Big[\frac{\rho^2g^2+\omega g/n}{(g+s)^2}\Big].$$
# These are one-dimensional integrals (two for evidence and mean with two hidden layers).
# In $u=\sqrt n\log s_\ell$ the integrands are analytic and decay like Gaussians: the trapezoidal rule is exact to
# rounding.

# %%
POINT, OTHER, LABELS, NOISE = np.array([0.8, -0.5]), np.array([0.3, 1.1]), np.array([1.3, -0.4]), 0.2
C_W = 1.3


def chi_square(n):
    """Return nodes s and weights of the average over chi^2_n / n."""
    u = np.linspace(-13, 13, 261)
    s = np.exp(u / np.sqrt(n))
    log_density = n / 2 * (np.log(s) - s + 1)
    weights = np.exp(log_density - log_density.max())
    return s, weights / weights.sum()


def linear_exact(hidden, noise=NOISE):
    """Return a function of n: log-evidence and posterior mean, for one hidden layer also the covariance of outputs."""
    K, cross, other = (C_W ** (hidden + 1) * (a @ b) / 2 for a, b in ((POINT, POINT), (OTHER, POINT), (OTHER, OTHER)))
    rho = cross / K
    omega = other - rho * cross

    def exact(n):
        s, weights = chi_square(n)
        g = K * s
        if hidden == 2:
            g, weights = np.multiply.outer(g, s).ravel(), np.multiply.outer(weights, weights).ravel()
        v = g + noise
        p = weights * np.exp(-(LABELS @ LABELS) / (2 * v)) / (2 * np.pi * v)
        evidence = p.sum()
        mean = rho * LABELS * (p @ (g / v)) / evidence
        found = [np.log(evidence), *mean]
        if hidden == 1:
            own = p @ (rho**2 * g * noise / v + omega - omega / n * g / v) / evidence
            shared = p @ ((rho**2 * g**2 + omega * g / n) / v**2) / evidence
            covariance = own * np.eye(2) + shared * np.outer(LABELS, LABELS) - np.outer(mean, mean)
            found += covariance.ravel().tolist()
        return np.array(found)

    return exact


def linear_package(hidden, noise=NOISE, names=("log_evidence_1", "mean_1", "covariance_1")):
    net = pdlt.MLP(hidden + 1, 16, "linear", C_W=C_W)
    found = pdlt.posterior(net, [POINT], [LABELS], [OTHER], noise, order=1)
    names = names if hidden == 1 else names[:2]
    return np.concatenate([np.ravel(found[name].values) for name in names])


def linear(hidden, planted=1.0):
    exact = coefficient(linear_exact(hidden), [60, 90, 140, 200, 300, 450, 700, 1000])
    return Agreement(
        planted * linear_package(hidden), exact, 1e-8, "interpolation in 1/n of integrals exact to rounding"
    )


@claim(
    id="bayes.linear",
    statement="Evidence, mean and covariance of a linear network with one hidden layer: exact integrals at any width",
    level="precision",
    uses=["bayes.contraction", "V.recursion"],
)
def bayes_linear():
    return linear(1)


@bayes_linear.control("n counts both hidden layer and output: (n + 2)/n too large")
def linear_wider():
    return linear(1, planted=1 + 2 / 16)


@claim(
    id="bayes.linear-two",
    statement="Evidence and mean of a linear network with two hidden layers",
    level="precision",
    uses=["bayes.contraction", "V.recursion"],
)
def bayes_linear_two():
    return linear(2)


@bayes_linear_two.control("one hidden layer's fluctuations only")
def linear_one_of_two():
    half = linear_package(2) / 2
    exact = coefficient(linear_exact(2), [60, 90, 140, 200, 300, 450, 700, 1000])
    return Agreement(half, exact, 1e-8, "as above")


# %% [markdown]
# **Without noise** the mean $\rho\,y$ does not depend on $g$ at all: at every width deep linear networks
# infer what linear regression of smallest norm does, with any number of training inputs (hidden units on $x_*$ have a
# part in the span of those on the training inputs, and the rest is independent of them and has mean zero). Width
# changes the *confidence*, not the prediction. For a nonlinear activation it changes both.


# %%
def noiseless(activation):
    x, y, points = np.array([[1.0, 0.2, -0.4], [0.3, -0.9, 0.5]]), np.array([0.7, -1.1]), np.array([[0.4, 0.8, 1.0]])
    net = pdlt.MLP(4, 32, activation, C_W=1.7)
    found = pdlt.posterior(net, x, y, points, order=1, covariance="none")
    inferred = found["mean"].values + found.mean_1.values / 32
    return Agreement(inferred, points @ np.linalg.pinv(x) @ y, 1e-9, "linear algebra in double precision")


@claim(
    id="bayes.linear-noiseless",
    statement="The posterior mean of deep linear networks without noise is linear regression, at order $1/n$ too",
    level="precision",
)
def bayes_linear_noiseless():
    return noiseless("linear")


@bayes_linear_noiseless.control("erf instead of linear")
def noiseless_erf():
    return noiseless("erf")


# %% [markdown]
# ## Step 6: nonlinear networks of finite width
# Kernels of finite networks are drawn layer by layer from the Markov chain of file 1, $\hat G^{(\ell+1)}=C_b+
# \frac{C_W}n\sum_j\sigma_j\sigma_j^{\mathsf T}$ with $z_j\sim N(0,\hat G^{(\ell)})$: networks, not expansions.
# Weighted by $p(y|\hat G)$ their averages are evidence and posterior to all orders. Widths $(2n,n)$ and $(4n,2n)$ are
# combined so that the next order cancels.

# %%
SCALES, SEED = {"C_b": 0.1, "C_W": 1.5}, 181
INPUTS = np.array([[0.9, -0.4], [-0.5, 0.8], [0.3, 1.1]])
TARGETS = np.array([[1.0, -0.5], [-0.8, 0.2]])
BAYES_NOISE = 0.15


def kernels(n, count, rng):
    """Return kernels of tanh networks with hidden widths 2n and n on the three inputs, shape (count, 3, 3)."""
    G = np.broadcast_to(SCALES["C_b"] + SCALES["C_W"] * INPUTS @ INPUTS.T / 2, (count, 3, 3))
    for width in (2 * n, n):
        z = rng.standard_normal((count, width, 3)) @ np.linalg.cholesky(G).swapaxes(1, 2)
        active = np.tanh(z)
        G = SCALES["C_b"] + SCALES["C_W"] * active.swapaxes(1, 2) @ active / width
    return G


def weighted(G):
    """Return, per kernel, p(y|G), and p(y|G) times the posterior mean, second moments and kernel at the test input."""
    C = G[:, :2, :2] + BAYES_NOISE * np.eye(2)
    m = np.linalg.solve(C, np.broadcast_to(TARGETS, (len(G), 2, 2)))
    gain = np.linalg.solve(C, G[:, :2, 2:])
    p = np.exp(-np.einsum("ai,sai->s", TARGETS, m) / 2) / np.linalg.det(2 * np.pi * C)
    mean = G[:, 2:, :2] @ m
    own = G[:, 2:, 2:] - gain.swapaxes(1, 2) @ G[:, :2, 2:]
    second = np.einsum("spq,ij->spqij", own, np.eye(2)) + np.einsum("spi,sqj->spqij", mean, mean)
    column = p.reshape(-1, 1, 1)
    return p, column * mean, column[..., None, None] * second, column * G[:, 2:, 2:]


@cache
def measured():
    """Return n (X - X_0), extrapolated in n, and its error: log-evidence, mean, covariance, shift of the kernel."""
    found = []
    for n, batches in ((24, 40), (48, 40)):
        rng, batch = np.random.default_rng(SEED + n), []
        for _ in range(batches):
            G = kernels(n, 2500, rng)
            batch.append([G[:, 2:, 2:].mean(0), *(value.mean(0) for value in weighted(G))])
        columns = [np.stack(column) for column in zip(*batch, strict=True)]

        def estimate(columns, keep):
            prior, *parts = (column[keep].mean(0) for column in columns)
            return moments(*parts, prior=prior)

        every = np.arange(batches)
        whole = estimate(columns, every)
        # Jackknife over batches: evidence and posterior are functions of averages.
        left_out = np.stack([estimate(columns, every != k) for k in every])
        found.append((n, whole, np.sqrt((batches - 1) * left_out.var(0))))
    (n, narrow, narrow_error), (_, wide, wide_error) = found
    leading = prediction()[0]
    value = 2 * (2 * n) * (wide - leading) - n * (narrow - leading)
    return value, np.hypot(4 * n * wide_error, n * narrow_error)


@cache
def prediction():
    net = pdlt.MLP(3, (48, 24), "tanh", **SCALES)
    found = pdlt.posterior(net, INPUTS[:2], TARGETS, INPUTS[2:], BAYES_NOISE, order=1)
    names = ("log_evidence", "mean", "covariance", "hidden_kernel_change")
    leading = [found[name].values.ravel() if name in found else np.zeros(1) for name in names]
    first = {name: found[f"{name}_1"].values for name in names}
    return np.concatenate(leading), first


def finite(**planted):
    first = {**prediction()[1], **planted}
    return Scores(np.concatenate([np.ravel(value) for value in first.values()]), *measured(), z_max=4, seed=SEED)


@claim(
    id="bayes.networks",
    statement="Evidence, posterior mean and covariance of two outputs, shift of the hidden kernel: tanh networks",
    level="ensemble",
    uses=["bayes.contraction", "K_1.recursion", "V.recursion"],
)
def bayes_networks():
    return finite()


@bayes_networks.control("outputs still independent given the labels")
def independent_outputs():
    covariance = prediction()[1]["covariance"].copy()
    covariance[..., 0, 1] = covariance[..., 1, 0] = 0
    return finite(covariance=covariance)


@bayes_networks.control("the evidence from a kernel K + K_1/n that does not fluctuate")
def no_fluctuations():
    net = pdlt.MLP(3, (48, 24), "tanh", **SCALES)
    K_1 = pdlt.predict(net, INPUTS[:2], ["K"]).K_1.values[-1]
    K = pdlt.predict(net, INPUTS[:2], ["K"], order=0).K.values[-1] + BAYES_NOISE * np.eye(2)
    m = np.linalg.solve(K, TARGETS)
    return finite(log_evidence=np.sum((m @ m.T - 2 * np.linalg.inv(K)) / 2 * K_1))


# %% [markdown]
# ## Step 7: what it says
# * **Outputs that share a network inform each other.** For $i\ne j$ the posterior covariance is
#   $\frac1n\sum_rw_r(W_rm_i)(W_rm_j)^{\mathsf T}$: where label vectors are similar, outputs are associated. (PDLT
#   section 6.4.1 calls this Hebbian learning.)
# * **Labels move the hidden representation**: $\mathbb E[\hat G|y]-\mathbb E\,\hat G=\frac1n\sum_rw_r\ell'[X_r]X_r$,
#   which vanishes at infinite width.
# * **Depth has a price.** $V$ grows with depth (file 9). For labels of the size that the prior expects,
#   $\ell'\approx0$ along the overall scale, and what is left of (2) is the curvature, which is negative: fluctuations
#   spread the prior over labels that were not seen. Against this, depth changes $K$ at order 0, for better or worse.
#   The evidence at fixed width can therefore have an optimal depth where that of infinitely wide networks has none;
#   see docs/bayes.md.
