"""The kernel of normal rows with missing entries: that of complete rows, with what is hidden of each."""

import dataclasses
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxem.families.covariance import AbstractVariances
from jaxem.families.kernels.gaussian import GaussianKernel, GaussianNatural, GaussianParams
from jaxem.families.kernels.observed import ObservedKernel
from jaxem.families.kernels.wrapped import AbstractWrappedKernel
from jaxem.kernels import far, linalg
from jaxem.kernels.gaps import Blocks
from jaxem.latent import GaussianPotentials


@final
class IncompleteKernel(AbstractWrappedKernel):
    """Rows whose missing entries are hidden variables, in the coordinates of the kernel `base` of complete rows."""

    family: Any
    base: GaussianKernel
    layout: Blocks | None = eqx.field(static=True, default=None)

    # The map

    def potentials(self, natural: GaussianNatural, x: Float[Array, "n d"]) -> GaussianPotentials:
        potentials, _ = self._expanded(natural, x, True)
        known = ~jnp.all(jnp.isnan(x), -1)

        return jax.tree.map(lambda leaf: jnp.where(jnp.broadcast_to(known, leaf.shape), leaf, 0), potentials)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        missing, frame, base = jnp.isnan(x), self.base.frame, self.base.log_constant(x)
        if frame is not None:
            # Missing entries are integrated over in the coordinates of the loop.
            base = base + jnp.sum(jnp.where(missing, jnp.log(frame.scale)[None], 0), -1)
        if self.base.anchor is not None:
            distant = self._brought_near(self._completed(x)[1])[1]
            base = base if distant is None else jnp.where(distant, -jnp.inf, base)
        return jnp.where(jnp.all(missing, -1), 0, base)

    def _expanded(self, natural: GaussianNatural, x: Array, near: bool = False) -> tuple[GaussianPotentials, Array]:
        """Potentials of the missing entries less an origin, and rows completed by the origin, `[k or 1, d, n]`.

        Both in the coordinates of the loop. With `near`, potentials are those of rows that are not too far away.
        """
        missing, base = jnp.isnan(x), self.base
        if base.anchor is None:
            x = jnp.where(missing, self._centre(x)[None], x)
            y = base.framed(x).T[None]
            constant = base.potentials(natural, x)
            gradient = natural.linear[:, :, None] + 2 * _apply(self.spread(natural), y)
            return _hidden(constant, gradient, self._precision(natural), missing), y
        s, (y, white) = base.structure, self._completed(x)
        if near:
            white = self._brought_near(white)[0]
        constant = (natural.log_det + natural.offset)[:, None] + s.form(natural.quadratic, natural.linear, white)
        gradient = self._root(natural.linear[:, :, None] + 2 * _apply(self.spread(natural), white))
        return _hidden(constant, gradient, self._precision(natural), missing), y + base.anchor.location[:, :, None]

    def _completed(self, x: Array) -> tuple[Array, Array]:
        """Rows about the anchor, with missing entries in the place of their conditional means there, `[k, d, n]`.

        In the coordinates of the loop, and in the anchor's.
        """
        missing, base = jnp.isnan(x), self.base
        assert base.anchor is not None
        s, (location, factor, _) = base.structure, base.anchor
        x = jnp.where(missing, self._centre(x)[None], x)
        y = jnp.where(missing.T[None], 0, base.framed(x).T[None] - location[:, :, None])
        # About the conditional mean at the anchor nothing large is left to cancel.
        k, d, _ = y.shape
        zeros = jnp.zeros((k,), y.dtype)
        identity = s.identity(k, jnp.ones(d, y.dtype))
        there = self._precision(GaussianNatural(zeros, zeros, jnp.zeros((k, d), y.dtype), -identity / 2))
        pull = _hidden(jnp.zeros_like(y[:, 0]), -self._root(s.whiten(factor, y)), there, missing)
        y = y + jax.lax.stop_gradient(_columns(self.family.latent.mode(pull)[0].linear))
        return y, s.whiten(factor, y)

    def _brought_near(self, white: Array) -> tuple[Array, Any]:
        """Rows in the anchor's coordinates, and which had to be brought near; none in those of data that hold them."""
        if self.base.frame is not None:
            return white, None
        return far.within_reach(white, far.normal_reach(white.dtype))

    def _root(self, y: Array) -> Array:
        """Gradients `[k, d, n]` in the anchor's coordinates as gradients in those of the loop."""
        assert self.base.anchor is not None
        factor = self.base.anchor.factor
        if self.separate:
            return y / factor.reshape(y.shape[0], -1, 1)
        return linalg.matmul(linalg.transpose(linalg.inverse_lower(factor)).reshape(-1, *factor.shape[-2:]), y)

    def _precision(self, natural: GaussianNatural) -> Array:
        """The precision in the coordinates of the loop, `[d, d, 1, k]`, or `[1, 1, d, k]` if separate."""
        precision = -2 * self.spread(natural)
        anchor = self.base.anchor
        if self.separate:
            if anchor is not None:
                precision = precision / anchor.factor.reshape(precision.shape[0], -1) ** 2
            return precision.T[None, None]
        if anchor is not None:
            inverse = linalg.inverse_lower(anchor.factor).reshape(-1, *precision.shape[1:])
            precision = linalg.matmul(linalg.transpose(inverse), linalg.matmul(precision, inverse))
        return jnp.moveaxis(linalg.symmetrize(precision), 0, -1)[:, :, None]

    def spread(self, natural: GaussianNatural) -> Array:
        """The quadratic coefficients of each member, symmetric `[k, d, d]`, or `[k, d]` if separate."""
        (k, d), quadratic = natural.linear.shape, natural.quadratic
        if self.separate:
            return jnp.broadcast_to(quadratic.reshape(k, -1), (k, d))
        return jnp.broadcast_to(linalg.symmetrize(quadratic), (k, d, d))

    @property
    def separate(self) -> bool:
        """Whether the columns are independent given the member."""
        return isinstance(self.base.structure, AbstractVariances)

    def _centre(self, x: Array, weights: Array | None = None) -> Array:
        """What stands in the place of missing entries, `[d]`: the origin of the loop, or means of columns."""
        if self.base.frame is not None:
            return self.base.frame.shift
        seen = ~jnp.isnan(x)
        amount = seen.astype(x.dtype) if weights is None else jnp.where(seen, weights[:, None], 0)
        total = jnp.sum(amount, 0)
        return jnp.sum(amount * jnp.where(seen, x, 0), 0) / jnp.where(total > 0, total, 1)

    # Rows

    def integrated(self) -> ObservedKernel | None:
        # About an anchor, rows are completed by conditional means there: each by itself.
        return None if self.base.whitened or self.base.frame is None else ObservedKernel(self.family, self, self.layout)

    def gaps(self, x):
        return None if self.separate else np.isnan(x)

    def laid_out(self, blocks):
        return dataclasses.replace(self, layout=blocks)

    def impute(
        self, params: GaussianParams, x: Float[Array, "n d"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "k n d"]:
        """Rows completed under each member: by posterior means, or by a draw if there is a `key`; `[k, n, d]`."""
        here: Any = (self.accurate() or self).about(params)
        potentials, origin = here._expanded(here.natural(params), x)
        found = (
            self.family.latent.expectation(potentials)[0] if key is None else self.family.latent.sample(key, potentials)
        )
        completed = jnp.swapaxes(origin + _columns(found.linear), 1, 2)
        if self.base.frame is not None:
            shift, scale = self.base.frame
            completed = completed * scale[None, None] + shift[None, None]
        return jnp.where(jnp.isnan(x)[None], completed, x[None])

    def from_points(self, points, x, weights):
        centre = self._centre(x, weights)[None]
        points, x = (jnp.where(jnp.isnan(rows), centre, rows) for rows in (points, x))
        return self.base.from_points(points, x, weights)

    def embed(self, x, weights=None):
        return self.base.embed(jnp.where(jnp.isnan(x), self._centre(x, weights)[None], x))

    def floats_per_row(self, params):
        k, d = params.mean.shape
        own = self.base.floats_per_row(params)[1]
        if self.separate:
            return 2 * d, own + 4 * k * d
        if self.layout is None or self.base.whitened:
            return 2 * d, own + 4 * k * d * d
        rows, apart = self.layout
        forms = (d + 1) ** 2 * 6 // rows
        return 2 * d, own + k * (forms + (4 * apart**2 + 2 * d if apart else 0))


def _apply(quadratic: Array, y: Array) -> Array:
    """`quadratic y` for `y [k or 1, d, n]`."""
    return quadratic[:, :, None] * y if quadratic.ndim == 2 else linalg.matmul(quadratic, y)


def _columns(linear: Float[Array, "q b k n"]) -> Float[Array, "k d n"]:
    """One of `q` and `b` is 1."""
    return jnp.moveaxis(linear.reshape(-1, *linear.shape[2:]), 0, 1)


def _hidden(
    constant: Float[Array, "k n"],
    gradient: Float[Array, "k d n"],
    precision: Float[Array, "q q b k"],
    missing: Bool[Array, "n d"],
) -> GaussianPotentials:
    """A quadratic function of each row, as one of its missing entries alone."""
    q, _, b, k = precision.shape
    hidden = missing.T.reshape(q, b, 1, -1)
    n = hidden.shape[-1]
    linear = jnp.moveaxis(gradient, 1, 0).reshape(q, b, k, n)
    linear = jnp.where(jnp.broadcast_to(hidden, linear.shape), linear, 0)
    both = jnp.broadcast_to(hidden[:, None] & hidden[None], (q, q, b, k, n))
    return GaussianPotentials(constant, linear, jnp.where(both, jnp.broadcast_to(precision[..., None], both.shape), 0))
