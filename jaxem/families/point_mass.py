from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table
from jaxem.families.responses import Responses


@final
class PointMass(AbstractFamily):
    """Rows that are `value` with certainty: the zeros of a zero-inflated model, as one of the members of a `OneOf`.

    It has no parameters: they are `()`.

    **Arguments:**

    - `value`: what the response (of `jaxem.Responses`), or every column of a table, is.

    **Example**

    >>> import jaxem
    >>> family = jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson())
    """

    value: float = eqx.field(static=True, default=0.0)

    parameters: ClassVar[tuple[str, ...]] = ()
    num_members: ClassVar[int | None] = 0  # none alone

    def natural(self, params):
        return params

    def potentials(self, natural, x):
        y = (x.y if isinstance(x, Responses) else x).reshape(_rows(x), -1)
        here = jnp.all(y == self.value, 1)
        return jnp.where(here, jnp.zeros_like(y[:, 0]), -jnp.inf)[None]

    def log_base(self, x):
        return jnp.zeros(_rows(x), (x.y if isinstance(x, Responses) else x).dtype)

    def maximize(self, stats, params, frozen=()):
        return params

    @property
    def domains(self):
        return {}

    def from_points(self, points, x, weights):
        return ()

    def marginal(self, params, column, rows=None):
        point = jnp.full((1, 1), self.value)
        if rows is not None:
            point = point.astype((rows.y if isinstance(rows, Responses) else rows).dtype)
        distribution = univariate.Point(point, float(self.value).is_integer() and self.value >= 0)
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    def sample(self, key, params, labels):
        raise MissingCapabilityError("PointMass draws nothing alone; use it in a OneOf")

    def check(self, x: Any, name: str = "data") -> None:
        if isinstance(x, dict):
            raise DataError(f"{name} must be a table or jaxem.Responses, got a dictionary")
        if not isinstance(x, Responses):
            check_table(x, name)


def _rows(x: PyTree) -> int:
    return (x.y if isinstance(x, Responses) else x).shape[0]
