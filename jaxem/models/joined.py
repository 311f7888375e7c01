"""Any structure with any family: what `Mixture`, `Single`, `HMM` and `MixtureOfExperts` are short names of."""

from typing import final

import equinox as eqx

from jaxem.families import AbstractFamily
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models._joined import AbstractJoined
from jaxem.models._members import require_family
from jaxem.structures._structure import AbstractStructure


@final
class Joined(AbstractJoined):
    """A model in which a structure, of your own or of `jaxem.structures`, says which member each row comes from.

    **Arguments:**

    - `structure`: an `AbstractStructure`, such as `jaxem.structures.Weights(3)`.
    - `family`: the distribution of a row, such as `jaxem.Gaussian(...)`.
    - `frozen`: names of parameters kept at their starting value.
    - `start`: how the members of a start are drawn when `fit` is not told: an `AbstractInit`.

    Parameters are what the structure makes them: `structure.params_type`, with those of the members in its last field.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.models.Joined(jaxem.structures.Weights(2), jaxem.Poisson())
    >>> counts = jnp.array([[0.0], [1.0], [0.0], [9.0], [11.0], [10.0]])
    >>> fit = jaxem.fit(model, counts, key=jax.random.key(0), restarts=4)
    >>> model.predict(fit.params, counts).shape
    (6,)
    """

    own: AbstractStructure
    family: AbstractFamily
    frozen: tuple[str, ...] = eqx.field(static=True)
    start: AbstractInit

    def __init__(
        self,
        structure: AbstractStructure,
        family: AbstractFamily,
        frozen: tuple[str, ...] = (),
        start: AbstractInit = KMeansPlusPlus(),  # noqa: B008
    ):
        self.own, self.family, self.frozen, self.start = structure, family, tuple(frozen), start
        if not isinstance(structure, AbstractStructure):
            raise ValueError(f"structure must be such as jaxem.structures.Weights(3), got {structure!r}")
        require_family(family)
        self.check_names()

    @property
    def structure(self) -> AbstractStructure:
        return self.own

    @property
    def distribution(self) -> AbstractFamily:
        return self.family
