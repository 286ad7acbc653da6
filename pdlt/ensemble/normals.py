"""Standard normal random numbers, made quickly where weights and noise are most of the work.

Words come from jax's own cipher, Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", 2011), keyed and counted as jax does it, so they are jax's words bit for bit. Two things make them cheaper
than `jax.random.normal` on CPUs: the rounds are written out, where jax's are a loop over arrays, and both words of a
block are used. A word then becomes a normal by the inverse distribution function, in a form without branches or
library calls, which compilers turn into vector instructions.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.errors import PdltError

Array = Any

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA

#: z / |x| as a ratio of polynomials in v = -log2(1 - x^2), for 0 <= v <= 31, where x = 2 u - 1; minimax in the
#: relative error, which is 1.1e-7 and 3.5e-12. All coefficients are positive: nothing cancels.
QUANTILE: dict[int, tuple[tuple[float, ...], tuple[float, ...]]] = {
    32: (
        (1.253314276634927, 0.3135967606641548, 0.0431636764546685, 0.00395521169086307, 2.307424946977964e-4,
         4.685474477281838e-6),
        (1.0, 0.06875042684634641, 0.015697330437403456, 7.594676474632574e-4, 3.919196928719467e-5,
         1.613043049238447e-7),
    ),
    64: (
        (1.2533141373163612, 0.39138318585987725, 0.06935980667908014, 0.008739912886802875, 8.207658713254754e-4,
         5.889137974027541e-5, 3.279056785266612e-6, 1.441495101243241e-7, 5.094212405352162e-9,
         3.213575557363946e-11),
        (1.0, 0.13081309385067522, 0.025341772784170137, 0.0024332071311630224, 2.027969735841123e-4,
         1.3138826782258084e-5, 5.878352932988168e-7, 2.7158876013984317e-8, 4.583755975951109e-10,
         7.040065506121203e-13),
    ),
}  # fmt: skip
#: 2 artanh(s) / (s log 2) as a polynomial in s^2, for |s| <= 0.172; the error in log2 is 6e-8 and 1.4e-14.
LOGARITHM: dict[int, tuple[float, ...]] = {
    32: (2.8853904239485595, 0.9615884043035663, 0.5957780604015174),
    64: (2.8853900817778495, 0.9617966941134151, 0.5770779423650989, 0.4122092514116261, 0.31990575735991333,
         0.28289911514568644),
}  # fmt: skip


def normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Return independent standard normal numbers of jax's default precision (double where x64 is enabled).

    A number is the `quantile` of one word: there are 2^32 values of equal probability, symmetric, |z| <= 6.338, and
    6e-10 apart near 0. Odd moments vanish. Those of order 2, 4, ... 12 are relatively smaller than of the normal law
    by 3e-10, 9e-9, 1.2e-7, 1.0e-6, 5.8e-6 and 2.8e-5 (sums over all words; in single precision 4e-8, 8e-8, 2.3e-7,
    1.1e-6, 6.0e-6 and 2.8e-5). To see that takes a sample of more than 10^12: the standard error of the twelfth moment
    of 10^10 numbers is 5e-4.

    Args:
        key: a typed jax key of the kind threefry2x32, the default.
        shape: of the result.

    Raises:
        PdltError: for another kind of key, or more than 2^33 numbers.
    """
    size = math.prod(shape)
    stored = _blocks(key, size)

    def quarter(_: None, k: Array) -> tuple[None, Array]:
        pair = jax.lax.dynamic_index_in_dim(stored, k >> 1, keepdims=False)
        return None, quantile(jax.lax.bitcast_convert_type(jnp.where(k & 1, pair.imag, pair.real), jnp.uint32))

    # A loop again: consumers would compute the quantile of a number anew wherever it occurs.
    _, quarters = jax.lax.scan(quarter, None, jnp.arange(4, dtype=jnp.int32))
    return quarters.reshape(-1)[:size].reshape(shape)


def words(key: Array, size: int) -> Array:
    """Return the words behind `normal`, in its order.

    With q = size / 4, rounded up, they are the first words of blocks 0 ... q-1, the second words of these, and the same
    of blocks q ... 2q-1. Block k is what `jax.random.bits(key, (2 * q,), "uint64")[k]` consists of, first word high,
    under jax's default setting threefry_partitionable = True, on which this function does not depend.

    Raises:
        PdltError: as `normal`.
    """
    blocks = _blocks(key, size)
    parts = jnp.stack([blocks.real, blocks.imag], axis=1)
    return jax.lax.bitcast_convert_type(parts, jnp.uint32).reshape(-1)[:size]


def _blocks(key: Array, size: int) -> Array:
    """Return blocks with room for `size` words, each as the real and imaginary part of a number, in two halves."""
    if size > 2**33:
        raise PdltError(f"Argument `shape` must be of at most 2^33 numbers, but got {size}.")
    pair, half = _pair(key), -(-size // 4)

    # A loop, because a program without one is compiled into two that each make both words, for one of them. What
    # leaves a loop is stored, here as one array: complex numbers are the pairs of 32 bits that jax has.
    def part(_: None, start: Array) -> tuple[None, Array]:
        block = threefry(pair, jnp.uint32(0), start + jax.lax.iota(jnp.uint32, half))
        return None, jax.lax.complex(*(jax.lax.bitcast_convert_type(word, jnp.float32) for word in block))

    return jax.lax.scan(part, None, jnp.asarray([0, half], jnp.uint32))[1]


def threefry(key: tuple[Array, Array], x: Array, y: Array) -> tuple[Array, Array]:
    """Return the block (x, y) enciphered by Threefry-2x32 with 20 rounds; all are 32-bit words."""
    keys = (*key, key[0] ^ key[1] ^ jnp.uint32(PARITY))
    x, y = x + keys[0], y + keys[1]
    for k in range(5):
        for rotation in ROTATIONS[k % 2]:
            x = x + y
            y = x ^ (y << jnp.uint32(rotation) | y >> jnp.uint32(32 - rotation))
        x, y = x + keys[(k + 1) % 3], y + keys[(k + 2) % 3] + jnp.uint32(k + 1)
    return x, y


def quantile(word: Array) -> Array:
    """Return the z with normal distribution function u = 1/2 + (k + 1/2) / 2^32, for k the word read as signed.

    In double precision |error| < 2e-11, in single precision 5e-7 |z| + 1e-7. It is finite, and odd under u -> 1 - u.
    """
    dtype = jnp.zeros(()).dtype
    signed = jax.lax.bitcast_convert_type(word, jnp.int32)
    magnitude = signed ^ (signed >> 31)  # k or -1 - k
    # From an integer, so that the tails keep their relative accuracy: 1 - |x| for x = 2 u - 1.
    rest = ((np.int32(2**31 - 1) - magnitude).astype(dtype) + 0.5) * 2.0**-31
    v = -_log2(rest * (2 - rest))
    numerator, denominator = QUANTILE[8 * dtype.itemsize]
    return jnp.where(signed < 0, rest - 1, 1 - rest) * (_polynomial(numerator, v) / _polynomial(denominator, v))


def _log2(y: Array) -> Array:
    """Return the logarithm to base 2 of positive normal numbers, from their representation."""
    dtype, digits = y.dtype, jnp.finfo(y.dtype).nmant
    word = np.dtype(f"uint{8 * dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(y, word)
    exponent = (bits >> word.type(digits)).astype(jnp.int32).astype(dtype)
    # The mantissa, with the exponent of 1: in [1, 2).
    m = jax.lax.bitcast_convert_type(bits & word.type(2**digits - 1) | np.ones((), dtype).view(word), dtype)
    s = (m - math.sqrt(2)) / (m + math.sqrt(2))
    return exponent - (jnp.finfo(dtype).maxexp - 1.5) + s * _polynomial(LOGARITHM[8 * dtype.itemsize], s * s)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _pair(key: Array) -> tuple[Array, Array]:
    """Return the two words of a key."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or str(jax.random.key_impl(key)) != "threefry2x32":
        raise PdltError(f"Argument `key` must be a jax key of the kind threefry2x32, but got one of type {key.dtype}.")
    data = jax.random.key_data(key)
    return data[0], data[1]
