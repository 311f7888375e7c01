from typing import Any, NamedTuple, final

import equinox as eqx
from jaxtyping import Array


@final
class Restarts(eqx.Module):
    """What became of every start, failed ones included: arrays of length `restarts`."""

    objective: Array
    status: Any
    num_steps: Array


class Progress(NamedTuple):
    """What `fit(progress=...)` is told after each round.

    Starts finished and in all, lanes running, rounds and iterations so far (over all lanes), and the best objective of
    a finished start (minus infinity before there is one).
    """

    done: int
    total: int
    running: int
    rounds: int
    steps: int
    best: float


class StreamProgress(NamedTuple):
    """What `fit_stream(progress=...)` is told after each batch.

    The pass, batches and rows so far (over all passes), and the batch's estimate of the objective of the whole.
    """

    pass_number: int
    batches: int
    rows: int
    objective: float
