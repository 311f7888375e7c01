"""The kernel of normal rows with missing entries that are integrated out: for exact expectations alone."""

import math
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families.kernels.gaussian import GaussianNatural
from jaxem.families.kernels.wrapped import AbstractWrappedKernel
from jaxem.kernels import gaps, linalg
from jaxem.kernels.gaps import Blocks


@final
class ObservedKernel(AbstractWrappedKernel):
    """What `base`, the kernel in which they are hidden variables, gives once these have been integrated out.

    Natural parameters and statistics are those of `base`. Potentials are the log densities of what is there, no longer
    linear; their derivative gives the statistics.

    Independent columns are a matrix product, with an indicator of each missing entry as a statistic. Others are forms
    (see `jaxem.kernels.gaps`), worked out once for each of the `layout`'s blocks of rows.
    """

    family: Any
    base: Any
    layout: Blocks | None = eqx.field(static=True, default=None)

    @property
    def latent(self):
        return None

    @property
    def product_form(self) -> bool:
        return self.base.separate

    def prepare(self, natural: GaussianNatural) -> Any:
        return super().prepare(natural) if self.product_form else self._forms(natural)

    def potentials(self, natural: Any, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        if self.product_form:
            return super().potentials(natural, x)
        forms = self._forms(natural) if isinstance(natural, GaussianNatural) else natural
        y, missing, known = self._rows(x)
        return jnp.where(known[None], gaps.log_density(forms, y, missing, self.layout), 0)

    def _forms(self, natural: GaussianNatural) -> Float[Array, "k p p"]:
        constant, edge = (natural.log_det + natural.offset)[:, None, None], natural.linear[:, None] / 2
        below = jnp.concatenate([linalg.transpose(edge), self.base.spread(natural)], 2)
        return jnp.concatenate([jnp.concatenate([constant, edge], 2), below], 1)

    def coefficients(self, natural: GaussianNatural) -> Float[Array, "k p"]:
        constant, quadratic = (natural.log_det + natural.offset)[:, None], self.base.spread(natural)
        missing = -(natural.linear**2) / (4 * quadratic) - jnp.log(-2 * quadratic) / 2 + math.log(2 * math.pi) / 2
        return jnp.concatenate([constant, natural.linear, quadratic, missing], 1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        y, missing, known = self._rows(x)
        return jnp.concatenate([known[None], y.T, (y**2).T, (missing & known[:, None]).T], 0, dtype=y.dtype)

    def _rows(self, x: Float[Array, "n d"]) -> tuple[Array, Array, Array]:
        """Rows in the coordinates of the loop, 0 where entries are missing; which are; and which rows have any."""
        missing = jnp.isnan(x)
        known = ~jnp.all(missing, 1)
        frame = self.base.base.frame
        y = jnp.where(missing, 0, self.base.base.framed(jnp.where(missing, frame.shift[None], x)))
        return y, missing, known

    def log_base(self, x):
        return self.base.log_base(x)

    def from_points(self, points, x, weights):
        return self.base.from_points(points, x, weights)

    def embed(self, x, weights=None):
        return self.base.embed(x, weights)

    def floats_per_row(self, params):
        return self.base.floats_per_row(params)
