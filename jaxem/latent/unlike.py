from typing import final

import jax.numpy as jnp

from jaxem.latent._latent import AbstractLatent
from jaxem.latent._several import AbstractSeveral


@final
class Unlike(AbstractSeveral):
    """Members that hide different things of an observation, for `Nested`: one structure for each of them.

    Potentials and moments are a `SeveralTree`, whose leaves have leading axes `[k, n]` in `member`, and `[1, n]` in
    what a member hides.

    **Arguments:**

    - `structures`: that of each member, `None` for those that hide nothing.

    **Example**

    >>> from jaxem.latent import GammaScale, Unlike
    >>> Unlike((None, GammaScale())).lacks
    ()
    """

    structures: tuple[AbstractLatent | None, ...]

    def combine(self, like, values):
        return jnp.concatenate([jnp.zeros_like(like[:1]) if value is None else value for value in values], 0)

    def factor_of(self, factor, j):
        return factor[j : j + 1]
