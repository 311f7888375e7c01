from typing import final

from jaxem.update._update import AbstractUpdate


@final
class Full(AbstractUpdate):
    """All rows at every iteration.

    **Example**

    >>> import jaxem
    >>> jaxem.em().update
    Full()
    """

    def __call__(self, expect, translate, natural, previous, fresh, data, weights, state, key, reduce):
        stats, value = expect(data, weights, key)
        return stats, value, state
