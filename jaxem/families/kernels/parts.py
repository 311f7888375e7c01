"""Kernels of families that are made of others: those of the parts, by name."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import reduce as fold
from typing import Any, Self, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem.families.kernels._kernel import AbstractKernel, Coefficients
from jaxem.kernels.linalg import matmul
from jaxem.latent import SeveralTree


class AbstractPartsKernel(AbstractKernel):
    """`kernels` of the parts of a family, in the order of their names."""

    kernels: eqx.AbstractVar[tuple[Any, ...]]

    @property
    def parts(self) -> dict[str, Any]:
        """The kernel of each part."""
        return dict(zip(self.family.parts, self.kernels, strict=True))

    def on(self, parts: Mapping[str, Any]) -> Self:
        """The same of other kernels."""
        return dataclasses.replace(self, kernels=tuple(parts.values()))

    def maximize_part(
        self, name: str, stats: PyTree, params: dict[str, PyTree], frozen: tuple[str, ...], expanded: bool = False
    ) -> PyTree:
        """The M-step of one part, from its own statistics."""
        if name in frozen:
            return params[name]
        part = self.parts[name]
        m_step = part.maximize_expanded if expanded else part.maximize
        return m_step(stats, params[name], within(name, frozen))

    def log_prior(self, params):
        return fold(jnp.add, self.scalars(lambda part, p: part.log_prior(p), params))

    def for_starts(self, key):
        keys = self.family.keys(key)
        kernels = tuple(part.for_starts(keys[name]) for name, part in self.parts.items())
        return dataclasses.replace(self, kernels=kernels)

    def encode(self, params):
        return self.each(lambda part, p: part.encode(p), params)

    def decode(self, params):
        return self.each(lambda part, p: part.decode(p), params)

    def accurate(self):
        slower = self.each(lambda part: part.accurate())
        if all(part is None for part in slower.values()):
            return None
        return self.on({name: slower[name] or part for name, part in self.parts.items()})

    def for_lanes(self, lanes):
        return self.on(self.each(lambda part: part.for_lanes(lanes)))

    def about(self, params):
        return self.on(self.each(lambda part, p: part.about(p), params))

    def rounding_error(self, params, natural=None):
        natural = dict.fromkeys(self.parts) if natural is None else natural
        return fold(jnp.maximum, self.scalars(lambda part, p, eta: part.rounding_error(p, eta), params, natural))

    def blocks(self, free):
        parts = self.each(lambda part, u: part.blocks(u), free)
        counts = [len(blocks) for blocks, _ in parts.values()]

        def undo(arrays):
            rest, found = list(arrays), {}
            for name, count in zip(parts, counts, strict=True):
                found[name] = parts[name][1](rest[:count])
                rest = rest[count:]
            return found

        return [array for blocks, _ in parts.values() for array in blocks], undo

    def degenerate(self, params):
        return fold(jnp.logical_or, self.each(lambda part, p: part.degenerate(p), params).values())

    def floats_per_row(self, params):
        parts = self.each(lambda part, p: part.floats_per_row(p), params).values()
        return sum(shared for shared, _ in parts), sum(own for _, own in parts)

    def each(self, fn: Callable[..., Any], *trees: Mapping[str, Any]) -> dict[str, Any]:
        return {name: fn(part, *(tree[name] for tree in trees)) for name, part in self.parts.items()}

    def scalars(self, fn: Callable[..., Array], params: dict[str, PyTree], *trees: dict[str, PyTree]) -> list[Array]:
        dtype = jax.tree.leaves(params)[0].dtype
        return [value.astype(dtype) for value in self.each(fn, params, *trees).values()]


@final
class ProductKernel(AbstractPartsKernel):
    """Independent blocks of columns."""

    family: Any
    kernels: tuple[Any, ...]

    @property
    def product_form(self) -> bool:
        return all(part.latent is None and part.product_form for part in self.parts.values())

    # The map

    def natural(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
        return self.each(lambda part, p: part.natural(p), params)

    def coefficients(self, natural: dict[str, PyTree]) -> Float[Array, "k p"]:
        blocks = self.each(lambda part, eta: part.coefficients(eta), natural)
        return jnp.concatenate(list(blocks.values()), -1)

    def statistics(self, x: PyTree) -> Float[Array, "p n"]:
        return jnp.concatenate(list(self.each(lambda part, a: part.statistics(a), self.family.split(x)).values()), 0)

    def potentials(self, natural: dict[str, PyTree], x: PyTree) -> PyTree:
        if isinstance(natural, Coefficients):
            return super().potentials(natural, x)
        x = self.family.split(x)
        plain = {name: part for name, part in self.parts.items() if part.latent is None}
        joint = {name: part for name, part in plain.items() if part.product_form}
        own = {n: f.potentials(natural[n], x[n]) for n, f in self.parts.items() if n not in joint}
        terms = [own[name] for name in plain if name not in joint]
        if joint:
            coefficients = [part.coefficients(natural[name]) for name, part in joint.items()]
            statistics = [part.statistics(x[name]) for name, part in joint.items()]
            terms.append(matmul(jnp.concatenate(coefficients, -1), jnp.concatenate(statistics, 0)))
        hidden = [(part.latent, own[name]) for name, part in self.parts.items() if part.latent is not None]
        if not hidden:
            return fold(jnp.add, terms)
        latent, potentials = hidden[0]
        like = jax.eval_shape(latent.log_normalizer, potentials)
        member = fold(jnp.add, terms, jnp.zeros(like.shape, like.dtype))
        return SeveralTree(member, tuple(() if name in plain else own[name] for name in self.parts))

    def add_constant(self, natural, constant):
        for name, part in self.parts.items():
            taken = part.add_constant(natural[name], constant)
            if taken is not None:
                return natural | {name: taken}
        return None

    def log_base(self, x: PyTree) -> Float[Array, " n"]:
        return fold(jnp.add, self.each(lambda part, a: part.log_base(a), self.family.split(x)).values())

    # Rows with gaps

    @property
    def latent(self):
        return None if all(part.latent is None for part in self.kernels) else self.family.latent

    def integrated(self):
        """With all that is hidden integrated out, or nothing."""
        found = self.each(lambda part: part if part.latent is None else part.integrated())
        return None if any(part is None for part in found.values()) else self.on(found)

    def gaps(self, x):
        each = self.each(lambda part, a: part.gaps(a), self.family.split(x)).values()
        found = [gaps for gaps in each if gaps is not None]
        return np.concatenate(found, 1) if found else None

    def laid_out(self, blocks):
        several = sum(type(part).gaps is not AbstractKernel.gaps for part in self.kernels) > 1
        # The last columns of all are not the last ones of each.
        blocks = None if several and blocks.apart else blocks
        return self if blocks is None else self.on(self.each(lambda part: part.laid_out(blocks)))

    # The maximum

    def maximize(
        self, stats: dict[str, PyTree], params: dict[str, PyTree], frozen: tuple[str, ...] = ()
    ) -> dict[str, PyTree]:
        return {name: self.maximize_part(name, stats[name], params, frozen) for name in self.parts}

    @property
    def expands(self) -> bool:
        return any(part.expands for part in self.kernels)

    def maximize_expanded(
        self, stats: dict[str, PyTree], params: dict[str, PyTree], frozen: tuple[str, ...] = ()
    ) -> dict[str, PyTree]:
        """The blocks that say how to expand their parameters do; the others are maximised as they are."""
        if not self.expands:
            return super().maximize_expanded(stats, params, frozen)
        return {
            name: self.maximize_part(name, stats[name], params, frozen, part.expands)
            for name, part in self.parts.items()
        }

    def conjugate(self):
        parts = self.each(lambda part: part.conjugate())
        return None if any(part is None for part in parts.values()) else ProductConjugate(self, parts)

    def translate(self, stats, source):
        return self.each(lambda part, s, other: part.translate(s, other), stats, source.parts)

    # Starts

    def from_points(self, points, x, weights):
        return self.each(
            lambda part, p, a: part.from_points(p, a, weights), self.family.split(points), self.family.split(x)
        )

    def pool(self, params, pooled, counts):
        return self.each(lambda part, p, other: part.pool(p, other, counts), params, pooled)

    def embed(self, x, weights=None):
        each = self.each(lambda part, a: part.embed(a, weights), self.family.split(x))
        return jnp.concatenate(list(each.values()), -1)

    def refine(self, params, x, weights):
        return self.each(lambda part, p, a: part.refine(p, a, weights), params, self.family.split(x))

    @property
    def imputes(self) -> bool:
        return any(part.imputes for part in self.kernels)

    def impute(self, params: dict[str, PyTree], x: PyTree, key: PRNGKeyArray | None = None) -> PyTree:
        """As of any family; blocks that take no missing entries stay as they are."""
        if not self.imputes:
            return super().impute(params, x, key)
        x = self.family.split(x)
        keys = self.family.keys(key) if key is not None else dict.fromkeys(self.parts)
        filled = {n: f.impute(params[n], x[n], keys[n]) for n, f in self.parts.items() if f.imputes}
        k = jax.tree.leaves(filled)[0].shape[0]

        def as_they_are(rows):
            return jax.tree.map(lambda a: jnp.broadcast_to(a[None], (k, *a.shape)), rows)

        return self.family.joined(
            {name: filled[name] if name in filled else as_they_are(x[name]) for name in self.parts}
        )


@final
class ProductConjugate(AbstractConjugate):
    """The posteriors of the blocks, by name."""

    kernel: ProductKernel
    parts: dict[str, Any]  # sorted by name, as Product has them

    def posterior(self, stats):
        return self._each(lambda part, s: part.posterior(s), stats)

    def expected_natural(self, posterior):
        return self._each(lambda part, p: part.expected_natural(p), posterior)

    def mean(self, posterior):
        return self._each(lambda part, p: part.mean(p), posterior)

    def draw(self, key, posterior):
        return self._each(lambda part, k, p: part.draw(k, p), self.kernel.family.keys(key), posterior)

    def kl(self, posterior):
        each = self._each(lambda part, p: part.kl(p), posterior)
        dtype = jax.tree.leaves(posterior)[0].dtype
        return fold(jnp.add, [value.astype(dtype) for value in each.values()])

    def unconstrain(self, posterior):
        return self._each(lambda part, p: part.unconstrain(p), posterior)

    def constrain(self, free):
        return self._each(lambda part, u: part.constrain(u), free)

    def encode(self, posterior):
        return self._each(lambda part, p: part.encode(p), posterior)

    def decode(self, posterior):
        return self._each(lambda part, p: part.decode(p), posterior)

    def _each(self, fn, *trees):
        return {name: fn(part, *(tree[name] for tree in trees)) for name, part in self.parts.items()}


@final
class OneOfKernel(AbstractPartsKernel):
    """Members that are unlike: each a part with one member."""

    family: Any
    kernels: tuple[Any, ...]

    # The map

    def natural(self, params):
        own = self.each(lambda part, p: part.natural(p), params)
        one = jnp.ones(1, next(leaf.dtype for leaf in jax.tree.leaves(params)))
        # A family's log base is not common to all members here: it has a coefficient, which is 1.
        return {name: (own[name], one) for name in self.parts}

    def potentials(self, natural, x):
        def base(part, eta):
            value = part.log_base(x)[None]
            possible = jnp.isfinite(value)
            value = eta[1][:, None] * jnp.where(possible, value, 0).astype(eta[1].dtype)
            return jnp.where(possible, value, -jnp.inf)

        bases = self.each(base, natural)
        own = self.each(lambda part, eta: part.potentials(eta[0], x), natural)
        plain = [name for name, part in self.parts.items() if part.latent is None]
        member = jnp.concatenate([bases[name] + own[name] if name in plain else bases[name] for name in self.parts], 0)
        if len(plain) == len(self.parts):
            return member
        return SeveralTree(member, tuple(() if name in plain else own[name] for name in self.parts))

    def log_base(self, x):
        return jnp.zeros_like(next(iter(self.parts.values())).log_base(x))

    def maximize(self, stats, params, frozen=()):
        return {name: self.maximize_part(name, stats[name][0], params, frozen) for name in self.parts}

    def conjugate(self):
        return None

    def translate(self, stats, source):
        def one(part, s, other):
            return part.translate(s[0], other), s[1]

        return self.each(one, stats, source.parts)

    def rounding_error(self, params, natural=None):
        own = None if natural is None else {name: own for name, (own, _) in natural.items()}
        return super().rounding_error(params, own)

    # Starts

    def from_points(self, points, x, weights):
        own = {name: jax.tree.map(lambda a, j=j: a[j : j + 1], points) for j, name in enumerate(self.parts)}
        return self.each(lambda part, p: part.from_points(p, x, weights), own)

    def refine(self, params, x, weights: Float[Array, "k n"]):
        own = {name: weights[j : j + 1] for j, name in enumerate(self.parts)}
        return self.each(lambda part, p, w: part.refine(p, x, w), params, own)

    def embed(self, x, weights=None):
        return list(self.parts.values())[-1].embed(x, weights)


def within(name: str, frozen: tuple[str, ...]) -> tuple[str, ...]:
    """Of the names in `frozen`, those of a part's parameters, as the part calls them."""
    return tuple(path.removeprefix(f"{name}.") for path in frozen if path.startswith(f"{name}."))
