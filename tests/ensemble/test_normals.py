"""Random numbers: the cipher against jax's and published words, the quantiles against mpmath, their law exactly."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import special, stats

from pdlt._jax import x64
from pdlt.ensemble import normals
from pdlt.errors import PdltError

MOMENTS = {2: 1, 4: 3, 6: 15, 8: 105, 10: 945, 12: 10395}
#: What the docstring of `normal` says: by how much the moments fall short.
SHORT = {2: 3e-10, 4: 9e-9, 6: 1.2e-7, 8: 1.0e-6, 10: 5.8e-6, 12: 2.8e-5}


def blocks(key, count):
    """Return `count` blocks as jax makes them, as first and second words."""
    with x64():
        found = np.asarray(jax.random.bits(key, (count,), "uint64"))
    return (found >> np.uint64(32)).astype(np.uint32), found.astype(np.uint32)


def rearranged(first, second, size):
    """Return words in the order of `normals.words`."""
    quarter = len(first) // 2
    parts = [part for half in (slice(quarter), slice(quarter, None)) for part in (first[half], second[half])]
    return np.concatenate(parts)[:size]


@pytest.mark.parametrize("precision", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1001, 2**17 + 7])
def test_words_are_those_of_jax(size, precision):
    for seed in (0, 1, 2**31 + 5):
        key = jax.random.fold_in(jax.random.key(seed), 7)
        first, second = blocks(key, 2 * -(-size // 4))
        with jax.enable_x64(precision):
            found = np.asarray(jax.jit(normals.words, static_argnums=1)(key, size))
        np.testing.assert_array_equal(found, rearranged(first, second, size))
        # The words that jax.random.normal consumes in single precision: both of a block, by exclusive or.
        np.testing.assert_array_equal(first ^ second, jax.random.bits(key, (len(first),), "uint32"))


def test_words_do_not_depend_on_settings():
    key = jax.random.key(3)
    first, second = blocks(key, 32)
    for partitionable in (False, True):
        with jax.threefry_partitionable(partitionable):
            np.testing.assert_array_equal(normals.words(key, 64), rearranged(first, second, 64))


def test_words_under_transformations():
    keys = jax.random.split(jax.random.key(0), 5)
    alone = np.stack([normals.words(key, 13) for key in keys])
    np.testing.assert_array_equal(jax.vmap(lambda key: normals.words(key, 13))(keys), alone)
    np.testing.assert_array_equal(jax.lax.map(lambda key: normals.words(key, 13), keys), alone)
    values = np.stack([normals.normal(key, (13, 1)) for key in keys])
    for mapped in (jax.vmap, lambda f: lambda keys: jax.lax.map(f, keys)):
        np.testing.assert_allclose(jax.jit(mapped(lambda key: normals.normal(key, (13, 1))))(keys), values, rtol=2e-6)


#: The test vectors of the cipher's authors (file kat_vectors of Random123): key, counter, words.
PUBLISHED = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def enciphered():
    """Return the published counters as enciphered here."""
    found = []
    for key, counter, _ in PUBLISHED:
        (a, b), (x, y) = ((jnp.uint32(word) for word in pair) for pair in (key, counter))
        found.append(tuple(int(word) for word in normals.threefry((a, b), x, y)))
    return found


def test_published_words():
    assert enciphered() == [words for _, _, words in PUBLISHED]


@pytest.mark.parametrize(
    "name, wrong", [("ROTATIONS", ((13, 15, 26, 6), (17, 29, 16, 25))), ("PARITY", 0x1BD11BDB)], ids=["rotation", "key"]
)
def test_planted_errors_in_the_cipher_are_caught(monkeypatch, name, wrong):
    monkeypatch.setattr(normals, name, wrong)
    assert not set(enciphered()) & {words for _, _, words in PUBLISHED}


def positive(count=3000):
    """Return words of numbers above 0, sorted: the extremes, powers of 2 and random ones."""
    rng = np.random.default_rng(0)
    edges = np.concatenate([np.arange(50), 2**31 - 1 - np.arange(50), 2 ** np.arange(31), 2 ** np.arange(1, 32) - 1])
    tails = 2**31 - 1 - (2 ** rng.uniform(0, 31, count)).astype(np.int64)
    return np.unique(np.concatenate([edges, tails, rng.integers(0, 2**31, count)])).astype(np.uint32)


def exact(words):
    """Return the quantiles of 1/2 + (k + 1/2) / 2^32 with 30 digits, rounded to double precision."""
    with mpmath.workdps(30):
        halves = [(mpmath.mpf(int(word)) + mpmath.mpf(1) / 2) / 2**31 for word in words]
        return np.array([float(mpmath.sqrt(2) * mpmath.erfinv(x)) for x in halves])


@pytest.mark.parametrize("precision", [False, True], ids=["float32", "float64"])
def test_quantiles(precision):
    """Limits as documented. Compiled, because compilers join constants, which costs digits if a sum is not exact."""
    words = positive()
    expected = special.ndtri(0.5 - (words + 0.5) / 2.0**32) * -1
    some = slice(None, None, 40)
    # Accuracy of scipy's itself, near 0 and in the tail.
    np.testing.assert_allclose(expected[some], exact(words[some]), rtol=1e-12, atol=1e-15)
    with jax.enable_x64(precision):
        found, mirrored = (np.asarray(jax.jit(normals.quantile)(w), np.float64) for w in (words, ~words))
    assert np.isfinite(found).all() and found.max() < 6.34
    assert np.array_equal(found, -mirrored)
    if precision:
        assert np.abs(found - expected).max() < 2e-11
        assert (np.diff(found) > 0).all()
    else:
        assert (np.abs(found - expected) < 5e-7 * expected + 1e-7).all()


@pytest.mark.parametrize("precision", [False, True], ids=["float32", "float64"])
def test_moments_of_the_law(precision):
    """The docstring's numbers: the tail, 2^18 words from 3.7 on, is summed, the rest is a midpoint rule that is exact.

    Its error is (2^-31)^2 / 24 times the slope of z^p at the cut: below 1e-12 of a moment.
    """
    with jax.enable_x64(precision):
        z = np.asarray(jax.jit(normals.quantile)(np.uint32(2**31 - 2**18) + np.arange(2**18, dtype=np.uint32)), float)
    cut = special.ndtri(1 - 2.0**-14)
    for order, moment in MOMENTS.items():
        tail = moment * special.gammaincc((order + 1) / 2, cut**2 / 2)  # of both tails
        short = (tail - 2 * np.sum(z**order) / 2**32) / moment
        if precision:
            assert short == pytest.approx(SHORT[order], rel=0.1)
        else:  # rounding of the numbers themselves
            assert abs(short - SHORT[order]) < order * 4e-7


@pytest.mark.parametrize("precision", [False, True], ids=["float32", "float64"])
def test_a_sample(precision):
    """A million numbers: moments within 5 standard errors, Kolmogorov-Smirnov, and no correlation of neighbours."""
    with jax.enable_x64(precision):
        z = np.asarray(jax.jit(normals.normal, static_argnums=1)(jax.random.key(5), (2**20,)), np.float64)
    assert z.shape == (2**20,)
    for order, moment in MOMENTS.items():
        if order <= 6:
            error = np.sqrt((special.factorial2(2 * order - 1) - moment**2) / len(z))
            assert abs(np.mean(z**order) - moment) < 5 * error
    assert abs(z.mean()) < 5 / np.sqrt(len(z))
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for lag in (1, 2**18, 2**19):  # neighbours, the two words of a block, blocks in turn
        assert abs(np.mean(z[lag:] * z[:-lag])) < 5 / np.sqrt(len(z) - lag)


def test_a_shifted_law_is_seen():
    """The statistics above have power: a variance that is off by one percent."""
    z = 1.005 * np.asarray(normals.normal(jax.random.key(5), (2**20,)), np.float64)
    assert abs(np.mean(z**2) - 1) > 5 * np.sqrt(2 / len(z))
    assert stats.kstest(z, "norm").pvalue < 1e-3


def test_precision_follows_jax():
    for precision, dtype in ((False, np.float32), (True, np.float64)):
        with jax.enable_x64(precision):
            assert normals.normal(jax.random.key(0), (3, 5)).dtype == dtype
    assert normals.normal(jax.random.key(0), (0, 5)).shape == (0, 5)


def test_bad_arguments():
    with pytest.raises(PdltError, match="threefry2x32"):
        normals.normal(jax.random.key(0, impl="rbg"), (3,))
    with pytest.raises(PdltError, match="threefry2x32"):
        normals.normal(jnp.zeros(2, jnp.uint32), (3,))
    with pytest.raises(PdltError, match="2\\^33"):
        normals.normal(jax.random.key(0), (2**20, 2**14))
