from typing import final

import equinox as eqx
import jax.numpy as jnp

from jaxem.families import AbstractFamily
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models._joined import AbstractJoined
from jaxem.models._members import require_family
from jaxem.structures.one import One


@final
class Single(AbstractJoined):
    """One member of a family, for each of whose rows something may be hidden.

    A mixture of one component, with the parameters of the family in the place of `MixtureParams` and without the
    leading axis `k`. Families that hide nothing have their maximum in one step.

    **Arguments:**

    - `family`: the distribution of a row.
    - `frozen`: names of parameters kept at their starting value; the others are maximised given them.
    - `start`: how a start is drawn when `fit` is not told: an `AbstractInit`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Poisson())
    >>> fit = jaxem.fit(model, jnp.array([[1.0], [2.0], [6.0]]), key=jax.random.key(0))
    >>> fit.params.rate.tolist()
    [3.0]
    """

    family: AbstractFamily
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    def __check_init__(self):
        require_family(self.family)
        self.check_names()

    @property
    def structure(self) -> One:
        return One(self.family.shared)

    @property
    def distribution(self) -> AbstractFamily:
        return self.family

    @eqx.filter_jit
    def sample(self, key, params, n):
        """Draw `n` rows; the second result is `()`: there is no component to tell."""
        return self.family.sample(key, self.structure.split(params)[1], jnp.zeros(n, jnp.int32)), ()
