from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._errors import DataError
from jaxem.families._design import check_columns
from jaxem.families._table import check_table


class Gated(NamedTuple):
    """Rows for the experts, and covariates of the gate `[n, q]` where those are others.

    The covariates are taken as they are: a constant term is a column of ones.

    **Example**

    >>> import numpy as np, jaxem
    >>> data = jaxem.models.Gated(np.array([[0.1], [2.3], [2.5]]), np.array([[1.0, 20.0], [1.0, 31.0], [1.0, 28.0]]))
    """

    rows: PyTree
    gate: Float[Array, "n q"]

    def check(self, separate: bool = True) -> None:
        """Raise `DataError` for covariates that cannot be used."""
        check_table(self.gate, "data.gate")
        if separate:
            check_columns(np.asarray(self.gate), "data.gate")


def check_gate(data: PyTree) -> None:
    """Raise `DataError` where there are neither `Gated` rows nor covariates that the gate can take."""
    if isinstance(data, Gated):
        return
    x = getattr(data, "x", None)
    if x is None or np.ndim(x) != 2:
        raise DataError(
            "the gate has no covariates: pass jaxem.models.Gated(rows, gate), or jaxem.Responses with x [n, p]"
        )
