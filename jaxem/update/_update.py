from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem.kernels.sums import Reduce

# expect(data, weights, key) -> (statistics, value), summed over the rows given
Expect = Callable[[PyTree, Array, PRNGKeyArray], tuple[PyTree, Array]]


class AbstractUpdate(eqx.Module):
    """Which rows an iteration looks at, and what becomes of the statistics it had.

    `exact` says that the value it reports is that of the whole data, so that its gain can be judged.
    """

    exact: ClassVar[bool] = True
    additive: ClassVar[bool] = False  # needs statistics that do not depend on the parameters they were taken at

    def init(self, stats: PyTree, data: PyTree, weights: Array, key: PRNGKeyArray) -> PyTree:
        """State carried between iterations; `stats` has the shapes of the statistics."""
        return ()

    def ready(self, state: PyTree) -> Any:
        """True if the statistics are complete enough for an M-step."""
        return True

    def comparable(self, state: PyTree) -> Any:
        """True if the objective may be compared with the last one for which this was true."""
        return True

    @abstractmethod
    def __call__(
        self,
        expect: Expect,
        translate: Callable[[PyTree], PyTree],
        natural: PyTree,
        previous: PyTree,
        fresh: Array,
        data: PyTree,
        weights: Array,
        state: PyTree,
        key: PRNGKeyArray,
        reduce: Reduce,
    ) -> tuple[PyTree, Array, PyTree]:
        """Statistics, the objective's data part, and the next state.

        `previous` are the last statistics, meaningless while `fresh`; `translate` takes statistics from the coordinates
        of the last iteration to those of this one, which `natural` (the natural parameters) is in. `expect` sums over
        devices already; what else is summed over rows needs `reduce`.
        """
