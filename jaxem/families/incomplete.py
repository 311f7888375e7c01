from typing import Any, final

from jaxem.families._table import check_gaps, check_incomplete
from jaxem.families._wrapped import AbstractWrapped
from jaxem.families.gaussian import Gaussian
from jaxem.families.kernels.incomplete import IncompleteKernel
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
