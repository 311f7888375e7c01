"""Smoothing: the states of sequences under a hidden Markov model that is fitted to them."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._arguments import as_count
from jaxem._errors import DataError
from jaxem.e_step.tempered import tempered
from jaxem.families import Gaussian
from jaxem.kernels.forward_backward import forward_backward
from jaxem.kernels.forward_backward_log import filter_log
from jaxem.layers._layer import AbstractLayer, Fitting, as_hmm, dirichlet, free_members, gaussian
from jaxem.layers._run import (
    AbstractTask,
    Look,
    about_constant,
    fit,
    placed,
    state_after,
    with_equal_share,
)
from jaxem.models import HMM, HMMParams, Sequences


class Smoothed(NamedTuple):
    """What `hmm_smoothing` finds.

    - `states`: probabilities of the states of each step given the whole sequence, `[n, T, k]`; 0 after its end.
    - `params`: the fitted hidden Markov model.
    - `trusted`: true if the run came to its end, and no state is empty, collapsed or out of reach: only then is its
        derivative what the adjoint says. It is finite in any case.
    """

    states: Float[Array, "n T k"]
    params: HMMParams
    trusted: Bool[Array, ""]


@final
class ChainTask(AbstractTask):
    """A hidden Markov model with Gaussian emissions, from `start`. The rows of its table are the steps."""

    model: HMM
    start: HMMParams

    def table(self, data):
        values = data.values if isinstance(data, Sequences) else data
        return values.reshape(-1, values.shape[-1])

    def look(self, params, data, weights, temperature):
        shares, scores, ended = self.smoothed(params, data, temperature)
        there = jnp.ones_like(scores) if ended is None else jnp.where(ended, 0, jnp.ones_like(scores))
        if isinstance(data, Sequences):
            there = jnp.where(data.seen(), there, 0)
        if weights is not None:
            there = there * weights[:, None]
        return Look(shares.reshape(-1, shares.shape[-1]), scores.reshape(-1), there.reshape(-1))

    def reseat(self, params, dead, places):
        shared = bool(self.model.emission.shared)
        transition = jnp.where(dead[:, None], jnp.full_like(params.transition, 1 / dead.shape[0]), params.transition)
        return HMMParams(
            with_equal_share(params.initial, dead),
            with_equal_share(transition, dead),
            placed(params.emission, dead, places, shared),
        )

    def smoothed(
        self, params: HMMParams, data: PyTree, temperature: Array
    ) -> tuple[Float[Array, "n T k"], Float[Array, "n T"], Bool[Array, "n T"] | None]:
        """Tempered probabilities of the states, the log density of each step given those before, and what has ended."""
        bound = about_constant(self.model, params)
        potentials: Any = tempered(bound.potentials(bound.natural(params), data), temperature)
        (initial, transition, local), ended = potentials.factors()
        states = jnp.transpose(forward_backward(initial, transition, local, ended, True)[0].local, (2, 0, 1))
        scores = filter_log(initial, transition, local, ended)[2]
        return states, scores.T, None if ended is None else ended.T


def hmm_smoothing(
    x: Float[Array, "n T d"] | Sequences,
    start: HMMParams,
    *,
    covariance: str = "diagonal",
    temperature: Any = 1.0,
    warm: HMMParams | None = None,
    weights: Float[Array, " n"] | None = None,
    fitting: Fitting | None = None,
) -> Smoothed:
    """Probabilities of the states of each step, under a hidden Markov model that EM fits to these sequences.

    With `fitting.pseudo_count` the prior has its mode at `start`: Dirichlet priors of the first state and of each row
    of the transitions, and a normal-inverse-Wishart prior of the emissions (inverse gammas for separate variances). A
    pure function, for `jax.jit`, `jax.vmap` over a batch of sets of sequences, and derivatives with respect to all that
    is an array. Baum, Petrie, Soules and Weiss (1970).

    **Arguments:**

    - `x`: sequences, `[n, T, d]`, that have one model in common, or `jaxem.Sequences` where lengths differ or steps
        were not observed (fill their values with any number). A set with a value that is not finite counts as zeros,
        and is not trusted.
    - `start`: `jaxem.models.HMMParams` with `jaxem.families.GaussianParams` for emission, of the same precision.
    - `covariance`: `"full"`, `"tied"`, `"diagonal"` or `"spherical"`, which says the shape of `start`.
    - `temperature`: of the states, transitions included, during the fit and in the answer; positive.
    - `warm`: parameters to start from in the place of `start`, such as those of the last call. The prior stays.
    - `weights`: of the sequences, `[n]`; 0 for padding.
    - `fitting`: see `Fitting`.

    **Raises:** `DataError` for shapes and precisions that do not fit together.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> x = jnp.array([[[0.0], [0.1], [0.2], [5.0], [5.1], [4.9]]])
    >>> emission = jaxem.families.GaussianParams(jnp.array([[1.0], [4.0]]), jnp.ones((2, 1)))
    >>> start = jaxem.models.HMMParams(jnp.full(2, 0.5), jnp.full((2, 2), 0.5), emission)
    >>> jaxem.layers.hmm_smoothing(x, start).states[0, :, 1].round(1).tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    fitting = Fitting() if fitting is None else fitting
    start, count = as_hmm("start", start), fitting.pseudo_count
    if not isinstance(x, Sequences):
        x = jnp.asarray(x)
        if x.ndim != 3:
            raise DataError(f"x must be sequences [n, T, d], got {list(x.shape)}; x[None] for a single one")
    model = HMM(
        gaussian(covariance, start.emission, count),
        start.initial.shape[0],
        initial_prior=dirichlet(start.initial, count),
        transition_prior=dirichlet(start.transition, count),
    )
    task = ChainTask(model, start)
    found = fit(task, None if warm is None else as_hmm("warm", warm), x, weights, temperature, fitting)
    values = found.data.values if isinstance(found.data, Sequences) else found.data
    states = found.look.shares.reshape(*values.shape[:2], -1)
    return Smoothed(states, found.params, found.trusted)


@final
class HMMSmoothing(AbstractLayer):
    """`hmm_smoothing` as a layer: the initial model and the temperature are learned.

    `layer(x, state=None, weights=None)` is `(smoothed, state)`. The state, parameters of a hidden Markov model, is what
    the next call may start from, like that of a recurrent cell: `None` starts from the learned ones. In a batch of sets
    of sequences, `jax.vmap(layer)(x, state)`.

    **Arguments:**

    - `num_states`, `num_features`: `k` and `d`.
    - `key`: initial means are drawn from a standard normal distribution; variances are 1.
    - `stay`: the initial probability to stay in a state, between 0 and 1; the others share the rest.
    - `covariance`: see `hmm_smoothing`.
    - `temperature`: its initial value.
    - `learn_temperature`: true to learn it.
    - `fitting`: see `Fitting`.

    **Example**

    >>> import jax, jaxem
    >>> layer = jaxem.layers.HMMSmoothing(3, 2, key=jax.random.key(0), fitting=jaxem.layers.Fitting(steps=3))
    >>> x = jax.random.normal(jax.random.key(1), (4, 1, 20, 2))
    >>> smoothed, state = jax.jit(jax.vmap(layer))(x)
    >>> smoothed.states.shape, state.transition.shape
    ((4, 1, 20, 3), (4, 3, 3))
    """

    initial_logits: Float[Array, " k"]
    transition_logits: Float[Array, "k k"]
    emission: PyTree  # in unconstrained coordinates
    covariance: str = eqx.field(static=True)

    def __init__(
        self,
        num_states: int,
        num_features: int,
        *,
        key: PRNGKeyArray,
        stay: float = 0.8,
        covariance: str = "diagonal",
        temperature: float = 1.0,
        learn_temperature: bool = False,
        fitting: Fitting | None = None,
    ):
        k, d = as_count("num_states", num_states), as_count("num_features", num_features)
        if not 0 < stay < 1:
            raise DataError(f"stay must lie between 0 and 1, got {stay!r}")
        family = Gaussian(covariance)
        self.initial_logits, self.covariance = jnp.zeros(k), family.covariance
        away = jnp.full((k, k), (1 - stay) / max(k - 1, 1))
        self.transition_logits = jnp.log(jnp.where(jnp.eye(k, dtype=bool), stay, away))
        self.emission = free_members(key, family, k, d)
        super().__init__(temperature, learn_temperature, fitting)

    @property
    def start(self) -> HMMParams:
        """The initial model."""
        return HMMParams(
            jax.nn.softmax(self.initial_logits),
            jax.nn.softmax(self.transition_logits, -1),
            Gaussian(self.covariance).constrain(self.emission),
        )

    def __call__(
        self, x: Float[Array, "n T d"] | Sequences, state: HMMParams | None = None, weights: Array | None = None
    ) -> tuple[Smoothed, HMMParams]:
        """The states of one set of sequences, and the state of the layer after them."""
        start = self.start
        smoothed = hmm_smoothing(x, start, covariance=self.covariance, **self.options(state, weights))
        return smoothed, state_after(start, smoothed.params, smoothed.trusted)
