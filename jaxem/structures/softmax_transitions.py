"""Transitions that depend on covariates."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxem._errors import DataError
from jaxem.families._design import Design, Frame, check_columns
from jaxem.families.responses import Responses
from jaxem.kernels.linalg import matmul
from jaxem.kernels.sums import unreduced
from jaxem.structures._parts import AbstractTransitions
from jaxem.structures._structure import centred_normal


class _AbstractSoftmax(AbstractTransitions):
    """What the part that users write and the one bound to covariates have in common."""

    deviation: float | None = eqx.field(static=True, default=None)

    linear: ClassVar[bool] = False
    driven: ClassVar[bool] = True

    def natural(self, transition):
        return transition

    def log_probabilities(self, natural, covariates):
        assert covariates is not None
        n, s, q = covariates.shape
        x = covariates.reshape(-1, q)
        return jax.nn.log_softmax(_against_staying(_odds(natural, x)), 1).reshape(*natural.shape[:1] * 2, n, s)

    def log_prior(self, transition):
        if self.deviation is None:
            return super().log_prior(transition)
        return centred_normal(_against_staying(transition), self.deviation, 1)

    def of_probabilities(self, p, covariates, weights):
        assert covariates is not None
        k, q = p.shape[0], covariates.shape[2]
        odds = jnp.log(jnp.take_along_axis(p, _others(k), 1) / jnp.diagonal(p)[:, None])
        return odds[:, :, None] * _constant(covariates.reshape(-1, q), weights)[None, None]

    def permuted(self, transition, order):
        k = transition.shape[0]
        moved = _against_staying(transition)[order][:, order]
        return jnp.take_along_axis(moved, _others(k)[:, :, None], 1)

    def check_width(self, transition, covariates):
        if transition.ndim != 3 or covariates.shape[2] != transition.shape[2]:
            raise DataError(
                f"data.covariates has {covariates.shape[2]} columns, but params.transition has shape "
                f"{transition.shape}, which must be [states, states - 1, columns]"
            )

    def check_covariates(self, moving):
        if self.deviation is None and len(moving):
            check_columns(moving, "data.covariates")


@final
class SoftmaxTransitions(_AbstractSoftmax):
    """Transitions that depend on covariates: a multinomial logit for each last state.

    `P(next = j | last = i, x) = softmax_j(x @ coefficients[i])`, in which staying, `j = i`, is the reference with
    coefficients 0 (as in moveHMM; depmixS4 takes the first state). So `params.transition` is `[k, k - 1, q]`: log odds
    of a move from `i` against staying, for the other states in their order. Data are `jaxem.models.Driven(rows,
    covariates)`, with the covariates of the transition into each step. A constant term is a column of ones.

    **Arguments:**

    - `deviation`: standard deviation of a normal prior of each coefficient about its mean over the states that may be
        next (of which the last one has coefficients 0). It keeps coefficients finite where covariates separate the
        transitions, or some never happen.

    There is no closed-form M-step (rung 1): fitted by EM gradient (the default), with a Newton block for each last
    state. Coefficients that run off to infinity make the fit `degenerate_component`. Diebold, Lee and Weinbach (1994);
    Visser and Speekenbrink (2010); Michelot, Langrock and Patterson (2016).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> from jaxem.models import Driven
    >>> season = jnp.cos(jnp.arange(60.0) / 3)
    >>> counts = jnp.where(season + 0.8 * jnp.sin(5 * jnp.arange(60.0)) > 0, 9.0, 1.0) + jnp.arange(60) % 3
    >>> model = jaxem.HMM(jaxem.Poisson(), 2, transitions=jaxem.structures.SoftmaxTransitions())
    >>> data = Driven(counts[None, :, None], jnp.stack([jnp.ones(60), season], 1)[None])
    >>> fit = jaxem.fit(model, data, key=jax.random.key(0), restarts=4)
    >>> fit.params.transition.shape
    (2, 1, 2)
    """

    def __check_init__(self):
        deviation = self.deviation
        number = isinstance(deviation, int | float | np.number) and not isinstance(deviation, bool)
        if deviation is not None and not (number and 0 < deviation < np.inf):
            raise ValueError(f"deviation must be positive and finite, got {deviation!r}")

    def bind(self, covariates, weights, reduce):
        _, s, q = covariates.shape
        if s == 0:
            return self
        own = weights.reshape(-1)
        own = jnp.where(reduce(jnp.sum(own)) > 0, own, jnp.ones_like(own))
        return WhitenedTransitions(self.deviation, Frame.of(covariates.reshape(-1, q), own, reduce))


@final
class WhitenedTransitions(_AbstractSoftmax):
    """`SoftmaxTransitions` bound to covariates: coefficients are those of covariates with unit second moments."""

    frame: Any = None

    def log_probabilities(self, natural, covariates):
        return super().log_probabilities(natural, self.frame.covariates(covariates))

    def log_prior(self, transition):
        return super().log_prior(self.decode(transition))

    def encode(self, transition):
        return self.frame.encode(transition.reshape(-1, transition.shape[2])).reshape(transition.shape)

    def decode(self, transition):
        return self.frame.decode(transition.reshape(-1, transition.shape[2])).reshape(transition.shape)

    def degenerate(self, transition):
        frame = self.frame
        if self.deviation is not None or transition.shape[0] == 1:
            return super().degenerate(transition)
        share = jax.nn.softmax(_against_staying(_odds(transition, frame.sample)), 1)
        share = share.reshape(-1, share.shape[2])
        return frame.undetermined(frame.amount[None] * share * (1 - share))


def _others(k: int) -> Int[np.ndarray, "k j"]:
    """The states that are not the one of each row, in their order."""
    return np.array([[j for j in range(k) if j != i] for i in range(k)], np.int32).reshape(k, k - 1)


def _odds(coefficients: Float[Array, "k j q"], x: Float[Array, "m q"]) -> Float[Array, "k j m"]:
    k, j, q = coefficients.shape
    return matmul(coefficients.reshape(k * j, q), x.T).reshape(k, j, x.shape[0])


def _against_staying(moves: Float[Array, "k j m"]) -> Float[Array, "k k m"]:
    """With 0 for the state itself in its place."""
    zero = jnp.zeros((1, moves.shape[2]), moves.dtype)
    return jnp.stack([jnp.concatenate([own[:i], zero, own[i:]]) for i, own in enumerate(moves)])


def _constant(x: Float[Array, "m q"], weights: Any) -> Float[Array, " q"]:
    """Coefficients of the linear function of the covariates that is nearest to 1."""
    if x.shape[0] == 0:
        return jnp.zeros(x.shape[1], x.dtype)
    own = jnp.ones_like(x[:, 0]) if weights is None else weights.reshape(-1).astype(x.dtype)
    own = jnp.where(jnp.sum(own) > 0, own, jnp.ones_like(own))
    return Design.of(Responses(x, jnp.ones_like(x[:, 0])), own, unreduced).about
