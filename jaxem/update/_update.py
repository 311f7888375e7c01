from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._model import AbstractModel, Reduce

# expect(data, weights, key) -> (statistics, value), summed over the rows given
Expect = Callable[[PyTree, Array, PRNGKeyArray], tuple[PyTree, Array]]


class AbstractUpdate(eqx.Module):
    """Which rows an iteration looks at, and what becomes of the statistics it had.

    `exact` says that the value it reports is that of the whole data, so that its gain can be judged.
    """

    exact: ClassVar[bool] = True
    additive: ClassVar[bool] = False  # needs statistics that do not depend on the parameters they were taken at

    def init(self, data: PyTree, weights: Array, key: PRNGKeyArray) -> PyTree:
        """State carried between iterations."""
        return ()

    @abstractmethod
    def __call__(
        self,
        expect: Expect,
        model: AbstractModel,
        previous: PyTree,
        fresh: Array,
        data: PyTree,
        weights: Array,
        state: PyTree,
        key: PRNGKeyArray,
        reduce: Reduce,
    ) -> tuple[PyTree, Array, PyTree]:
        """Statistics in the coordinates of `model`, the objective's data part, and the next state.

        `previous` are the last statistics, in the same coordinates; they are meaningless while `fresh`.
        `expect` sums over devices already; what else is summed over rows needs `reduce`.
        """
