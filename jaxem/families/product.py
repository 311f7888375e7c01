import operator
from collections.abc import Mapping
from functools import reduce as fold
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._errors import DataError
from jaxem.families._family import AbstractFamily, Coefficients
from jaxem.families._parts import AbstractParts
from jaxem.families._table import check_shape
from jaxem.families.point_mass import PointMass
from jaxem.kernels.linalg import matmul
from jaxem.latent import Independent, SeveralTree

Columns = tuple[tuple[str, tuple[int, ...]], ...]


def _sorted(families: Mapping[str, AbstractFamily]) -> dict[str, AbstractFamily]:
    if not isinstance(families, Mapping):
        raise ValueError(f"families must be a dictionary from names to families, got {type(families).__name__}")
    # The order that JAX gives the keys of a dictionary.
    return dict(sorted(families.items(), key=lambda item: str(item[0])))


def _pairs(columns: Any) -> Columns | None:
    if columns is None:
        return None
    return tuple(sorted((name, tuple(operator.index(i) for i in which)) for name, which in dict(columns).items()))


@final
class Product(AbstractParts):
    """Mixed columns: independent blocks, each with a family of its own.

    **Arguments:**

    - `families`: the family of each block, by name.
    - `columns`: the columns of each block, by name, where the data are one table `[n, d]`; each column in one block.
        Without them the data are a dictionary of tables, one for each block, with a row for each observation.

    A block may hide variables of its own, such as the missing entries of `jaxem.Incomplete` or the scale of
    `jaxem.StudentT`, and is as linear as its family: the product has the capabilities that all blocks have.

    Parameters are a dictionary of the blocks' parameters; a single one is called `"block.field"`, as in
    `frozen=("components.size.mean",)`.

    **Example**

    >>> import jaxem
    >>> families = {"size": jaxem.Gaussian("diagonal"), "visits": jaxem.Poisson()}
    >>> jaxem.Product(families, columns={"size": [0, 1], "visits": [2]}).parameters
    ('size', 'size.mean', 'size.covariance', 'visits', 'visits.rate')
    """

    families: dict[str, AbstractFamily] = eqx.field(converter=_sorted)
    columns: Columns | None = eqx.field(static=True, default=None, converter=_pairs)

    def __check_init__(self):
        if not self.families:
            raise ValueError("families is empty: a product needs at least one block")
        for name, family in self.families.items():
            if not isinstance(name, str) or not name or "." in name:
                raise ValueError(f"families: a block's name must be a string without dots, got {name!r}")
            if not isinstance(family, AbstractFamily):
                raise ValueError(f"families: block {name!r} must be a family such as jaxem.Poisson(), got {family!r}")
        if self.columns is None:
            return
        if [name for name, _ in self.columns] != list(self.families):
            raise ValueError(f"columns must name the blocks {list(self.families)}, got {[n for n, _ in self.columns]}")
        taken = self._order
        if any(not which for _, which in self.columns) or sorted(taken) != list(range(len(taken))):
            raise ValueError(
                "columns: the blocks must share out the columns 0, 1, ... of the table, each in exactly one block, "
                f"got {dict(self.columns)}"
            )

    @property
    def parts(self):
        return self.families

    def with_parts(self, parts):
        return Product(parts, self.columns)

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(f"{name}.{field}" for name, family in self.families.items() for field in family.shared)

    @property
    def coupled(self) -> bool:
        return any(family.coupled for family in self.families.values())

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(family.linear for family in self.families.values())

    @property
    def product_form(self) -> bool:
        return all(family.latent is None and family.product_form for family in self.families.values())

    @property
    def latent(self) -> Independent | None:
        hidden = tuple(family.latent for family in self.families.values())
        return None if all(latent is None for latent in hidden) else Independent(hidden)

    # The linear map

    def natural(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
        return self._each(lambda family, p: family.natural(p), params)

    def coefficients(self, natural: dict[str, PyTree]) -> Float[Array, "k p"]:
        blocks = self._each(lambda family, eta: family.coefficients(eta), natural)
        return jnp.concatenate(list(blocks.values()), -1)

    def statistics(self, x: PyTree) -> Float[Array, "p n"]:
        return jnp.concatenate(list(self._each(lambda family, a: family.statistics(a), self._split(x)).values()), 0)

    def prepare(self, natural):
        return self.as_rows(natural)

    def potentials(self, natural: dict[str, PyTree], x: PyTree) -> PyTree:
        if isinstance(natural, Coefficients):
            return super().potentials(natural, x)
        x = self._split(x)
        plain = {name: family for name, family in self.families.items() if family.latent is None}
        joint = {name: family for name, family in plain.items() if family.product_form}
        own = {n: f.potentials(natural[n], x[n]) for n, f in self.families.items() if n not in joint}
        terms = [own[name] for name in plain if name not in joint]
        if joint:
            coefficients = [family.coefficients(natural[name]) for name, family in joint.items()]
            statistics = [family.statistics(x[name]) for name, family in joint.items()]
            terms.append(matmul(jnp.concatenate(coefficients, -1), jnp.concatenate(statistics, 0)))
        hidden = [(family.latent, own[name]) for name, family in self.families.items() if family.latent is not None]
        if not hidden:
            return fold(jnp.add, terms)
        latent, potentials = hidden[0]
        like = jax.eval_shape(latent.log_normalizer, potentials)
        member = fold(jnp.add, terms, jnp.zeros(like.shape, like.dtype))
        return SeveralTree(member, tuple(() if name in plain else own[name] for name in self.families))

    def add_constant(self, natural, constant):
        for name, family in self.families.items():
            taken = family.add_constant(natural[name], constant)
            if taken is not None:
                return natural | {name: taken}
        return None

    def log_base(self, x: PyTree) -> Float[Array, " n"]:
        return fold(jnp.add, self._each(lambda family, a: family.log_base(a), self._split(x)).values())

    # The M-step

    def maximize(
        self, stats: dict[str, PyTree], params: dict[str, PyTree], frozen: tuple[str, ...] = ()
    ) -> dict[str, PyTree]:
        return {name: self.maximize_part(name, stats[name], params, frozen) for name in self.families}

    def maximize_expanded(
        self, stats: dict[str, PyTree], params: dict[str, PyTree], frozen: tuple[str, ...] = ()
    ) -> dict[str, PyTree]:
        """The blocks that say how to expand their parameters do; the others are maximised as they are."""
        if not self.expands:
            return super().maximize_expanded(stats, params, frozen)
        return {n: self.maximize_part(n, stats[n], params, frozen, f.expands) for n, f in self.families.items()}

    @property
    def expands(self) -> bool:
        return any(family.expands for family in self.families.values())

    # The posterior

    def require_prior(self) -> dict[str, Any]:
        return self._each(lambda family: family.require_prior())

    def posterior(self, stats: dict[str, PyTree]) -> dict[str, PyTree]:
        return self._each(lambda family, s: family.posterior(s), stats)

    def expected_natural(self, posterior: dict[str, PyTree]) -> dict[str, PyTree]:
        return self._each(lambda family, p: family.expected_natural(p), posterior)

    def posterior_mean(self, posterior: dict[str, PyTree]) -> dict[str, PyTree]:
        return self._each(lambda family, p: family.posterior_mean(p), posterior)

    def draw(self, key: PRNGKeyArray, posterior: dict[str, PyTree]) -> dict[str, PyTree]:
        return self._each(lambda family, k, p: family.draw(k, p), self._keys(key), posterior)

    def kl(self, posterior: dict[str, PyTree]) -> Array:
        return fold(jnp.add, self._scalars(lambda family, p: family.kl(p), posterior))

    def unconstrain_posterior(self, posterior):
        return self._each(lambda family, p: family.unconstrain_posterior(p), posterior)

    def constrain_posterior(self, free):
        return self._each(lambda family, u: family.constrain_posterior(u), free)

    def encode_posterior(self, posterior):
        return self._each(lambda family, p: family.encode_posterior(p), posterior)

    def decode_posterior(self, posterior):
        return self._each(lambda family, p: family.decode_posterior(p), posterior)

    # Coordinates

    def bind(self, x, weights, reduce):
        return self.with_parts(self._each(lambda family, a: family.bind(a, weights, reduce), self._split(x)))

    # Accuracy

    def translate(self, stats, source):
        return self._each(lambda family, s, other: family.translate(s, other), stats, source.families)

    # Data

    def read(self, x):
        if self.columns is not None or not isinstance(x, Mapping) or set(x) != set(self.families):
            return x
        return self._each(lambda family, a: family.read(a), x)

    def check_members(self, count):
        self._each(lambda family: None if isinstance(family, PointMass) else family.check_members(count))

    def from_points(self, points, x, weights):
        return self._each(lambda family, p, a: family.from_points(p, a, weights), self._split(points), self._split(x))

    def mend(self, params, pooled, counts):
        return self._each(lambda family, p, other: family.mend(p, other, counts), params, pooled)

    def embed(self, x):
        return jnp.concatenate(list(self._each(lambda family, a: family.embed(a), self._split(x)).values()), -1)

    def seeding(self, x, weights):
        parts = self._each(lambda family, a: family.seeding(a, weights), self._split(x))
        return jnp.concatenate(list(parts.values()), -1)

    def warm(self, params, x, weights):
        return self._each(lambda family, p, a: family.warm(p, a, weights), params, self._split(x))

    def impute(self, params: dict[str, PyTree], x: PyTree, key: PRNGKeyArray | None = None) -> PyTree:
        """As of any family; blocks that take no missing entries stay as they are."""
        if not self.imputes:
            return super().impute(params, x, key)
        x = self._split(x)
        keys = self._keys(key) if key is not None else dict.fromkeys(self.families)
        filled = {n: f.impute(params[n], x[n], keys[n]) for n, f in self.families.items() if f.imputes}
        k = jax.tree.leaves(filled)[0].shape[0]

        def as_they_are(rows):
            return jax.tree.map(lambda a: jnp.broadcast_to(a[None], (k, *a.shape)), rows)

        return self._joined({name: filled[name] if name in filled else as_they_are(x[name]) for name in self.families})

    @property
    def imputes(self) -> bool:
        return any(family.imputes for family in self.families.values())

    def sample(self, key, params, labels):
        return self._joined(self._each(lambda family, k, p: family.sample(k, p, labels), self._keys(key), params))

    # The door of data

    def check_shape(self, params, x, name="data"):
        for block, family, rows, own in self._blocks(x, name):
            family.check_shape(params[block], rows, own)

    def check_rows(self, x: Any, name: str = "data") -> None:
        for _, family, rows, own in self._blocks(x, name):
            family.check_rows(rows, own)

    def check(self, x: Any, name: str = "data") -> None:
        for _, family, rows, own in self._blocks(x, name):
            family.check(rows, own)

    def unusable(self, x):
        return fold(jnp.logical_or, self._each(lambda family, a: family.unusable(a), self._split(x)).values())

    def _blocks(self, x: Any, name: str) -> list[tuple[str, AbstractFamily, Any, str]]:
        """Each block's name, family, rows, and what these are called; raises `DataError` where they are not there."""
        if self.columns is not None:
            check_shape(x, name)
            if x.shape[1] != len(self._order):
                raise DataError(
                    f"{name} must have {len(self._order)} columns, as `columns` of the product says, got {x.shape[1]}"
                )
            return [
                (block, self.families[block], x[:, np.asarray(which)], f"block {block!r} ({name}[:, {list(which)}])")
                for block, which in self.columns
            ]
        if not isinstance(x, Mapping) or set(x) != set(self.families):
            got = sorted(x) if isinstance(x, Mapping) else type(x).__name__
            raise DataError(f"{name} must be a dictionary of tables with keys {list(self.families)}, got {got}")
        rows = {block: jax.tree.leaves(x[block])[0].shape[0] for block in self.families}
        if len(set(rows.values())) > 1:
            raise DataError(f"{name}: the blocks must have a row for each observation, got numbers of rows {rows}")
        return [(block, family, x[block], f"block {block!r} of {name}") for block, family in self.families.items()]

    @property
    def _order(self) -> list[int]:
        return [i for _, which in self.columns or () for i in which]

    def _split(self, x: PyTree) -> dict[str, Array]:
        if self.columns is None:
            return x
        return {name: _take(x, which) for name, which in self.columns}

    def _joined(self, blocks: dict[str, PyTree]) -> PyTree:
        """The opposite of `_split`, for tables `[..., d]`."""
        if self.columns is None:
            return blocks
        return jnp.concatenate(list(blocks.values()), -1)[..., np.argsort(self._order)]


def _take(x: Array, which: tuple[int, ...]) -> Array:
    first, last = which[0], which[-1] + 1
    # A slice where it will do: it costs no gather.
    return x[:, first:last] if which == tuple(range(first, last)) else x[:, np.asarray(which)]
