"""`bootstrap`: the sampling distribution of the parameters of a fit, by refits to samples like its data."""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_count, require_key, require_kind
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem._status import failed, status_code, status_from_code
from jaxem._traced import require_concrete
from jaxem.engine.door import count_rows, for_question, question
from jaxem.engine.stop import Stop
from jaxem.information import Interval, observed
from jaxem.information._clusters import group_scores
from jaxem.information._matrices import Place
from jaxem.information._scales import scale_names
from jaxem.kernels.chunks import sum_chunks
from jaxem.kernels.linalg import matmul
from jaxem.models._exchange import aligned
from jaxem.record import Progress
from jaxem.resampling._draws import Units, blocks, require_several, require_whole, simulated, units_of, weights_of
from jaxem.resampling._replicates import Replicates, replicates_of
from jaxem.resampling._rounds import WORDS, refitted, require_same, sharing


def acceleration(
    model: Any, params: PyTree, data: PyTree, weights: Any, units: Units, fn: Callable[[PyTree], PyTree]
) -> Float[np.ndarray, " m"]:
    """The acceleration of each number of `fn(params)`, by the infinitesimal jackknife (Efron 1987).

    The influence of a unit, a row or a group of rows, is the inverse of the information times its score. What no unit
    moves has none, what the data do not determine NaN.
    """
    found = observed(model, params, data, weights=weights)
    error = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.delta(fn).standard_error)]).astype(float)
    # In units in which an influence is of the order of 1.
    scale = np.sqrt(units.frequency.sum()) / np.where(error > 0, error, 1)
    linear = scale[:, None] * found.influence(fn)
    strata = int(units.stratum.max()) + 1
    if units.grouped:
        scores = group_scores(model, params, data, weights=units.within, labels=units.of_row, size=len(units.frequency))
        influence = np.asarray(scores, float) @ linear.T
        powers = [units.frequency[:, None] * influence**p for p in range(4)]
        sums = np.stack([[np.bincount(units.stratum, column, strata) for column in each.T] for each in powers])
    else:
        exact = jnp.asarray(linear, found.matrix.dtype)
        sums = _sums_of_rows(
            model, params, data, weights=units.frequency, linear=exact, strata=units.stratum, size=strata
        )
    count, first, second, third = np.asarray(sums, float)
    mean = first / np.where(count > 0, count, 1)
    square = np.sum(second - count * mean**2, 1)
    cube = np.sum(third - 3 * mean * second + 2 * count * mean**3, 1)
    there = square > 0
    skew = np.where(there, cube / (6 * np.where(there, square, 1) ** 1.5), 0)
    return np.where(np.isnan(error), np.nan, skew)


@question(fill=False)
def _sums_of_rows(
    model: Any, params: PyTree, data: PyTree, *, weights: Any, linear: Array, strata: Any, size: int
) -> Float[Array, "4 m s"]:
    """Sums of the powers 0 to 3 of the influence of rows, in each stratum."""
    place = Place(model, params, data, weights)

    def one(block: PyTree, w: Array, index: Array) -> tuple[Array, Array]:
        rows, number = block
        influence = matmul(linear, place.scores(rows))
        powers = jnp.stack([influence**p for p in range(4)]) * w[None, None]
        sums = jnp.zeros((*powers.shape[:2], size), w.dtype).at[:, :, number].add(powers)
        return sums, jnp.zeros((), w.dtype)

    extra = place.here.size + 4 * len(linear)
    return sum_chunks(one, (place.data, jnp.asarray(strata)), place.weights, place.rows(extra))[0]


KINDS = ("nonparametric", "weighted", "parametric")


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """The result of `bootstrap`.

    **Attributes:**

    - `model`, `estimate`: the model, and the parameters of the fit.
    - `params`: those of the replicates, a tree with a leading axis; members in the order of the fit's.
    - `status`: how each refit ended, a `Status` of shape `[replicates]`.
    - `log_likelihood`: of each refit on its own sample, `[replicates]`.
    - `kind`: how the samples were drawn.
    """

    model: Any
    estimate: PyTree
    params: PyTree
    status: Any
    log_likelihood: Float[np.ndarray, " b"]
    kind: str
    acceleration: Callable[..., Any] = dataclasses.field(repr=False)

    @property
    def failed(self) -> Bool[np.ndarray, " b"]:
        """Which refits did not converge: they are degenerate, not finite, inaccurate, or ran out of steps."""
        return failed(self.status)

    @property
    def num_failed(self) -> int:
        """How many refits did not converge.

        They are among `params`, with what they ended at, and so in all that follows; see `without_failed`.
        """
        return int(self.failed.sum())

    def without_failed(self) -> "Bootstrap":
        """The same without the refits that did not converge: what is left is a selection, and may be too narrow."""
        kept = np.flatnonzero(~self.failed)
        if len(kept) < 2:
            raise DataError(f"{len(kept)} of {len(self.log_likelihood)} refits converged: nothing is left to look at")
        params, status = jax.tree.map(lambda leaf: leaf[kept], (self.params, self.status))
        return dataclasses.replace(self, params=params, status=status, log_likelihood=self.log_likelihood[kept])

    @cached_property
    def _parameters(self) -> Replicates:
        scales = scale_names(self.model, self.estimate)
        return Replicates(self.estimate, self.params, scales, partial(self.acceleration, _same))

    @property
    def standard_errors(self) -> PyTree:
        """The standard deviation of the replicates, a tree like the parameters."""
        return self._parameters.standard_errors

    @property
    def bias(self) -> PyTree:
        """The mean of the replicates less the parameters of the fit, a tree like these."""
        return self._parameters.bias

    @property
    def covariance(self) -> Float[np.ndarray, "m m"]:
        """The covariance of all `m` numbers, in the order of `jax.flatten_util.ravel_pytree(params)`."""
        return self._parameters.covariance

    def interval(self, level: float = 0.95, method: str = "percentile") -> Interval:
        """An interval of each parameter: `"percentile"`, `"basic"` or `"bca"`; see `Replicates.interval`."""
        return self._parameters.interval(level, method)

    def of(self, fn: Callable[[PyTree], PyTree]) -> Replicates:
        """Any function of the parameters, to a tree of arrays: its `standard_errors`, `bias` and `interval`.

        **Example**

        >>> import jax, jax.numpy as jnp, jaxem
        >>> model, x = jaxem.Single(jaxem.Poisson()), jnp.array([[1.0], [2.0], [6.0], [3.0], [0.0], [4.0]])
        >>> params = jaxem.fit(model, x, key=jax.random.key(0)).params
        >>> drawn = jaxem.bootstrap(model, params, x, key=jax.random.key(1), replicates=99)
        >>> zero = drawn.of(lambda p: jnp.exp(-p.rate[0]))  # the probability of no event
        >>> zero.values.shape, bool(zero.interval(0.9).lower < zero.value)
        ((99,), True)
        """
        return replicates_of(fn, self.estimate, self.params, partial(self.acceleration, fn))

    def __repr__(self) -> str:
        return f"Bootstrap({self.kind}, {len(self.log_likelihood)} replicates, {self.num_failed} failed)"


def bootstrap(
    model: AbstractModel,
    params: PyTree,
    data: Any,
    *,
    key: PRNGKeyArray,
    replicates: int = 999,
    kind: str = "nonparametric",
    weights: Any = None,
    strata: Any = None,
    groups: Any = None,
    algorithm: Algorithm | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    restarts: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
    lanes: int | None = None,
    time_limit: float | None = None,
    together: bool = False,
) -> Bootstrap:
    """The sampling distribution of fitted parameters: the model is fitted again to many samples like the data.

    All refits run in the lanes of one program (`jaxem.fit_many`), from the parameters of the fit. Where members can be
    exchanged, those of each refit are put in the order of the fit's: the assignment with which the posterior
    probabilities of the members of all rows agree best.

    **Arguments:**

    - `model`, `params`, `data`: a model, its parameters at a fit, and what it was fitted to.
    - `key`: a JAX random key. The same key gives the same samples.
    - `replicates`: how many samples.
    - `kind`:

        - `"nonparametric"`: as many rows as there are, drawn with replacement (Efron 1979).
        - `"weighted"`: all rows, with weights from a Dirichlet distribution in the place of counts (Rubin 1981; Newton
            and Raftery 1994): no row is lost, so that a small component is not either.
        - `"parametric"`: data drawn from the model at `params`, of the same shape: sequences of the same lengths, with
            the same entries missing.

    - `weights`: those of the fit. They are frequencies: a weight of `k` is `k` rows, each drawn by itself (with
        `groups`, which are drawn whole, any numbers).
    - `strata`: a label `[n]` for each row: as many rows (or groups) of each stratum are drawn as it has.
    - `groups`: a label `[n]` for each row: groups are drawn, with all their rows.
    - `restarts`: how many starts each refit has besides the fit, drawn as those of `jaxem.fit`.
    - `algorithm`, `tol`, `max_steps`, `progress`, `lanes`: as for `jaxem.fit_many`.
    - `time_limit`: seconds after which no more samples are begun. Those that were, at least two, are fitted to the end
        and returned, whatever time they take; after an interrupt (Ctrl-C) as well.
    - `together`: true where several processes (`jax.distributed`) share the samples out: all pass the same arguments,
        the whole of the data among them, each fits its part, and all have the result. `progress` hears of that part.

    **Returns:** a `Bootstrap`. Refits that fail are counted (`num_failed`), not left out. The bootstrap does not see
    what the data do not determine, such as the rotation of loadings: `jaxem.information.observed` names it.

    **Raises:** `DataError` for wrong arguments; `MissingCapabilityError` for `"parametric"` where the model does not
    say how to draw such data.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> model = jaxem.GaussianMixture(2, "diagonal")
    >>> params = jaxem.fit(model, x, key=jax.random.key(0), restarts=4).params
    >>> drawn = jaxem.bootstrap(model, params, x, key=jax.random.key(1), replicates=199)
    >>> drawn
    Bootstrap(nonparametric, 199 replicates, 0 failed)
    >>> [f"{error:.2f}" for error in drawn.standard_errors.components.mean[:, 0]]  # minutes of an eruption
    ['0.03', '0.03']
    """
    require_concrete(
        "jaxem.bootstrap",
        "jax.vmap of jaxem.solve",
        **{"model": model, "params": params, "data": data, "weights": weights},
    )
    require_key(key)
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    replicates, restarts = as_count("replicates", replicates, least=2), as_count("restarts", restarts, least=0)
    if kind not in KINDS:
        raise DataError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    require_same(together, model, params, data, weights, strata, groups, key, replicates, kind, algorithm, restarts)
    data, weights, params, _ = for_question(model, params, data, weights)
    weights = None if weights is None else np.asarray(weights)
    of_samples, of_starts = jax.random.split(key)
    share = sharing(together)
    skew: Callable[..., Any] = partial(_no_acceleration, kind)
    if kind == "parametric":
        for name, given in (("strata", strata), ("groups", groups)):
            if given is not None:
                raise DataError(f"{name} are for samples of rows; leave {name} out with kind='parametric'")
        samples = simulated(model, params, data, weights, of_samples, replicates, "kind='parametric'", share=share)
    else:
        units = units_of(count_rows(data), weights, strata, groups)
        require_several(units)
        if kind == "nonparametric":
            require_whole(units)
            skew = partial(acceleration, model, params, data, weights, units)
        draw = partial(weights_of, units, of_samples, exact=kind == "nonparametric")
        numbers = blocks(replicates, count_rows(data))
        samples = ((block, {"data": data, "weights": draw(share(block))}) for block in numbers)

    stop = Stop.draining(time_limit)
    common: dict[str, Any] = {"algorithm": algorithm, "tol": tol, "max_steps": max_steps, "lanes": lanes}
    asked: dict[str, Any] = {"key": of_starts, "init": params, "restarts": 1 + restarts, "progress": progress, **common}
    with stop.interruptible(WORDS):
        rounds = refitted(model, samples, replicates, together, stop, **asked)
        found = [(fits.params, status_code(fits.status), fits.log_likelihood) for _, _, fits in rounds]
    stack, code, log_likelihood = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    stack = jax.tree.map(jnp.asarray, aligned(model, params, jax.tree.map(jnp.asarray, stack), data, weights)[0])
    return Bootstrap(model, params, stack, status_from_code(jnp.asarray(code)), log_likelihood, kind, skew)


def _no_acceleration(kind: str, fn: Any) -> Any:
    raise DataError(f"method='bca' is for samples of rows, kind='nonparametric'; these are {kind!r}: use 'percentile'")


def _same(params: PyTree) -> PyTree:
    return params
