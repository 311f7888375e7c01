from typing import final

import jax.numpy as jnp

from jaxem.latent._latent import AbstractLatent
from jaxem.latent._several import AbstractSeveral


@final
class Independent(AbstractSeveral):
    """Several things that are hidden of an observation at once, for `Nested`: independent given its member.

    Potentials and moments are a `SeveralTree`, all of whose leaves have leading axes `[k, n]`. The log-normalizer is
    the sum of those of the structures.

    **Arguments:**

    - `structures`: one for each; `None` for what hides nothing.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import GammaScale, GammaScaleTree, Independent, SeveralTree
    >>> zero = jnp.zeros((1, 1))
    >>> scale = GammaScaleTree(zero, zero + 2, zero + 0.5, zero)
    >>> latent = Independent((GammaScale(), GammaScale()))
    >>> alone, both = GammaScale().log_normalizer(scale), latent.log_normalizer(SeveralTree(zero, (scale, scale)))
    >>> bool(jnp.allclose(both, 2 * alone))
    True
    """

    structures: tuple[AbstractLatent | None, ...]

    def combine(self, like, values):
        return sum((value for value in values if value is not None), jnp.zeros_like(like))

    def factor_of(self, factor, j):
        return factor
