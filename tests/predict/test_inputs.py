"""Which inputs may be given, and how: one or many, in any order, equal, proportional, zero."""

import itertools
import warnings

import numpy as np
import pytest

import pdlt
from pdlt.predict import AccuracyWarning

NET = pdlt.MLP(3, (20, 30), "tanh", C_b=0.2, C_W=1.3, lambda_b=0.4, lambda_W=0.9)
RELU = pdlt.MLP(4, (40, 30, 20), "relu", C_W=2.0)
X = np.array([[0.9, -0.4, 1.1], [0.2, 0.7, -0.5], [-0.6, 0.1, 0.3]])
V = X[0]
SMOOTH = ["K", "Theta", "V", "D", "F", "A", "B", "P", "Q"]


def axes(array: np.ndarray, index: np.ndarray | list[int]) -> np.ndarray:
    """Return the array (layer first) with every input axis indexed."""
    return array[np.ix_(range(len(array)), *[index] * (array.ndim - 1))]


@pytest.fixture(scope="module")
def pair():
    return pdlt.predict(NET, X[:2])


def test_dimensions_and_coordinates(pair) -> None:
    assert pair["K"].dims == ("layer", "alpha_1", "alpha_2")
    assert pair["V"].dims == ("layer", "alpha_1", "alpha_2", "alpha_3", "alpha_4")
    assert pair["V"].shape == (3, 2, 2, 2, 2)
    assert pair["layer"].values.tolist() == [1, 2, 3]
    assert list(pair) == ["K", "K_1", "Theta", "Theta_1", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U"]
    assert pair["V"].attrs["order"] == 0 and pair["K_1"].attrs["order"] == 1
    assert 0 <= pair["V"].attrs["relative_error"] < 1e-8


def test_first_layer(pair) -> None:
    """Layer 1 is exactly Gaussian: K and Theta are the Gram matrix, everything else vanishes."""
    gram = X[:2] @ X[:2].T / 3
    np.testing.assert_allclose(pair["K"].sel(layer=1), 0.2 + 1.3 * gram, rtol=1e-15)
    np.testing.assert_allclose(pair["Theta"].sel(layer=1), 0.4 + 0.9 * gram, rtol=1e-15)
    for name in set(pair) - {"K", "Theta"}:
        assert not pair[name].sel(layer=1).values.any()


def test_one_input_is_the_diagonal_of_two(pair) -> None:
    """The fast path for one input against the general one: two programs, two grids."""
    single = pdlt.predict(NET, X[:1])
    for name in pair:
        found, size = axes(pair[name].values, [0]), np.abs(single[name].values).max()
        np.testing.assert_allclose(found, single[name].values, atol=1e-9 * max(size, 1e-3), err_msg=name)


def test_order_of_inputs(pair) -> None:
    """Exchanging the inputs exchanges the entries of every axis."""
    swapped = pdlt.predict(NET, X[1::-1])
    for name in pair:
        np.testing.assert_allclose(axes(swapped[name].values, [1, 0]), pair[name].values, rtol=1e-10, atol=1e-12)
    # Sibling: the entries do differ, so an exchange of nothing would be seen.
    assert any(np.abs(swapped[n].values - pair[n].values).max() > 1e-2 for n in pair)


@pytest.mark.parametrize("inputs", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_pairs_do_not_see_other_inputs(pair, inputs: int) -> None:
    """A sub-block of the prediction for more inputs; in four dimensions the grid reaches 1e-3, and says so."""
    x = np.concatenate([X, [[0.5, 0.5, -0.2]]])[:inputs]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        more = pdlt.predict(NET, x)
    for name in pair:
        found, expected = axes(more[name].values, [0, 1]), pair[name].values
        bound = max(3 * more[name].attrs["relative_error"], 1e-9) * np.abs(more[name].values).max()
        assert np.abs(found - expected).max() <= bound, name
    assert bool(caught) == (more.attrs["rtol_reached"] == 0)
    if caught:
        assert "estimated relative errors" in str(caught[0].message)


def test_many_inputs_of_an_activation_in_closed_form() -> None:
    """sin has closed forms for any number of inputs; sub-blocks are exact to rounding."""
    net = pdlt.MLP(3, 20, "sin", C_b=0.1, C_W=1.2)
    x = np.random.default_rng(3).normal(size=(5, 4))
    five, two = pdlt.predict(net, x, SMOOTH), pdlt.predict(net, x[[1, 3]], SMOOTH)
    for name in SMOOTH:
        np.testing.assert_allclose(axes(five[name].values, [1, 3]), two[name].values, rtol=1e-11, atol=1e-13)


def test_equal_inputs(pair) -> None:
    """Duplicated rows: a singular kernel, and every entry equals that of the distinct inputs."""
    repeated = pdlt.predict(NET, X[[1, 0, 1]])
    for name in pair:
        assert np.array_equal(repeated[name].values, axes(pair[name].values, [1, 0, 1]))
    alone = pdlt.predict(NET, X[[0, 0]])
    single = pdlt.predict(NET, X[:1])
    for name in single:
        assert (alone[name].values == single[name].values.reshape(-1, *[1] * (single[name].ndim - 1))).all()


@pytest.mark.parametrize("distance", [1e-4, 1e-9, 1e-13])
def test_nearly_equal_inputs(distance: float) -> None:
    """The kernel of almost equal inputs is almost singular; results tend to those of equal inputs."""
    near = pdlt.predict(NET, np.stack([V, V * (1 + distance)]))
    single = pdlt.predict(NET, V[None])
    for name in single:
        value = single[name].values.reshape(-1, *[1] * (near[name].ndim - 1))
        size = max(np.abs(value).max(), 1e-3)
        assert np.abs(near[name].values - value).max() <= (30 * distance + 1e-9) * size, name


def homogeneous(single: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return what inputs scales * x have if every slot is homogeneous of degree one in its input."""
    factor = np.ones(())
    for _ in range(single.ndim - 1):
        factor = np.multiply.outer(factor, scales)
    return single * factor


@pytest.mark.parametrize("kinks", ["atoms", "pointwise"])
def test_proportional_inputs_of_relu(kinks: str) -> None:
    """x and 2x without biases: rho = 1 exactly, conditional variances vanish, and every tensor scales."""
    single, double = (pdlt.predict(RELU, x, SMOOTH, kinks=kinks) for x in (V[None], np.stack([V, 2 * V])))
    for name in single:
        expected = homogeneous(single[name].values, np.array([1.0, 2.0]))
        np.testing.assert_allclose(double[name].values, expected, rtol=1e-12, atol=1e-11, err_msg=name)


def test_nearly_proportional_inputs_of_relu() -> None:
    """Rounding is not amplified from layer to layer: the distance to the limit is linear in the angle."""
    limit = pdlt.predict(RELU, np.stack([V, 2 * V]), SMOOTH)
    for angle in (1e-2, 1e-4, 1e-5):
        near = pdlt.predict(RELU, np.stack([V, 2 * V + angle * X[1]]), SMOOTH)
        for name in ("K", "Theta", "V", "F", "B", "D", "A", "Q"):
            distance = np.abs(near[name] - limit[name]).max() / np.abs(limit[name]).max()
            assert 0.2 * angle < distance < angle, (name, angle)


def test_opposite_inputs() -> None:
    """x and -x: an odd activation gives the same tensors up to signs; ReLU's never fire together at first."""
    single, both = (pdlt.predict(NET_ODD, x) for x in (V[None], np.stack([V, -V])))
    for name in single:
        expected = homogeneous(single[name].values, np.array([1.0, -1.0]))
        size = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(both[name].values, expected, atol=1e-9 * size, err_msg=name)
    relu = pdlt.predict(RELU, np.stack([V, -V]), ["K", "Theta"])
    assert abs(relu["K"].sel(layer=2).values[0, 1]) < 1e-15


NET_ODD = pdlt.MLP(3, (20, 30), "tanh", C_W=1.3, lambda_W=0.9)


def test_zero_input() -> None:
    """x = 0 without biases: nothing fluctuates there; with tanh, sigma'(0) = 1 makes Theta grow by C_W per layer."""
    prediction = pdlt.predict(pdlt.MLP(3, 20, "tanh", C_W=1.0, lambda_b=0.5), np.stack([V, 0 * V]))
    for name in prediction:
        assert np.isfinite(prediction[name]).all(), name
    np.testing.assert_allclose(prediction["Theta"].values[:, 1, 1], [0.5, 1.0, 1.5], rtol=1e-13)
    assert not prediction["K"].values[:, 1].any()
    assert not prediction["V"].values[:, 1].any()


def test_zero_input_at_a_kink() -> None:
    """relu'(0) = 1/2, the mean of both slopes: Theta' = lambda_b + C_W Theta / 4; sigma'' there has no meaning."""
    net = pdlt.MLP(3, 20, "relu", C_W=2.0, lambda_b=0.5)
    x = np.stack([V, 0 * V])
    with pytest.warns(AccuracyWarning, match=r"P, Q: some entries are undefined \(nan\), because relu has a kink"):
        prediction = pdlt.predict(net, x, SMOOTH)
    np.testing.assert_allclose(prediction["Theta"].values[:, 1, 1], [0.5, 0.75, 0.875], rtol=1e-14)
    np.testing.assert_allclose(prediction["Theta"].values[:, 0, 1], [0.5, 0.75, 0.875], rtol=1e-14)
    pointwise = pdlt.predict(net, x, SMOOTH, kinks="pointwise")
    alone = pdlt.predict(net, V[None], SMOOTH, kinks="pointwise")
    for name in SMOOTH:
        assert np.isfinite(pointwise[name]).all(), name
        np.testing.assert_allclose(axes(pointwise[name].values, [0]), alone[name].values, rtol=1e-12, atol=1e-13)
    assert not pointwise["V"].values[:, 1].any()


def test_zero_input_of_relu_in_real_networks() -> None:
    """What the ensemble measures there, whose derivative at zero is the activation's own: z-scores below 4.5."""
    net = pdlt.MLP(3, 20, "relu", C_W=2.0, lambda_b=0.5)
    x = np.stack([V, 0 * V])
    prediction = pdlt.total(pdlt.predict(net, x, ["Theta"], kinks="pointwise"))["Theta"].values
    run = pdlt.simulate(net, x, ["Theta"], samples=4000, sampler="jets", seed=5)
    spread = run["Theta_stderr"].values
    z = np.abs(run["Theta"].values - prediction) / np.where(spread > 0, spread, 1e-12)
    assert z.max() < 4.5
    assert np.abs(run["Theta"].values - prediction * 1.1)[1:].max() > 0.05


def test_symmetries_of_the_tensors(pair) -> None:
    """V and A are symmetric in each pair of axes and in the pairs; B, F only under both exchanges at once."""
    for name in ("V", "A"):
        array = pair[name].values
        for order in ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)):
            np.testing.assert_allclose(array, array.transpose(0, *(1 + a for a in order)), rtol=1e-12, atol=1e-14)
    for name in ("B", "F"):
        array = pair[name].values
        np.testing.assert_allclose(array, array.transpose(0, 3, 4, 1, 2), rtol=1e-12, atol=1e-14)
    assert np.abs(pair["F"].values - pair["F"].values.transpose(0, 2, 1, 3, 4)).max() > 1e-3


def test_aliases(pair) -> None:
    """A cumulant under another spelling is the same tensor with its axes in the order written."""
    specs = {
        "a1 a2 | 3 4": ("D", (2, 3, 0, 1)),  # D is "1 2 | a3 a4"
        "a3 2 | a4 1": ("F", (1, 3, 0, 2)),  # F is "1 a3 | 2 a4": slots (z, a, z, a)
        "a1 b2 | 3 ab0": ("P", None),
    }
    found = pdlt.predict(NET, X[:2], list(specs))
    np.testing.assert_allclose(found["a1 a2 | 3 4"], pair["D"].values.transpose(0, 3, 4, 1, 2), rtol=1e-11)
    for entry in itertools.product(range(2), repeat=4):
        a3, z2, a4, z1 = entry
        assert found["a3 2 | a4 1"].values[(2, *entry)] == pytest.approx(pair["F"].values[2, z2, a3, z1, a4], rel=1e-9)
        one, two, three, zero = entry
        expected = pair["P"].values[2, zero, one, two, three]
        assert found["a1 b2 | 3 ab0"].values[(2, *entry)] == pytest.approx(expected, rel=1e-9)
    assert np.abs(found["a1 a2 | 3 4"].values - pair["D"].values).max() > 1e-3
