"""What mixtures have in common, whatever the weights of their components depend on."""

from typing import Any

import equinox as eqx
import numpy as np

from jaxem._errors import DataError
from jaxem.families import AbstractFamily
from jaxem.kernels.chunks import num_rows
from jaxem.models._joined import AbstractJoined
from jaxem.models._members import require_family
from jaxem.structures.labelled import Labelled


class AbstractMixture(AbstractJoined):
    """Rows that choose one of `num_components` members of a family, independently of each other."""

    family: eqx.AbstractVar[AbstractFamily]
    num_components: eqx.AbstractVar[int]

    @property
    def distribution(self) -> AbstractFamily:
        return self.family

    def check_components(self) -> None:
        """Raise `ValueError` for what is no family, or a number of components that is no positive integer."""
        require_family(self.family)
        number = self.num_components
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"num_components must be a positive integer, got {self.num_components!r}")

    # The door of data

    def check_shape(self, params, data):
        super().check_shape(params, data)
        if isinstance(data, Labelled) and data.labels.shape != (num_rows(data.rows),):
            raise DataError(f"labels must be {num_rows(data.rows)} integers, got shape {data.labels.shape}")

    def check_rows(self, data):
        super().check_rows(data)
        if isinstance(data, Labelled):
            data.check(num_rows(data.rows), self.num_components)

    def check(self, data, weights):
        self.check_members()
        self.check_enough(num_rows(data), weights)
        super().check(data, weights)
        if isinstance(data, Labelled):
            data.check(num_rows(data.rows), self.num_components)

    def check_enough(self, n: int, weights: Any) -> None:
        """Raise `DataError` for fewer rows of positive weight than components."""
        used = n if weights is None else int(np.sum(np.asarray(weights) > 0))
        if 0 < used < self.num_components:
            raise DataError(
                f"data has {used} rows with positive weight, fewer than num_components={self.num_components}"
            )
