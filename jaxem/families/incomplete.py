"""Families of rows some of whose entries are missing."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxem.families._table import check_gaps, check_incomplete
from jaxem.families._wrapped import AbstractWrapped
from jaxem.families.bernoulli import Bernoulli
from jaxem.families.categorical import Categorical
from jaxem.families.gaussian import Gaussian
from jaxem.families.kernels.incomplete import IncompleteKernel
from jaxem.families.kernels.incomplete_columns import CategoryKernel, ColumnsKernel, with_prior
from jaxem.families.poisson import Poisson
from jaxem.kernels.chunks import not_finite
from jaxem.latent import MissingBlock


@final
class Incomplete(AbstractWrapped):
    """Gaussian rows with missing entries: NaN, in any pattern, missing at random (Rubin 1976).

    The missing entries of a row are hidden variables, which every algorithm treats as it does any other; the likelihood
    is that of the entries that are there. Parameters, prior and M-step are those of `family`.

    A row without any entry adds nothing to the likelihood, nor to the statistics of the family.

    **Arguments:**

    - `family`: a `Gaussian`, with any covariance structure.

    Dempster, Laird and Rubin (1977), section 4.1; Little and Rubin (2019), chapter 11.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Incomplete(jaxem.Gaussian()))
    >>> x = jnp.array([[1.0, 2.1], [2.0, 3.9], [3.0, 6.2], [4.0, jnp.nan]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), tol=1e-9)
    >>> round(float(model.impute(fit.params, x)[3, 1]), 1)
    8.2
    """

    family: Gaussian

    def __check_init__(self):
        if not isinstance(self.family, Gaussian):
            raise ValueError(
                "family must be jaxem.Gaussian(...): no other has a rule for missing entries, got "
                f"{type(self.family).__name__}"
            )

    @property
    def latent(self) -> MissingBlock:
        return MissingBlock()

    def kernel(self) -> IncompleteKernel:
        return IncompleteKernel(self, self.family.kernel())

    def bind(self, x, weights, reduce):
        return IncompleteKernel(self, self.family.bind(x, weights, reduce))

    # The door of data

    def marginal(self, params, column, rows=None):
        return self.family.marginal(params, column, rows)

    def unusable(self, x):
        return not_finite(x, missing=True)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_gaps(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        self.family.check(check_incomplete(x, name), name)


@final
class IncompleteColumns(AbstractWrapped):
    """Independent columns with missing entries: NaN, in any pattern, missing at random (Rubin 1976).

    Given the member, a missing entry tells nothing of the others, so that the likelihood is that of the entries that
    are there, and each column is fitted to its own. Parameters, prior and coordinates are those of `family`; for
    Gaussian rows see `jaxem.Incomplete`.

    **Arguments:**

    - `family`: a `Poisson`, `Bernoulli` or `Categorical`; its prior, if any, has the same numbers for all columns.
        Columns of a `Categorical` may differ in their categories.

    Little and Rubin (2019), chapter 13.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.families.IncompleteColumns(jaxem.Poisson()))
    >>> x = jnp.array([[1.0, 4.0], [3.0, jnp.nan], [jnp.nan, 8.0]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0))
    >>> [round(float(value), 3) for value in fit.params.rate]
    [2.0, 6.0]
    """

    family: Any

    def __check_init__(self):
        if not isinstance(self.family, Poisson | Bernoulli | Categorical):
            raise ValueError(
                "family must be jaxem.Poisson, Bernoulli or Categorical, whose columns are independent given the "
                f"member (for Gaussian rows use jaxem.Incomplete), got {type(self.family).__name__}"
            )
        prior = jax.tree.leaves(self.family.prior)
        if any(jnp.ndim(leaf) > 0 for leaf in prior):
            raise ValueError("family: its prior must be the same for all columns: numbers, not arrays")

    def kernel(self) -> ColumnsKernel:
        if isinstance(self.family, Categorical):
            column, levels = Categorical(self.family.most), self.family.num_categories
            differ = isinstance(levels, tuple) and len(set(levels)) > 1
            return ColumnsKernel(self, CategoryKernel(column, jnp.asarray(levels, jnp.int32) if differ else None))
        return ColumnsKernel(self, with_prior(self.family.kernel(), None))

    def bind(self, x, weights, reduce):
        if isinstance(self.family, Categorical):
            return self.kernel()
        seen = (~jnp.isnan(x)).astype(weights.dtype)

        def one(x, seen):
            return with_prior(self.family.bind(x[:, None], weights * seen, reduce), None)

        return ColumnsKernel(self, eqx.filter_vmap(one)(jnp.where(jnp.isnan(x), 0, x).T, seen.T))

    def marginal(self, params, column, rows=None):
        return self.family.marginal(params, column, rows)

    def unusable(self, x):
        return not_finite(x, missing=True)

    def check_rows(self, x: Any, name: str = "data") -> None:
        x = check_gaps(x, name)
        self.family.check_rows(np.where(np.isnan(x), 0, x), name)

    def check(self, x: Any, name: str = "data") -> None:
        self.family.check(check_incomplete(x, name), name)
