"""`fit_stream`: stepwise EM over batches of rows that need not fit in memory together."""

import sys
from collections.abc import Callable
from typing import Any

from jaxtyping import PRNGKeyArray

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_count, as_tolerance, require_key, require_kind
from jaxem._batches import Reader
from jaxem._errors import DataError, FitError, MissingCapabilityError
from jaxem._exact import fit_exactly, require_exact
from jaxem._model import AbstractModel
from jaxem._renamed import renamed
from jaxem._solve import Fit
from jaxem._status import Status, status_name
from jaxem._stepwise import StepwiseOptions, fit_stepwise
from jaxem._traced import require_concrete
from jaxem.algorithms import stepwise_em
from jaxem.engine.stop import Stop
from jaxem.record import StreamProgress
from jaxem.termination import AbstractTermination
from jaxem.update import Full, Incremental, Stepwise


@renamed(params="init")
def fit_stream(
    model: AbstractModel,
    batches: Any,
    *,
    key: PRNGKeyArray,
    init: Any = None,
    restarts: int | None = None,
    algorithm: Algorithm | None = None,
    passes: int = 1,
    total_weight: float | None = None,
    score: bool = False,
    tol: float | None = None,
    max_steps: int | None = None,
    termination: AbstractTermination | None = None,
    progress: Callable[[StreamProgress], Any] | bool | None = None,
    time_limit: float | None = None,
    checkpoint: Any = None,
    together: bool = False,
    throw: bool = True,
) -> Fit:
    """Fits a model to batches of rows that do not fit in memory together: online EM, or exact EM by passes over all.

    By default an update for each batch: its expected statistics enter the decaying average of `jaxem.update.Stepwise`,
    and the M-step follows. It comes to what `jaxem.solve` makes of the same blocks in the same order. Cappe and
    Moulines (2009); Liang and Klein (2009).

    An algorithm that looks at all rows, such as `jaxem.em()`, makes an exact run: each iteration is a pass over all
    batches, whose statistics are summed. From the same start, steps, objective, status and parameters are those of
    `jaxem.fit` on the same rows in memory, to rounding. Every pass serves all starts that still run, and reading goes
    on in a thread of its own beside the computations. First come the passes that the model's coordinates take (shift
    and scale of all rows): five for normal members, twenty for those of a Student t. Where single precision loses too
    many digits, the starts concerned go on once the others have ended.

    `jaxem.incremental_em()` takes a step after every batch, in which its statistics take the place of those that it
    gave in the pass before (Neal and Hinton 1998). The batches are the blocks, the same ones in the same order in every
    pass: where `jaxem.fit` has the same blocks, the two are the same run, to rounding. Memory holds the statistics of
    every batch, for every start in its lane.

    Memory holds two batches and one that is being read, a sample of at most 32,768 rows, statistics and parameters.

    **Arguments:**

    - `model`: a model with linear potentials, such as `jaxem.GaussianMixture(3)`.
    - `batches`: `jaxem.batches(...)` of an array, a `numpy.memmap` or a file (`.npy`, Parquet, text); an iterable of
        tables `[r, d]`, or of pairs of a table and weights `[r]`; a callable that returns a fresh iterator. What can be
        read once only, such as a generator, will do for one pass. Short batches are padded to the longest so far, so
        that equal batches with a short last one compile one program. The coordinates that a stepwise run works in
        (shift, scale, covariance floor) are those of the first batch: it should be typical.
    - `key`: a JAX random key.
    - `init`: where to start: parameters, or a way to draw `restarts` starts as in `jaxem.fit`. A stepwise run takes one
        set of parameters, or the best start after a few iterations on the first batch. An exact one takes a stack of
        them too, and draws from the sample: rows of positive weight, each as likely as any other.
    - `restarts`: how many starts: 8 by default, 1 for an exact run.
    - `algorithm`: `jaxem.stepwise_em()` by default (its `rows` is not used), or another whose update is `Stepwise`. For
        an exact run one that works on sums over all rows: `em`, `squarem`, `anderson`, `hard_em`, `annealed_em`,
        `alpha_em`, `ecm`, `px_em`, `vbem`, with priors too; or `incremental_em` (its `blocks` are not used).
    - `passes`: how many times a stepwise run goes through the batches.
    - `total_weight`: of a stepwise run: the weight of all rows together, which a prior is set against. Known to
        `jaxem.batches` of arrays; needed otherwise if the model has a prior.
    - `score`: one more pass of a stepwise run for `log_likelihood` and `objective`, which are NaN without it. An exact
        run has both from its own passes (one or two more where it ascends something else, as `vbem`, `hard_em` and
        `incremental_em` do).
    - `tol`, `max_steps`, `termination`: of an exact run, as in `jaxem.fit`; 1000 steps by default.
    - `progress`: called with a `StreamProgress` after every batch; `True` prints a line to standard error. A run ends
        if it answers `True`: a stepwise one at once, an exact one after the pass.
    - `time_limit`, `checkpoint`: as in `jaxem.fit`. A run that goes on reads again the batches that it had seen, an
        exact one those of a pass, and compares them with those that the file was written for.
    - `together`: true where several processes (`jax.distributed`) make an exact run together: each gives batches of its
        own, sums are over those of all, and all have the result. All pass the same other arguments.
    - `throw`: raise `FitError` if parameters or statistics stop being finite (of every start); otherwise the status
        says so.

    **Returns:** a `Fit`. That of an exact run is as from `jaxem.fit`. That of a stepwise run has status `completed` (or
    `degenerate_component`, ...), and its `history` holds the estimates of the objective of all rows by a batch: at the
    start, and after each update.

    **Raises:** `DataError`, which names the batch and the row in it; `MissingCapabilityError`; `FitError`; whatever the
    reading of batches raises.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> stream = jaxem.batches(x, rows=68, key=jax.random.key(1))
    >>> fit = jaxem.fit_stream(jaxem.GaussianMixture(2), stream, key=jax.random.key(0), passes=5)
    >>> jaxem.status_name(fit.status), int(fit.num_steps), fit.params.components.mean.shape
    ('completed', 20, (2, 2))
    >>> exact = jaxem.fit_stream(jaxem.GaussianMixture(2), stream, key=jax.random.key(0), algorithm=jaxem.em())
    >>> jaxem.status_name(exact.status)
    'converged'
    """
    require_concrete("jaxem.fit_stream", "jaxem.solve", model=model, init=init)
    require_key(key)
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_kind("algorithm", algorithm, Algorithm, "jaxem.stepwise_em()")
    algorithm, exact = algorithm or stepwise_em(), _is_exact(algorithm)
    _require(model, algorithm)
    passes = as_count("passes", passes)
    restarts = as_count("restarts", (1 if exact else 8) if restarts is None else restarts)
    ends = {"tol": tol, "max_steps": max_steps, "termination": termination}
    _require_used(exact, passes, total_weight, {**ends, "together": together or None})
    report = _print if progress is True else progress or None
    if together and isinstance(algorithm.update, Incremental):
        raise DataError(
            "together: processes sum over all their batches, and incremental EM takes a step after each; use "
            "algorithm=jaxem.em(), or leave together out"
        )
    reader = Reader(model, batches, passes + score, restartable=exact)
    early = Stop.of(time_limit), checkpoint
    if exact:
        tol = None if tol is None else as_tolerance(tol)
        limits = tol, as_count("max_steps", 1000 if max_steps is None else max_steps, least=0), termination
        search = fit_exactly(model, reader, algorithm, key, init, restarts, *limits, report, *early, together)
        _end_line(report)
        return search.result(throw)
    options = StepwiseOptions(passes, total_weight, score, restarts)
    found = fit_stepwise(model, reader, algorithm, key, init, options, report, *early)
    _end_line(report)
    if throw and status_name(found.status) in ("not_finite", "inaccurate"):
        raise FitError(f"the run failed after {int(found.num_steps)} updates: {Status[found.status]}")
    return found


def _require(model: AbstractModel, algorithm: Algorithm) -> None:
    if not isinstance(algorithm.update, Stepwise | Full | Incremental):
        raise MissingCapabilityError(
            f"{type(algorithm.update).__name__} chooses rows of its own, and a stream shows its batches in turn; use "
            "jaxem.stepwise_em(), jaxem.incremental_em(), or jaxem.em() for exact passes"
        )
    if algorithm.e_step.stops:
        raise MissingCapabilityError(
            f"{type(algorithm.e_step).__name__} decides from all rows when to stop; use jaxem.e_step.Sample()"
        )
    if not model.linear:
        raise MissingCapabilityError(
            f"a stream is fitted by adding up statistics, and {type(model).__name__} has none (rung 2: `natural` and "
            "linear `potentials`)"
        )
    if _is_exact(algorithm):
        require_exact(algorithm)


def _is_exact(algorithm: Algorithm | None) -> bool:
    return algorithm is not None and isinstance(algorithm.update, Full | Incremental)


def _require_used(exact: bool, passes: int, total_weight: Any, of_exact: dict[str, Any]) -> None:
    """Raise `DataError` for an argument that such a run does not look at."""
    require_kind("termination", of_exact["termination"], AbstractTermination, "jaxem.termination.Gain()")
    if exact:
        if passes != 1:
            raise DataError(f"passes={passes}: an exact run makes as many as it takes; limit them by max_steps")
        if total_weight is not None:
            raise DataError(f"total_weight={total_weight}: an exact run adds the weights up itself; leave it out")
        return
    for name, value in of_exact.items():
        if value is not None:
            raise DataError(
                f"{name} is for an exact run, such as of algorithm=jaxem.em(); a stepwise one makes `passes` passes"
            )


def _print(p: StreamProgress) -> None:
    sys.stderr.write(f"\rpass {p.pass_number + 1}, {p.batches} batches, {p.rows} rows, objective {p.objective:.6g}")
    sys.stderr.flush()


def _end_line(report: Any) -> None:
    if report is _print:
        sys.stderr.write("\n")
