# %% [markdown]
# # 12. How far the tangent kernel moves when a network learns
#
# **What is derived.** The mean change of the tangent kernel $H$ while gradient flow fits one training point, for one
# output: of order $1/n$ for smooth activations, of order $n^{-1/2}$ for kinked ones. Both are compared with networks
# that were really trained.
#
# ## Step 1: one datum, one curve
# The loss $\frac12(z-y)^2$ gives $\theta_\mu'=-\lambda_\mu\,\partial_\mu z\,(z-y)$. With $e=z-y$,
# $$z'=-H\,e, \qquad H'=-2\,dH\,e, \qquad dH'=-(dd_IH+2\,dd_{II}H)\,e .$$
# The factor $e$ only sets the speed: the network moves along the curve
# $d\theta_\mu/dz=\lambda_\mu\partial_\mu z/H$ from $z(0)$ to $y$, on which the kernel has the derivative
# $2\,dH/H$ ($dH$: the dNTK). To second order in $y-z(0)=-e_0$, and to leading order in $1/n$,
# $$H(\infty)-H(0)=-\frac{2\,dH\,e_0}{H}+\frac{(dd_IH+2\,dd_{II}H)\,e_0^2}{H^2} .$$
# Integrating the three equations in time with $e=e_0e^{-\Theta t}$ gives the same.

# %%
import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import sympy

import pdlt
from pdlt._jax import x64
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.predict.feature_learning import kinked_change, smooth_change


def change_in_time(double=2):
    t, u, e, rate, first, second = sympy.symbols("t u e_0 Theta dH dd", positive=True)
    error = e * sympy.exp(-rate * t)
    moved = first - sympy.integrate(second * error.subs(t, u), (u, 0, t))
    change = -double * sympy.integrate(sympy.expand(moved * error), (t, 0, sympy.oo))
    return Identity(sympy.expand(change), -2 * first * e / rate + second * e**2 / rate**2)


@claim(
    id="features.one-datum",
    statement=r"$H(\infty)-H(0)=-2\,dH\,e_0/\Theta+(dd_IH+2dd_{II}H)e_0^2/\Theta^2$ from integration in time",
    level="symbolic",
)
def one_datum():
    return change_in_time()


@one_datum.control("H' = -dH e: one of the two factors of H differentiated")
def one_factor():
    return change_in_time(double=1)


# %% [markdown]
# ## Step 2: the mean over initialisations
# With one input and one output all indices are equal and every pairing contributes (file 6):
# $\mathbb E[dH\,z]=(P+2Q)/n$, $\mathbb E[dd_IH]=3R/n$, $\mathbb E[dd_{II}H]=(S+T+U)/n$, while $\mathbb E[dH]=0$ because
# $dH$ is odd in the last layer. With $\mathbb E[e_0^2]=K+y^2$,
# $$\frac{\mathbb E[H(\infty)-H(0)]}\Theta=\frac1n\Big\{-\frac{2(P+2Q)}{\Theta^2}
# +\frac{[3R+2(S+T+U)](K+y^2)}{\Theta^3}\Big\}+O(n^{-2}).$$
# The fluctuation of $H$ itself enters at order $n^{-2}$ only. The two terms have opposite signs in general, and so
# have $R$ and $S+T+U$: the sum is small compared with its parts, and what is left out is larger than
# the coupling $V/(nK^2)$ suggests. `pdlt.advise` therefore quotes (value) times (sum of the parts' sizes) as its error.
#
# The tests below train ensembles exactly: on the curve of step 1 a few Runge-Kutta steps lead from $z(0)$ to $y$. The
# labels $y$ and $-y$ are both fitted, which removes the noise that is odd in $y$.


# %%
@cache
def trained(name, depth, width, networks, scales, square, label, steps, seed):
    """Return H(infinity) - H(0) of `networks` networks, the mean of fitting the labels +y and -y.

    Runge-Kutta steps of fourth order for smooth activations, Euler steps for kinked ones.
    """
    sigma = pdlt.activation(name)
    smooth, act = sigma.slopes is None, sigma.jax(0)
    C_b, C_W, lambda_b, lambda_W = scales
    shapes = list(zip([width] * (depth - 1) + [1], [1] + [width] * (depth - 1), strict=True))

    def output(parameters):
        signal = jnp.array([math.sqrt(square)])
        for layer, (b, W) in enumerate(parameters):
            z = b + W @ (act(signal) if layer else signal)
            signal = z
        return z[0]

    def kernel(parameters):
        z, gradient = jax.value_and_grad(output)(parameters)
        moves = [(lambda_b * b, lambda_W / fan * W) for (b, W), (_, fan) in zip(gradient, shapes, strict=True)]
        pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(moves), strict=True)
        return z, sum((one * two).sum() for one, two in pairs), moves

    def train(start, target):
        z_0, H_0, _ = kernel(start)

        def velocity(parameters):
            _, H, moves = kernel(parameters)
            return jax.tree.map(lambda move: (target - z_0) / H * move, moves)

        def add(parameters, slope, size):
            return jax.tree.map(lambda p, v: p + size * v, parameters, slope)

        def advance(parameters, _):
            one = velocity(parameters)
            if not smooth:
                return add(parameters, one, 1 / steps), None
            two = velocity(add(parameters, one, 0.5 / steps))
            three = velocity(add(parameters, two, 0.5 / steps))
            four = velocity(add(parameters, three, 1 / steps))
            mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, one, two, three, four)
            return add(parameters, mean, 1 / steps), None

        end, _ = jax.lax.scan(advance, start, None, length=steps)
        return kernel(end)[1] - H_0

    def network(key):
        keys = jax.random.split(key, 2 * depth)
        start = [
            (
                math.sqrt(C_b) * jax.random.normal(keys[2 * layer], (rows,)),
                math.sqrt(C_W / columns) * jax.random.normal(keys[2 * layer + 1], (rows, columns)),
            )
            for layer, (rows, columns) in enumerate(shapes)
        ]
        return (train(start, label) + train(start, -label)) / 2

    batch = 500
    with x64():
        run = jax.jit(jax.vmap(network))
        keys = jax.random.split(jax.random.PRNGKey(seed), networks)
        return np.concatenate([np.asarray(run(keys[i : i + batch])) for i in range(0, networks, batch)])


def extrapolated(series, weights):
    """Return the weighted sum of means and its standard error."""
    means = [samples.mean() for samples in series]
    errors = [samples.std() / math.sqrt(len(samples)) for samples in series]
    return np.dot(weights, means), math.sqrt(np.dot(np.square(weights), np.square(errors)))


# %% [markdown]
# Tanh networks of depth 3 at widths 16, 32 and 64, combined so that the next two orders in $1/n$ cancel,
# $[8X(4n)-6X(2n)+X(n)]/3$. At width 16 the change is half of what order $1/n$ says.

# %%
SCALES, SQUARE, SEED = (0.3, 1.4, 0.7, 1.1), 0.8, 121


def smooth_prediction(ddntk_two=2):
    C_b, C_W, lambda_b, lambda_W = SCALES
    net = pdlt.MLP(3, 64, "tanh", C_b, C_W, lambda_b, lambda_W)
    prediction = pdlt.predict(net, [[math.sqrt(SQUARE)]]).isel(layer=-1)
    K, Theta, P, Q, R, S, T, U = (float(prediction[name].values.item()) for name in ("K", "Theta", *"PQRSTU"))
    label = math.sqrt(K)
    change = -2 * (P + 2 * Q) / Theta**2 + (3 * R + ddntk_two * (S + T + U)) * (K + label**2) / Theta**3
    return change, Theta, label


def smooth(ddntk_two=2):
    change, Theta, label = smooth_prediction(ddntk_two)
    counts = {16: 8_000, 32: 8_000, 64: 8_000}
    runs = [
        width * trained("tanh", 3, width, networks, SCALES, SQUARE, label, 3, SEED) / Theta
        for width, networks in counts.items()
    ]
    measured, stderr = extrapolated(runs, [1 / 3, -2, 8 / 3])
    return Scores([change], [measured], [stderr], z_max=4, seed=SEED)


@claim(
    id="features.smooth",
    statement=r"The mean relative change of the NTK of trained tanh networks, times $n$",
    level="ensemble",
    uses=["features.one-datum", "P.recursion", "Q.recursion", "R.recursion", "S.recursion", "T.recursion",
          "U.recursion"],
)  # fmt: skip
def features_smooth():
    return smooth()


@features_smooth.control("S + T + U once instead of twice: one of the two index orders of ddII forgotten")
def features_once():
    return smooth(ddntk_two=1)


@claim(
    id="features.formula",
    statement="`pdlt.predict.feature_learning.smooth_change` is this formula at $y^2=K$",
    level="precision",
    uses=["features.smooth"],
)
def features_formula():
    return package_formula()


def package_formula(**planted):
    C_b, C_W, lambda_b, lambda_W = SCALES
    prediction = pdlt.predict(pdlt.MLP(3, 64, "tanh", C_b, C_W, lambda_b, lambda_W), [[math.sqrt(SQUARE)]])
    tensors = {name: prediction[name].values.reshape(3) for name in ("K", "Theta", *"PQRSTU")}
    value = smooth_change(tensors).value[-1]
    return Agreement([value], [smooth_prediction(**planted)[0]], 1e-12, "the same arithmetic in another order")


@features_formula.control("S + T + U once")
def formula_once():
    return package_formula(ddntk_two=1)


# %% [markdown]
# ## Step 3: kinks
# For a kinked activation $3R+2(S+T+U)$ contains $3\langle\sigma'''\sigma'^3\rangle+6\langle\sigma''^2\sigma'^2\rangle
# =-3\langle\sigma''^2\sigma'^2\rangle+3\langle(\sigma''\sigma'^3)'\rangle$, the square of a Dirac atom: minus infinity.
# It says that the change is larger than $1/n$, and negative. Indeed a unit moves by $\delta z=O(n^{-1/2})$, a fraction
# $O(n^{-1/2})$ of all units is that close to the kink, and each that crosses changes the kernel at once.
#
# Take unit $j$ of layer $\ell$, with slope $a_+$ above and $a_-$ below the kink. Let $\tilde\delta$ be the
# derivative of the output with respect to $\sigma(z_j)$; it has variance $C_W/n$ at criticality. With time such
# that $z'=H$, the unit moves with velocity $v=\Theta_\ell\,\sigma'\tilde\delta+c$: the first part through its own
# parameters, and $c$ because the layer before moves,
# $c=\sum_iW_{ji}\sigma'_iv_i$ without the part that comes back through $W_{ji}$. So $c$ is Gaussian, independent of
# $u=\Theta_\ell\tilde\delta$, with $\mathrm{Var}\,c_{\ell+1}=C_W\langle\sigma'^2v^2\rangle_\ell=C_W^2A_4\Theta_\ell^2/n
# +\mathrm{Var}\,c_\ell$:
# $$n\,\mathrm{Var}\,u=\frac{\Theta_\ell^2}{A_2}, \qquad
# n\,\mathrm{Var}\,c=\frac{A_4}{A_2^2}\sum_{m<\ell}\Theta_m^2, \qquad v_\pm=a_\pm u+c .$$
# The unit's part of $H$ is $\Theta_\ell\,\sigma'^2\tilde\delta^2+2\sigma'\tilde\delta c$, so crossing changes $H$ by
# $\pm(v_+^2-v_-^2)/\Theta_\ell$; the outgoing weights do not matter where $\sigma=0$. Units cross downwards at a
# rate $|v_+|/\sqrt{2\pi K}$ if $v_\pm<0$, upwards at $|v_-|/\sqrt{2\pi K}$ if $v_\pm>0$; if $v_+<0<v_-$ they arrive
# from both sides and slide along the kink, with fractions of time on either side that make the mean velocity vanish; if
# $v_-<0<v_+$ they leave. With $u,c\to-u,-c$ equally likely, the average is the same expression in all cases. The time
# it takes is $|z-y|/\Theta_L$:
# $$\mathbb E[H(\infty)-H(0)]=-\frac{\mathbb E|z-y|}{2\sqrt{2\pi K}\,\Theta_L}\sum_{\ell<L}\frac n{\Theta_\ell}\,
# \mathbb E\big[(|v_+|-|v_-|)^2(|v_+|+|v_-|)\big]=O(n^{-1/2}).$$
# It is never positive, zero for one hidden layer of $|z|$, and no order of the expansion in $1/n$ contains it. For one
# hidden layer of ReLU it is $-n^{-1/2}\,\Theta_1^2C_W^{3/2}\,\mathbb E|z-y|/(\pi\sqrt K\,\Theta)$. At large depth
# the relative change grows like $L^{3/2}n^{-1/2}$, which is not a function of $L/n$.


# %%
def gaussian_cubes(above, below, own, earlier):
    """Return E[(|v_+| - |v_-|)^2 (|v_+| + |v_-|)] by the trapezoidal rule in the angle, per kink of the integrand."""
    kinks = sorted(math.atan2(-a * math.sqrt(own), math.sqrt(earlier)) % math.pi for a in (above, below))
    edges = [kinks[0], kinks[1], kinks[0] + math.pi]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        angle = (low + high) / 2 + (high - low) / 2 * nodes
        u, c = math.sqrt(own) * np.cos(angle), math.sqrt(earlier) * np.sin(angle)
        plus, minus = np.abs(above * u + c), np.abs(below * u + c)
        total += (high - low) / 2 * weights @ ((plus - minus) ** 2 * (plus + minus))
    # The radius of two Gaussians has E r^3 = 3 sqrt(pi/2); the integrand is even, so half the circle counts twice.
    return total / math.pi * 3 * math.sqrt(math.pi / 2)


def kinked_by_hand(above, below, Theta, lower_layers=1.0):
    A_2, A_4 = (above**2 + below**2) / 2, (above**4 + below**4) / 2
    distance = math.sqrt(2 / math.pi) * math.exp(-0.5) + math.erf(math.sqrt(0.5))  # E|z - y| / sqrt(K) at y^2 = K
    total = 0.0
    for layer in range(len(Theta) - 1):
        earlier = lower_layers * A_4 / A_2**2 * sum(value**2 for value in Theta[:layer])
        total += gaussian_cubes(above, below, Theta[layer] ** 2 / A_2, earlier) / Theta[layer]
    return -distance / (2 * math.sqrt(2 * math.pi)) * total / Theta[-1] ** 2


def kinked_formula(**planted):
    Theta = [1.0, 2.2, 3.0, 4.5]
    cases = {"relu": (1.0, 0.0), "leaky_relu(0.2)": (1.0, 0.2), "abs": (1.0, -1.0)}
    values = [kinked_change(pdlt.activation(name), np.array(Theta)).value[-1] for name in cases]
    witness = [kinked_by_hand(*slopes, Theta, **planted) for slopes in cases.values()]
    return Agreement(values, witness, 1e-12, "closed form of Gaussian moments against Gauss-Legendre in the angle")


@claim(
    id="features.kinked-formula",
    statement="`pdlt.predict.feature_learning.kinked_change` is the formula of step 3 at $y^2=K$",
    level="precision",
)
def features_kinked_formula():
    return kinked_formula()


@features_kinked_formula.control("the velocity that comes from the layers before left out")
def own_velocity_only():
    return kinked_formula(lower_layers=1e-12)


# %% [markdown]
# Trained networks of depth 3 at widths 32 and 128, combined as $2X(128)-X(32)$ with
# $X=n^{1/2}\,\mathbb E[\Delta H]/\Theta$, so that the next order, $n^{-1}$, cancels. For ReLU nearly everything comes
# from the units' own velocity; for $|z|$ nothing does, and all of the change is due to $c$ and to sliding units.

# %%
STEPS = 60


def kinked(own_only=False, power=0.5):
    Theta = 1.8 * np.arange(1.0, 4.0)  # lambda_b + lambda_W A_2 K per layer at K = 1
    measured, prediction = [], []
    for name, slopes, A_2 in (("relu", (1.0, 0.0), 0.5), ("abs", (1.0, -1.0), 1.0)):
        prediction.append(kinked_by_hand(*slopes, list(Theta), lower_layers=1e-12 if own_only else 1.0))
        scales = (0.0, 1 / A_2, 0.7, 1.1 / A_2)
        runs = [
            width**power * trained(name, 3, width, networks, scales, A_2, 1.0, STEPS, SEED) / Theta[-1]
            for width, networks in {32: 4_000, 128: 1_000}.items()
        ]
        measured.append(extrapolated(runs, [-1, 2]))
    values, errors = zip(*measured, strict=True)
    return Scores(prediction, values, errors, z_max=4, seed=SEED)


@claim(
    id="features.kinked",
    statement=r"The mean relative change of the NTK of trained ReLU and $|z|$ networks, times $n^{1/2}$",
    level="ensemble",
    uses=["features.kinked-formula"],
)
def features_kinked():
    return kinked()


@features_kinked.control("the velocity that comes from the layers before left out")
def features_own():
    return kinked(own_only=True)


@features_kinked.control("scaled with n, as if the change were of order 1/n")
def features_order_one():
    return kinked(power=1.0)
