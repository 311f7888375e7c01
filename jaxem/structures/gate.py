"""A gate: each row chooses its member with probabilities that depend on covariates."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._errors import DataError
from jaxem.families._design import Frame, check_columns
from jaxem.families._table import check_table
from jaxem.kernels.linalg import matmul
from jaxem.structures._structure import AbstractStructure, centred_normal, over
from jaxem.structures.labelled import unlabelled
from jaxem.structures.weights import allowed


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


class MixtureOfExpertsParams(NamedTuple):
    """Coefficients of the `gate` `[k - 1, q]`, and the parameters of the `experts` with a leading axis `k`.

    The log weight of expert `j` exceeds that of the last one by `covariates @ gate[j]`.
    """

    gate: Float[Array, "m q"]
    experts: Any


@final
class Gate(AbstractStructure):
    """A softmax of linear functions of covariates, the last of which is 0, with a normal prior of this `deviation`.

    `frame` are coordinates in which the covariates are orthonormal.
    """

    size: int = eqx.field(static=True)
    deviation: float | None = eqx.field(static=True, default=None)
    frame: Frame | None = None

    params_type: ClassVar[Any] = MixtureOfExpertsParams
    natural_type: ClassVar[Any] = MixtureOfExpertsParams
    members: ClassVar[str] = "experts"
    names: ClassVar[tuple[str, ...]] = ("gate",)
    linear: ClassVar[bool] = False
    prior_hint: ClassVar[str] = "the gate has no conjugate prior; gate_deviation serves its posterior mode"

    @property
    def num_members(self) -> int:
        return self.size

    def covariates(self, data: PyTree) -> Float[Array, "n q"]:
        """What the gate sees."""
        x = covariates_of(data)
        return x if self.frame is None else self.frame.covariates(x)

    def log_weights(self, gate: Float[Array, "m q"], data: PyTree) -> Float[Array, "k n"]:
        """Log weights of the members in each row."""
        return jax.nn.log_softmax(_with_last(matmul(gate, self.covariates(data).T)), 0)

    def natural(self, own):
        return own

    def joint(self, natural, members, hidden, data):
        assert natural is not None
        log_weights = self.log_weights(natural[0], data)
        if hidden is None:
            return allowed(log_weights + members, data)
        return over(allowed(log_weights, data), members, hidden)

    def log_prior(self, own):
        if self.deviation is None:
            return 0
        return centred_normal(_with_last(self.decode(own)[0]), self.deviation, 0)

    def unconstrain(self, own):
        return own

    def constrain(self, free):
        return free

    def start(self, key, weights, data):
        return (jnp.zeros((self.num_members - 1, covariates_of(data).shape[1]), weights.dtype),)

    def permuted(self, own, order):
        moved = _with_last(own[0])[order]
        return (moved[:-1] - moved[-1:],)

    def bind(self, data, weights, reduce, frozen=()):
        if "gate" in frozen:
            return self
        return dataclasses.replace(self, frame=Frame.of(covariates_of(data), weights, reduce))

    def encode(self, own):
        return own if self.frame is None else (self.frame.encode(own[0]),)

    def decode(self, own):
        return own if self.frame is None else (self.frame.decode(own[0]),)

    def degenerate(self, own):
        if self.frame is None or self.num_members == 1 or self.deviation is not None:
            return False
        share = jax.nn.softmax(_with_last(matmul(own[0], self.frame.sample.T)), 0)
        return self.frame.undetermined(self.frame.amount[None] * share * (1 - share))

    def rows(self, data):
        data = unlabelled(data)
        return data.rows if isinstance(data, Gated) else data

    def floats_per_row(self, own, shared, each, lanes):
        return shared + own[0].shape[1] + lanes * (3 * self.num_members + each)


def covariates_of(data: PyTree) -> Float[Array, "n q"]:
    """What a gate sees of the data, in their coordinates."""
    data = unlabelled(data)
    return data.gate if isinstance(data, Gated) else data.x


def _with_last(logits: Float[Array, "m n"]) -> Float[Array, "k n"]:
    return jnp.concatenate([logits, jnp.zeros((1, logits.shape[1]), logits.dtype)])
