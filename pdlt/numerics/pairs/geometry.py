"""Second moments of pairs of variables, in a form that keeps small angles."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.tree_util.register_dataclass, data_fields=["row", "column", "product", "excess"], meta_fields=[])
@dataclass(frozen=True)
class Pairs:
    """The second moments <f_1 f_2> of all pairs of R and C variables.

    The correlation of nearly parallel variables is 1 - 1e-12, say, of which four digits are left; their angle is the
    root of that, and kernels with kinks are functions of the angle. The excess has all digits, and so it has where
    variables are nearly opposite.

    Attributes:
        row, column: <f^2> of the variables, shapes (R,) and (C,).
        product: <f_1 f_2>, shape (R, C).
        excess: sqrt(<f_1^2> <f_2^2>) - |<f_1 f_2>|, shape (R, C).
    """

    row: jax.Array
    column: jax.Array
    product: jax.Array
    excess: jax.Array

    @property
    def scale(self) -> jax.Array:
        """sqrt(<f_1^2> <f_2^2>), shape (R, C)."""
        return jnp.sqrt(self.row)[:, None] * jnp.sqrt(self.column)[None, :]

    @property
    def gap(self) -> jax.Array:
        """sqrt(<f_1^2>) - sqrt(<f_2^2>), shape (R, C), by the difference of squares, so that roots do not cancel."""
        total = jnp.sqrt(self.row)[:, None] + jnp.sqrt(self.column)[None, :]
        return (self.row[:, None] - self.column[None, :]) / jnp.where(total > 0, total, 1.0)

    @property
    def nearness(self) -> jax.Array:
        """1 - |rho| with rho the correlation, shape (R, C), between 0 and 1; 1 where a variable vanishes."""
        scale = self.scale
        return jnp.where(scale > 0, jnp.clip(self.excess / jnp.where(scale > 0, scale, 1.0), 0.0, 1.0), 1.0)

    def affine(self, constant: jax.Array, weight: jax.Array) -> "Pairs":
        """Return the pairs with the moments constant + weight <f_1 f_2>, both numbers not negative.

        With s the scale and g the gap, the product of the new variances is (constant + weight s)^2 + constant weight
        g^2, so that nothing of the size of the moments has to be subtracted but where the sign changes.
        """
        row, column = constant + weight * self.row, constant + weight * self.column
        product = constant + weight * self.product
        new = Pairs(row, column, product, jnp.zeros_like(product)).scale
        old, moved = weight * self.scale, constant * weight * self.gap**2
        same = self.product >= 0
        above = jnp.where(same, moved, moved + constant * (constant + 2 * old))
        total = new + old + jnp.where(same, constant, 0.0)
        opened = above / jnp.where(total > 0, total, 1.0) + jnp.where(same, 0.0, constant)
        kept = same | (product < 0)
        return Pairs(row, column, product, jnp.where(kept, weight * self.excess + opened, new - product))
