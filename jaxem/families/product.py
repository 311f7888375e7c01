import operator
from collections.abc import Mapping
from functools import reduce as fold
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families._parts import AbstractParts
from jaxem.families._table import check_shape
from jaxem.families.kernels.parts import ProductKernel
from jaxem.latent import Independent

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

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(f"{name}.{field}" for name, family in self.families.items() for field in family.shared)

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(family.linear for family in self.families.values())

    @property
    def latent(self) -> Independent | None:
        hidden = tuple(family.latent for family in self.families.values())
        return None if all(latent is None for latent in hidden) else Independent(hidden)

    @property
    def num_members(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return next((family.num_members for family in self.families.values() if family.num_members), None)

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        lacking = ((name, family) for name, family in self.families.items() if family.conjugate() is None)
        return "; ".join(f"block {name!r}: {family.prior_hint}" for name, family in lacking)

    def kernel(self) -> ProductKernel:
        return ProductKernel(self, tuple(family.kernel() for family in self.families.values()))

    def bind(self, x, weights, reduce):
        bound = self._each(lambda family, a: family.bind(a, weights, reduce), self.split(x))
        return ProductKernel(self, tuple(bound.values()))

    # Data

    def read(self, x):
        if self.columns is not None or not isinstance(x, Mapping) or set(x) != set(self.families):
            return x
        return self._each(lambda family, a: family.read(a), x)

    def pool(self, params, pooled, counts):
        return self._each(lambda family, p, other: family.pool(p, other, counts), params, pooled)

    def marginal(self, params, column, rows=None):
        """`column` is that of the table; of a dictionary of tables it is a name, or a name and a column there."""
        block, own = self.place(column)
        rows = None if rows is None else self.split(rows)[block]
        return univariate.marginal_of(self.families[block], params[block], own, rows)

    def place(self, column: Any) -> tuple[str, int]:
        """The block of a column, and which of its columns it is; raises `DataError` where there is none."""
        if self.columns is None:
            block, own = column if isinstance(column, tuple) and len(column) == 2 else (column, 0)
            if not isinstance(block, str) or block not in self.families:
                raise DataError(
                    f"column must name one of {list(self.families)}, or be a name and a number, got {column!r}"
                )
            return block, own
        for block, which in self.columns:
            if column in which:
                return block, which.index(column)
        raise DataError(f"column must be one of 0 to {len(self._order) - 1}, got {column!r}")

    def sample(self, key, params, labels):
        return self.joined(self._each(lambda family, k, p: family.sample(k, p, labels), self.keys(key), params))

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
        return fold(jnp.logical_or, self._each(lambda family, a: family.unusable(a), self.split(x)).values())

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

    def split(self, x: PyTree) -> dict[str, Array]:
        """The rows of each block."""
        if self.columns is None:
            return x
        return {name: _take(x, which) for name, which in self.columns}

    def joined(self, blocks: dict[str, PyTree]) -> PyTree:
        """The opposite of `split`, for tables `[..., d]`."""
        if self.columns is None:
            return blocks
        return jnp.concatenate(list(blocks.values()), -1)[..., np.argsort(self._order)]


def _take(x: Array, which: tuple[int, ...]) -> Array:
    first, last = which[0], which[-1] + 1
    # A slice where it will do: it costs no gather.
    return x[:, first:last] if which == tuple(range(first, last)) else x[:, np.asarray(which)]
