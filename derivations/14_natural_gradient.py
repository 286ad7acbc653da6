# %% [markdown]
# # 14. Natural gradient and relatives: one rate, whatever the network
#
# **What is derived.** How the outputs of a network of any finite width move when the gradient of the loss is
# multiplied with the pseudo-inverse of a metric: the Fisher metric, the empirical Fisher metric, Gauss-Newton, the
# absolute value of the Hessian, and the metric of the Kullback-Leibler divergence between Gaussian policies. The
# claims are checked on real networks with automatic differentiation.
#
# ## Step 1: the natural tangent kernel
# Training points $\alpha=1\dots N$ with outputs $z$ and labels $y$; all of them in one vector, $r=z-y$ and
# $J=\partial z/\partial\xi$, in parameters $\xi$ counted so that gradient flow of $\frac12r^2$ is $\xi'=-J^Tr$. With
# Gaussian output noise, $p(y|x)=N(z(x),\sigma^2)$, the Fisher metric is the mean over the inputs
# $$F=\frac1N\sum_\alpha\mathbb E_y\big[\nabla\log p\,\nabla\log p^T\big]=\frac{J^TJ}{N\sigma^2} .$$
# Natural gradient flow on the loss $\frac12r^2$ is $\xi'=-F^+J^Tr$. If $J$ has full row rank (at least as many
# parameters as residuals, no input twice), $F^+=N\sigma^2J^T(JJ^T)^{-2}J$ and the tangent kernel that the outputs see
# is
# $$JF^+J^T=N\sigma^2\,\mathbb 1,\qquad r'=-N\sigma^2\,r,\qquad z(t)=y+e^{-N\sigma^2t}(z(0)-y) :$$
# all modes at the single rate $N\sigma^2$, at any width, while $J$ itself moves as it likes. On the log-likelihood's
# mean, $r^2/(2N\sigma^2)$, the same flow has rate 1. If there are fewer parameters than residuals,
# $JF^+J^T=N\sigma^2P$ with the projector $P$ on the range of $J$.
#
# The pseudo-inverse does depend on how parameters are counted (it takes the shortest move); on the training set
# nothing of that is seen.

# %%
import math
from functools import cache

import jax
import numpy as np
import scipy.linalg
import sympy

import pdlt
from pdlt._jax import x64
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.finite import (
    Architecture,
    EmpiricalNatural,
    FiniteNetwork,
    GaussNewton,
    Gradient,
    KullbackLeibler,
    NaturalGradient,
    SaddleFreeNewton,
    fisher,
    natural_kernel,
    solve,
    train,
    trained,
)
from pdlt.finite.training import training_velocity

t = sympy.Symbol("t", positive=True)
N, noise = 2, sympy.Symbol("sigma2", positive=True)
j_11, j_21, j_22 = sympy.symbols("j11 j21 j22", real=True)
# An orthogonal change of parameters, which changes nothing below, makes any Jacobian lower triangular.
J_SYMBOLS = sympy.Matrix([[j_11, 0, 0], [j_21, j_22, 0]])


def entries(*matrices):
    return [sympy.cancel(sympy.together(entry)) for matrix in matrices for entry in matrix]


def kernel_identity(points=N):
    J = J_SYMBOLS
    gram = (J * J.T).inv()
    metric, inverse = J.T * J / (points * noise), points * noise * J.T * gram * gram * J
    # Both products are symmetric by construction, so these two are all of Penrose's conditions.
    left = entries(metric * inverse * metric, inverse * metric * inverse, J * inverse * J.T)
    return Identity(left, entries(metric, inverse, N * noise * sympy.eye(N)))


@claim(
    id="natural.kernel",
    statement=r"$F^+=N\sigma^2J^T(JJ^T)^{-2}J$ and $JF^+J^T=N\sigma^2\mathbb 1$ for two points, three parameters",
    level="symbolic",
)
def kernel():
    return kernel_identity()


@kernel.control("the metric a sum over the points instead of a mean")
def kernel_of_sum():
    return kernel_identity(points=1)


# %% [markdown]
# Real networks: the metric written out as a $P\times P$ matrix, its pseudo-inverse by numpy, against
# `pdlt.finite.natural_kernel`, which never forms it; on the training set and on other points.

# %%
NET = pdlt.MLP(2, 5, "tanh", 0.3, 1.4, 0.7, 1.1)
X = [[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]]
Y = np.array([[0.4, -1.0], [-0.3, 0.8]])
TEST = [[-0.7, 0.3, 0.8], [1.0, 0.1, 0.0]]
COVARIANCE = ((0.5, 0.2), (0.2, 0.4))
SIGMA2 = 0.3


@cache
def network():
    return FiniteNetwork(NET, inputs=3, outputs=2, seed=14)


def real_kernel(exponent=1.0):
    J, J_2 = (network().jacobian(x).reshape(4, -1) for x in (X, TEST))
    F = fisher(network(), X, noise=COVARIANCE)
    witness = np.concatenate([J, J_2]) @ np.linalg.pinv(F, rcond=1e-12, hermitian=True) @ J.T
    by_noise = np.kron(np.eye(2), exponent * 2 * np.array(COVARIANCE))
    other = natural_kernel(network(), X, TEST, noise=COVARIANCE).transpose(0, 2, 1, 3).reshape(4, 4)
    nonzero = np.abs(np.concatenate([by_noise, other])) > 1e-9
    values = np.concatenate([by_noise, other])[nonzero]
    return Agreement(values, witness[nonzero], 1e-9, "double precision, the condition number of F is below 1e4")


@claim(
    id="natural.real-kernel",
    statement=r"For noise of covariance $\Sigma$, $JF^+J^T=N\,\mathbb 1\otimes\Sigma$ in a real network; "
    "`natural_kernel` on other points",
    level="precision",
    uses=["natural.kernel"],
)
def on_networks():
    return real_kernel()


@on_networks.control("without the number of points")
def kernel_without_points():
    return real_kernel(exponent=0.5)


# %% [markdown]
# ## Step 2: the single rate
# Trained networks of width 5, two outputs: every residual is $e^{-N\sigma^2t}$ times what it was. The witness knows
# nothing but the outputs at the start.


# %%
def single_rate(points=2):
    times = np.array([0.5, 2.0])
    found = train(network(), X, Y, times, method=NaturalGradient(noise=SIGMA2), tolerance=1e-12).outputs(X)
    decay = np.exp(-points * SIGMA2 * times)[:, None, None]
    return Agreement(found - Y, decay * (network()(X) - Y), 1e-8, "the flow's tolerance is 1e-12 a step")


@claim(
    id="natural.rate",
    statement=r"$z(t)-y=e^{-N\sigma^2t}(z(0)-y)$ for a trained network of width 5",
    level="precision",
    uses=["natural.kernel"],
)
def rate():
    return single_rate()


@rate.control("rate sigma^2, without the number of points")
def rate_without_points():
    return single_rate(points=1)


# %% [markdown]
# In an ensemble the mean square error is $e^{-2N\sigma^2t}(K+y^2)$ with the kernel $K$ of the prior. For one hidden
# layer
# that is exact at every width: no correction in $1/n$, where gradient flow has many.


# %%
@cache
def ensemble(networks=2_000, time=0.7, seed=141):
    architecture = Architecture(pdlt.MLP(2, 4, "tanh", 0.3, 1.4, 0.7, 1.1), 3, 1)
    x, origin = np.array(X), np.zeros(architecture.size)

    def one(key):
        weights = architecture.draw(key)
        method = NaturalGradient(noise=SIGMA2)
        path = trained(architecture, weights, origin, x, Y[:, :1], np.array([time]), method=method, tolerance=1e-5)
        return architecture.evaluate(weights, path[0], x)[:, 0] - Y[:, 0]

    with x64():
        return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), networks))) ** 2, time, seed


def mean_square(powers=2):
    squares, time, seed = ensemble()
    K = np.diag(pdlt.predict(pdlt.MLP(2, 4, "tanh", 0.3, 1.4), X, ["K"], order=0).K.values[-1])
    value = math.exp(-powers * 2 * SIGMA2 * time) * (K + Y[:, 0] ** 2)
    return Scores(value, squares.mean(axis=0), squares.std(axis=0) / math.sqrt(len(squares)), z_max=4, seed=seed)


@claim(
    id="natural.ensemble",
    statement=r"$\mathbb E[(z(t)-y)^2]=e^{-2N\sigma^2t}(K+y^2)$ over trained networks of width 4",
    level="ensemble",
    uses=["natural.rate"],
)
def mean_squares():
    return mean_square()


@mean_squares.control("the square of the residual relaxing at the residual's rate")
def rate_of_residual():
    return mean_square(powers=1)


# %% [markdown]
# Points that are not trained on move by $z_2'=-N\sigma^2J_2J^+r$. On the linearised network
# $J_2J^+=H_{2X}H_{XX}^{-1}$ is constant, so the natural gradient passes through
# $z_2(0)+H_{2X}H_{XX}^{-1}(1-e^{-N\sigma^2t})(y-z(0))$ and ends where gradient flow ends.


# %%
def test_points(rates=1):
    times = [1.0, math.inf]
    line = network().linearised()
    H = network().ntk(X + TEST, X).transpose(0, 2, 1, 3).reshape(8, 4)
    end = (H[4:] @ np.linalg.solve(H[:4], (Y - network()(X)).reshape(-1))).reshape(2, 2)
    found = train(line, X, Y, times[:1], method=NaturalGradient(noise=SIGMA2), tolerance=1e-12).outputs(TEST)
    ends = [solve(line, X, Y, times, method=m).outputs(TEST)[1] for m in (NaturalGradient(noise=SIGMA2), Gradient())]
    witness = [line(TEST) - math.expm1(-rates * 2 * SIGMA2) * end, line(TEST) + end, line(TEST) + end]
    return Agreement(np.array([found[0], *ends]), np.array(witness), 1e-8, "the flow's tolerance is 1e-12 a step")


@claim(
    id="natural.test-points",
    statement="The linearised network under natural gradient, on points that are not trained on, and where it ends",
    level="precision",
    uses=["natural.kernel"],
)
def elsewhere():
    return test_points()


@elsewhere.control("twice the rate")
def elsewhere_twice():
    return test_points(rates=2)


# %% [markdown]
# ## Step 3: Gauss-Newton, and fewer parameters than points
# Gauss-Newton, $\xi'=-(J^TJ)^+J^Tr$, is the natural gradient in units of time in which the rate is 1. With fewer
# parameters than residuals and full column rank, a model that is linear in $\xi$ has *parameters* that relax at rate 1,
# $\xi(t)=\xi_*+e^{-t}(\xi(0)-\xi_*)$, to the least-squares fit $\xi_*$. A network of depth 1 is such a model.


# %%
def least_squares(zero=False):
    points = np.random.default_rng(14).normal(size=(7, 3))
    labels = np.sin(points.sum(axis=1))
    line = FiniteNetwork(pdlt.MLP(1, 1, "tanh", 0.3, 1.4, 0.7, 1.1), inputs=3, seed=14)
    found = train(line, points, labels, [0.8], method=GaussNewton(), tolerance=1e-12).outputs(points)[0, :, 0]
    design = np.concatenate([points, np.ones((7, 1))], axis=1)
    fit = np.zeros(7) if zero else design @ np.linalg.lstsq(design, labels, rcond=None)[0]
    target = labels if zero else fit
    witness = target + math.exp(-0.8) * (line(points)[:, 0] - target)
    return Agreement(found, witness, 1e-8, "the flow's tolerance is 1e-12 a step")


@claim(
    id="gauss-newton.least-squares",
    statement="Gauss-Newton with four parameters and seven points: rate 1 to the least-squares fit",
    level="precision",
    uses=["natural.kernel"],
)
def fewer_parameters():
    return least_squares()


@fewer_parameters.control("rate 1 to the labels, as for a Jacobian of full row rank")
def to_labels():
    return least_squares(zero=True)


# %% [markdown]
# ## Step 4: the empirical Fisher metric
# Made of the labels instead of samples from the model, $F_e=\frac1N\sum_\alpha g_\alpha g_\alpha^T$ with
# $g_\alpha=-J_\alpha^Tr_\alpha/\sigma^2$. With $A$ the matrix of rows $J_\alpha^Tr_\alpha$, one per point,
# $F_e=A^TA/(N\sigma^4)$ and $J^Tr=A^T1$. For linearly independent rows
# $$\xi'=-F_e^+J^Tr=-N\sigma^4A^+1,\qquad r_\alpha\cdot r_\alpha'=(A\xi')_\alpha=-N\sigma^4,\qquad
# r_\alpha(t)^2=r_\alpha(0)^2-2N\sigma^4t .$$
# Every point's square falls *linearly*, at one speed for good and bad fits, until the first is fitted exactly at a
# finite
# time and the metric loses rank: large residuals are not corrected more than small ones. It is a Fisher metric only
# where residuals are typical noise, $r^2\approx\sigma^2$, and there the two rates do agree:
# $-N\sigma^4/r^2\approx-N\sigma^2$. (On the failure of the empirical Fisher as a curvature see Kunstner, Balles and
# Hennig, arXiv:1905.12558.)


# %%
def squares_fall(power=2):
    J, r = J_SYMBOLS, sympy.Matrix(sympy.symbols("r1 r2", real=True))
    A = sympy.diag(*r) * J
    gram = (A * A.T).inv()
    metric = A.T * A / (N * noise**2)
    inverse = N * noise**2 * A.T * gram * gram * A
    moved = -J * inverse * J.T * r
    left = entries(metric * inverse * metric, sympy.Matrix([r[i] * moved[i] for i in range(N)]))
    return Identity(left, entries(metric, sympy.Matrix([-N * noise**power] * N)))


@claim(
    id="empirical.squares",
    statement=r"$r_\alpha r_\alpha'=-N\sigma^4$ under $\xi'=-F_e^+J^Tr$, two points, three parameters",
    level="symbolic",
)
def empirical():
    return squares_fall()


@empirical.control("sigma^2, as if the empirical metric were the Fisher metric at |r| = 1")
def empirical_power():
    return squares_fall(power=1)


def real_squares(factor=2):
    method = EmpiricalNatural(noise=SIGMA2)
    before = network()(X) - Y
    times = np.array([0.4, 0.8]) * method.end(before)
    after = train(network(), X, Y, times, method=method, tolerance=1e-12).outputs(X) - Y
    witness = (before**2).sum(axis=-1) - factor * 2 * SIGMA2**2 * times[:, None]
    return Agreement((after**2).sum(axis=-1), witness, 1e-8, "the flow's tolerance is 1e-12 a step")


@claim(
    id="empirical.trained",
    statement=r"$|r_\alpha(t)|^2=|r_\alpha(0)|^2-2N\sigma^4t$ for a trained network with two outputs",
    level="precision",
    uses=["empirical.squares"],
)
def empirical_trained():
    return real_squares()


@empirical_trained.control("without the factor 2 of the square")
def empirical_factor():
    return real_squares(factor=1)


# %% [markdown]
# ## Step 5: saddle-free Newton
# For a quadratic loss $\frac12x^TQx$ with $Q=R\,\mathrm{diag}(a,-b)R^T$ the three flows are, along the axes of $Q$,
# gradient: $e^{-at}$ and $e^{bt}$; Newton, $-Q^{-1}Qx$: $e^{-t}$ and $e^{-t}$, into the saddle; saddle-free,
# $-|Q|^{-1}Qx$: $e^{-t}$ and $e^{t}$, away from it at rate 1 however flat it is.

# %%
a, b, angle = sympy.symbols("a b phi", positive=True)


def quadratic(sign=1):
    c, s = sympy.cos(angle), sympy.sin(angle)
    R = sympy.Matrix([[c, -s], [s, c]])
    Q, size = R * sympy.diag(a, -b) * R.T, R * sympy.diag(1 / a, sign / b) * R.T
    x_1, x_2 = sympy.symbols("x1 x2", real=True)
    along = R.T * (-size * Q * R * sympy.Matrix([x_1, x_2]))
    return Identity([sympy.simplify(entry) for entry in along], [-x_1, x_2])


@claim(
    id="saddle-free.quadratic",
    statement=r"$-|Q|^{-1}Qx$ relaxes along positive and leaves along negative curvature, both at rate 1",
    level="symbolic",
)
def saddle():
    return quadratic()


@saddle.control("Newton's method, attracted by the saddle")
def newton():
    return quadratic(sign=-1)


# %% [markdown]
# A network with all weights zero sits on a saddle: one hidden layer of $n$ units with $\sigma(0)=0$, no biases. The
# loss is quadratic in pairs of a unit's ingoing and outgoing weights, and in the parameters $\xi$ its Hessian has the
# eigenvalues $\pm c$, each $n$ times, and zeros,
# $$c=\sigma'(0)\sqrt{\frac{\lambda_W^{(1)}\lambda_W^{(2)}}{n\,n_0}}\;\Big|\sum_\alpha y_\alpha x_\alpha\Big| .$$
# A network near it leaves at rate $c$ under gradient flow: slowly, for a wide one. Saddle-free Newton takes it away at
# rate 1. Compared are velocities at distance $10^{-6}$, where what is left out has relative size $10^{-12}$.


# %%
def leaving(rate=1.0):
    lambda_W, width = (1.1, 0.6), 4
    architecture = Architecture(pdlt.MLP(2, width, "sin", lambda_W=lambda_W), 3, 1)
    x, y = np.array(X), Y[:, :1]
    zero = tuple((np.zeros(shape), np.zeros(shape[0])) for shape in architecture.shapes)
    correlation = (y * x).sum(axis=0)
    c = math.sqrt(lambda_W[0] * lambda_W[1] / (3 * width)) * np.linalg.norm(correlation)
    # Ingoing weights of unit j along the correlation, outgoing weight equal to them; the biases do not move.
    amounts = np.array([0.3, -1.0, 0.5, 0.8])
    ingoing = np.outer(amounts, correlation / np.linalg.norm(correlation))
    direction = 1e-6 * np.concatenate([ingoing.ravel(), np.zeros(width), amounts, [0.0]])
    found = {}
    with x64():
        for method in (Gradient(), SaddleFreeNewton(cutoff=1e-5)):
            velocity = np.asarray(jax.jit(training_velocity(architecture, zero, x, y, method))(direction))
            found[method] = velocity @ direction / (direction @ direction)
    return Agreement(list(found.values()), [c, rate], 1e-8, "neglected: squares of the distance, 1e-12")


@claim(
    id="saddle-free.network",
    statement="Rates at which a network with one hidden layer leaves zero weights: gradient flow, saddle-free Newton",
    level="precision",
    uses=["saddle-free.quadratic"],
)
def saddle_network():
    return leaving()


@saddle_network.control("Newton's sign")
def saddle_newton():
    return leaving(rate=-1.0)


# %% [markdown]
# Near a minimum that fits the data the Hessian is $J^TJ$ plus terms proportional to the residuals, and saddle-free
# Newton becomes Gauss-Newton: all residuals at rate 1. On a model linear in $\xi$ it is Gauss-Newton everywhere.
#
# ## Step 6: Gaussian policies of fixed covariance
# A policy $\pi(a|x)=N(z(x),\Sigma)$ and a target $\pi_*(a|x)=N(y,\Sigma)$: the normalisations cancel, and
# $$D(\pi_*\|\pi)=\mathbb E_{\pi_*}\big[\log\pi_*-\log\pi\big]=\tfrac12(z-y)^T\Sigma^{-1}(z-y)=D(\pi\|\pi_*),$$
# exactly quadratic in the means. For $\pi$ against itself at $\xi+d\xi$ this is $\frac12d\xi^TF\,d\xi$: the Fisher
# metric is the divergence's second derivative, not only near the minimum. The flow of the mean divergence,
# $\xi'=-\nabla\frac1N\sum D$, moves the means by $z'=-\frac1NH\Sigma^{-1}(z-y)$. For a tangent kernel that is constant,
# $$z(t)-y=\exp\Big(-\frac tNH(\mathbb 1\otimes\Sigma^{-1})\Big)(z(0)-y) :$$
# outputs with little noise learn fast. With the natural gradient $-F^+\nabla$ all means relax as $e^{-t}$: no $N$, no
# $\Sigma$, no kernel, at any width.


# %%
def divergence(half=2):
    S = sympy.Matrix(2, 2, sympy.symbols("S11 S12 S12 S22", real=True))
    y, z, action = (sympy.Matrix(sympy.symbols(f"{name}1:3", real=True)) for name in "yza")
    precision = S.inv()
    log_ratio = ((action - z).T * precision * (action - z) - (action - y).T * precision * (action - y))[0] / 2
    polynomial = sympy.Poly(sympy.expand(log_ratio), *action)
    moments = {(0, 0): 1, (1, 0): y[0], (0, 1): y[1], (2, 0): y[0] ** 2 + S[0, 0], (0, 2): y[1] ** 2 + S[1, 1],
               (1, 1): y[0] * y[1] + S[0, 1]}  # fmt: skip
    mean = sum(factor * moments[powers] for powers, factor in polynomial.terms())
    return Identity(sympy.cancel(mean), sympy.cancel(((z - y).T * precision * (z - y))[0] / half))


@claim(
    id="policy.divergence",
    statement=r"$D(\pi_*\|\pi)=\frac12(z-y)^T\Sigma^{-1}(z-y)$ for Gaussian policies of equal covariance, two actions",
    level="symbolic",
)
def policy():
    return divergence()


@policy.control("without the factor 1/2")
def policy_half():
    return divergence(half=1)


def policy_flow(inverted=True):
    time, line = 0.6, network().linearised()
    flow = KullbackLeibler(COVARIANCE)
    by_solve = solve(line, X, Y, [time], method=flow).outputs(X)[0] - Y
    by_training = train(line, X, Y, [time], method=flow, tolerance=1e-12).outputs(X)[0] - Y
    natural = train(network(), X, Y, [time], method=KullbackLeibler(COVARIANCE, natural=True), tolerance=1e-12)
    H = network().ntk(X).transpose(0, 2, 1, 3).reshape(4, 4)
    scale = np.kron(np.eye(2), np.linalg.inv(COVARIANCE) if inverted else np.array(COVARIANCE))
    start = network()(X) - Y
    moved = (scipy.linalg.expm(-time / 2 * H @ scale) @ start.reshape(-1)).reshape(2, 2)
    values = [by_solve, by_training, natural.outputs(X)[0] - Y]
    return Agreement(
        np.array(values), np.array([moved, moved, math.exp(-time) * start]), 1e-8, "tolerance 1e-12 a step"
    )


@claim(
    id="policy.flow",
    statement=r"Flow of the mean divergence, covariance $\Sigma$: linearised network, real network by natural gradient",
    level="precision",
    uses=["policy.divergence", "natural.kernel"],
)
def policies():
    return policy_flow()


@policies.control("the covariance instead of its inverse")
def policy_inverse():
    return policy_flow(inverted=False)
