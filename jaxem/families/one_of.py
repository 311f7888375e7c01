"""Members of unlike families, such as zeros beside counts."""

from functools import reduce as fold
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families._parts import AbstractParts
from jaxem.families._table import check_table
from jaxem.families.kernels.parts import OneOfKernel
from jaxem.families.responses import Responses
from jaxem.latent import Unlike


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


@final
class OneOf(AbstractParts):
    """Members that are unlike: the first from one family, the second from another, and so on.

    **Arguments:** the family of each member, by name, in the order of the members; all take the same rows.

    For `Mixture`, `MixtureOfExperts` and others with as many components as there are names. Parameters are a dictionary
    of those of each family, with a leading axis of length 1; natural parameters are alike. Linear if all families are.
    Each may hide variables of its own.

    **Example**

    Counts, some of which are zero whatever the rate:

    >>> import jax, jax.numpy as jnp, jaxem
    >>> family = jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson())
    >>> model = jaxem.Mixture(family, num_components=2)
    >>> counts = jnp.array([[0.0], [0.0], [0.0], [0.0], [3.0], [5.0], [4.0]])
    >>> fit = jaxem.fit(model, counts, key=jax.random.key(0))
    >>> round(float(fit.params.components["count"].rate[0, 0]), 1)
    3.9
    """

    names: tuple[str, ...] = eqx.field(static=True)
    families: tuple[AbstractFamily, ...]

    def __init__(self, **families: AbstractFamily):
        self.names, self.families = tuple(families), tuple(families.values())
        if not families:
            raise ValueError("OneOf needs at least one family")
        for name, family in families.items():
            if not isinstance(family, AbstractFamily):
                raise ValueError(f"{name} must be a family such as jaxem.Poisson(), got {family!r}")

    @property
    def parts(self):
        return dict(zip(self.names, self.families, strict=True))

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(family.linear for family in self.families)

    @property
    def latent(self) -> Unlike | None:
        hidden = tuple(family.latent for family in self.families)
        return None if all(latent is None for latent in hidden) else Unlike(hidden)

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name in self.parameters if "." in name)  # their leading axis is not that of members

    @property
    def num_members(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.names)

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "members that are unlike have no conjugate prior"

    def kernel(self) -> OneOfKernel:
        return OneOfKernel(self, tuple(family.kernel() for family in self.families))

    def bind(self, x, weights, reduce):
        return OneOfKernel(self, tuple(family.bind(x, weights, reduce) for family in self.families))

    def read(self, x):
        return fold(lambda rows, family: family.read(rows), self.families, x)

    def pool(self, params, pooled, counts):
        own = {name: counts[j : j + 1] for j, name in enumerate(self.names)}
        return self._each(lambda family, p, other, count: family.pool(p, other, count), params, pooled, own)

    def marginal(self, params, column, rows=None):
        parts = [univariate.marginal_of(family, params[name], column, rows) for name, family in self.parts.items()]
        values = next((part.values for part in parts if part.values is not None), None)
        return univariate.Marginal(univariate.Stacked(tuple(part.distribution for part in parts)), values)

    def sample(self, key, params, labels):
        raise MissingCapabilityError("OneOf does not say how to draw rows of unlike members")

    def check_shape(self, params, x, name="data"):
        for name_of, family in self.parts.items():
            family.check_shape(params[name_of], x, name)

    def unusable(self, x):
        found = [family.unusable(x) for family in self.families]
        return jnp.all(jnp.stack(found), 0)

    def check_rows(self, x: Any, name: str = "data") -> None:
        for family in self.families:
            family.check_rows(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        for family in self.families:
            family.check(x, name)
