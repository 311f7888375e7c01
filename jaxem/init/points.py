from typing import final

import jax

from jaxem.init._init import AbstractInit, draw_rows, rows_of, start_at


@final
class Points(AbstractInit):
    """Components centred on distinct rows drawn by weight, with equal weights and the spread of the whole data.

    A component with labelled rows is centred on one of these.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.Points())
    """

    def __call__(self, model, key, data, weights):
        rows, _ = rows_of(data)
        chosen = draw_rows(key, data, weights, model.structure.num_members)
        return start_at(model, jax.tree.map(lambda a: a[chosen], rows), rows, weights)
