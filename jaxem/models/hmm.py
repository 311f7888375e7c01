from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._door import question
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._renamed import renamed
from jaxem.families import AbstractFamily
from jaxem.families.priors import Dirichlet
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.chunks import not_finite
from jaxem.kernels.forward_backward import filter_log, forward_backward
from jaxem.kernels.linalg import matmul, trailing
from jaxem.kernels.paths import draw_path, of_path, path_entropy, viterbi
from jaxem.models._joined import AbstractJoined, fill, require_family
from jaxem.structures._pattern import as_fixed
from jaxem.structures.markov import HMMParams as HMMParams
from jaxem.structures.markov import Markov
from jaxem.structures.sequences import as_sequences


@final
class HMM(AbstractJoined):
    """A hidden Markov model: each step of a sequence comes from the member of a family that the state of a Markov chain
    names.

    **Arguments:**

    - `emission`: the distribution of a step given its state, such as `jaxem.Gaussian(...)` or `jaxem.Poisson()`.
    - `num_states`: how many states, `k`.
    - `initial`: `"free"`, or `"stationary"`: every sequence begins in the stationary distribution of the transitions.
        The M-step of the transitions is then one of Newton's method, and `params.initial` follows from it.
    - `initial_prior`, `transition_prior`: `Dirichlet` priors of the first state and of each row of the transitions.
    - `initial_pattern` `[k]`, `transition_pattern` `[k, k]`: entries that are fixed, NaN for the others. A 0 is a
        transition that cannot be: `[[nan, nan], [0, 1]]` has no way back.
    - `frozen`: names of parameters kept at their starting value, such as `("transition", "emission.covariance")`.
    - `start`: how the emission of a start is drawn when `fit` is not told: as that of a mixture, by an `AbstractInit`.

    Data are `[n, T, d]`, or `Sequences` where lengths differ or steps were not observed; weights are those of
    sequences. A regression takes `jaxem.Responses` with covariates `[n, T, p]` and responses `[n, T]`, as they are or
    in `Sequences`. Steps whose row (or response) is NaN throughout count as not observed, single missing entries are
    for families that take them: `jaxem.Incomplete`, `jaxem.families.IncompleteColumns`, `jaxem.Factor`, and a
    `jaxem.Product` of these, whose other blocks `impute` leaves NaN at steps that were not observed. `log_prob` is that
    of whole sequences, and the tolerance of a fit is a gain for each sequence. A state that no step comes from any more
    cannot be reached: the fit has status `degenerate_component`.

    Baum, Petrie, Soules and Weiss (1970); Zucchini, MacDonald and Langrock (2016).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> counts = jnp.array([0.0, 1.0, 0.0, 1.0, 9.0, 8.0, 11.0, 10.0, 0.0, 2.0, 0.0, 1.0])
    >>> model = jaxem.HMM(jaxem.Poisson(), num_states=2)
    >>> fit = jaxem.fit(model, counts[None, :, None], key=jax.random.key(0), restarts=4)
    >>> sorted(round(rate, 1) for rate in fit.params.emission.rate[:, 0].tolist())
    [0.6, 9.5]
    """

    emission: AbstractFamily
    num_states: int = eqx.field(static=True)
    initial: str = eqx.field(static=True, default="free")
    initial_prior: Dirichlet | None = None
    transition_prior: Dirichlet | None = None
    initial_pattern: Any = eqx.field(static=True, default=None)
    transition_pattern: Any = eqx.field(static=True, default=None)
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    def __post_init__(self):
        k = self.num_states
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"num_states must be a positive integer, got {k!r}")
        pattern = self.initial_pattern
        flat = pattern if pattern is None or np.ndim(pattern) == 2 else [pattern]
        self.initial_pattern = as_fixed(flat, "initial_pattern", 1, k)
        self.transition_pattern = as_fixed(self.transition_pattern, "transition_pattern", k, k)

    def __check_init__(self):
        if self.initial not in ("free", "stationary"):
            raise ValueError(f"initial must be 'free' or 'stationary', got {self.initial!r}")
        if self.initial == "stationary" and not (self.initial_prior is None and self.initial_pattern is None):
            raise ValueError(
                "a stationary initial distribution follows from the transitions, without a prior or pattern"
            )
        for name in ("initial_prior", "transition_prior"):
            if not isinstance(getattr(self, name), Dirichlet | None):
                raise ValueError(f"{name} must be a Dirichlet prior, got {getattr(self, name)!r}")
        require_family(self.emission)
        self.check_names()

    @property
    def structure(self) -> Markov:
        return Markov(
            self.num_states,
            self.initial == "stationary",
            self.initial_prior,
            self.transition_prior,
            self.initial_pattern,
            self.transition_pattern,
        )

    @property
    def kernel(self) -> Any:
        return self.emission.kernel()

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(as_sequences(data).seen(), 1, dtype=jnp.int32)

    # What users ask of a fitted model

    def _states(self, params: HMMParams, data: PyTree) -> tuple[tuple[Array, Array, Array], Array | None]:
        """What the kernels take: the potentials of the states, with time first."""
        model: Any = self._scoring(params)
        potentials = model.potentials(model.natural(params), data)
        hidden = self.emission.latent
        if hidden is not None:
            potentials = self.structure.choice.attach(potentials.outer, hidden.expectation(potentials.inner)[1])
        return potentials.factors()

    @question
    def posterior(self, params: HMMParams, data: PyTree) -> Float[Array, "n T k"]:
        """Smoothed probabilities of the states of every step given the whole sequence; 0 after its end."""
        factors, ended = self._states(params, data)
        return jnp.transpose(forward_backward(*factors, ended, True)[0].local, (2, 0, 1))

    @question
    def entropy(self, params: HMMParams, data: PyTree) -> Float[Array, " n"]:
        """Entropy of the path of states of each sequence given its observations, in nats."""
        factors, ended = self._states(params, data)
        return path_entropy(*factors, ended)

    @question
    def filter(self, params: HMMParams, data: PyTree) -> Float[Array, "n T k"]:
        """Probabilities of the states of every step given the sequence up to it; 0 after its end."""
        factors, ended = self._states(params, data)
        states = jnp.exp(filter_log(*factors, ended)[0])
        states = states if ended is None else jnp.where(ended[:, None], 0, states)
        return jnp.transpose(states, (2, 0, 1))

    @renamed(steps="num_steps")
    @question
    def forecast(self, params: HMMParams, data: PyTree, num_steps: int = 1) -> Float[Array, "n steps k"]:
        """Probabilities of the states of the next `num_steps` steps of each sequence, the first one step ahead."""
        factors, ended = self._states(params, data)
        last = jnp.exp(filter_log(*factors, ended)[0][-1]).T

        def step(state, _):
            state = matmul(state, params.transition)
            return state, state

        return jnp.swapaxes(jax.lax.scan(step, last, length=num_steps)[1], 0, 1)

    @question
    def log_predictive(self, params: HMMParams, data: PyTree) -> Float[Array, "n T"]:
        """Log density of every step given those before it; they add up to `log_prob`. 0 where nothing was observed."""
        factors, ended = self._states(params, data)
        model: Any = self._scoring(params)
        each = model.kernel.log_base(model.rows(data))
        return (filter_log(*factors, ended)[2] + model.structure.by_step(data, each)).T

    @question
    def predict(self, params: HMMParams, data: PyTree) -> Int[Array, "n T"]:
        """The most probable path of states of each sequence (Viterbi); -1 after its end."""
        factors, ended = self._states(params, data)
        path = viterbi(*factors, ended)[0]
        return (path if ended is None else jnp.where(ended, -1, path)).T

    @question
    def sample_states(self, key: PRNGKeyArray, params: HMMParams, data: PyTree) -> Int[Array, "n T"]:
        """One draw of the path of states of each sequence given its observations; -1 after its end."""
        factors, ended = self._states(params, data)
        path = draw_path(key, *factors, ended)[0]
        return (path if ended is None else jnp.where(ended, -1, path)).T

    @renamed(length="num_steps")
    def sample(self, key, params, n, num_steps=None):
        """Draw `n` sequences of `num_steps` steps, `[n, num_steps, d]`, and their states `[n, num_steps]`."""
        if num_steps is None:
            raise MissingCapabilityError(
                "an HMM does not say how long a sequence is: sample(key, params, n, num_steps)"
            )
        return self._sampled(key, params, n, num_steps)

    @eqx.filter_jit
    def _sampled(self, key, params, n, length):
        key, of_rows = jax.random.split(key)
        noise = jax.random.gumbel(key, (length, n, self.num_states), params.initial.dtype)
        log_initial, log_transition = jnp.log(params.initial), jnp.log(params.transition)
        first = jnp.argmax(log_initial[None] + noise[0], -1)

        def step(state, noise):
            state = jnp.argmax(log_transition[state] + noise, -1)
            return state, state

        states = jnp.concatenate([first[None], jax.lax.scan(step, first, noise[1:])[1]])
        rows = self.emission.sample(of_rows, params.emission, states.reshape(-1))
        return jax.tree.map(lambda a: jnp.swapaxes(a.reshape(length, n, *a.shape[1:]), 0, 1), rows), states.T

    @eqx.filter_jit
    def _imputed(self, params, data, key):
        keys = (None, None) if key is None else jax.random.split(key)
        sequences, (factors, ended) = as_sequences(data), self._states(params, data)
        if keys[0] is None:
            share = forward_backward(*factors, ended, True)[0].local
        else:
            path = draw_path(keys[0], *factors, ended)[0]
            share = of_path(path, self.num_states, None, jnp.ones(path.shape[1], bool), factors[0]).local
        seen, (n, steps) = sequences.seen(), sequences.shape

        def gap(leaf):
            return jnp.swapaxes(jnp.where(trailing(seen, leaf), leaf, jnp.nan), 0, 1).reshape(-1, *leaf.shape[2:])

        rows = jax.tree.map(gap, sequences.values)
        share = jnp.swapaxes(share, 0, 1).reshape(self.num_states, -1)
        filled = fill(rows, share, self.kernel.impute(params.emission, rows, keys[1]))

        def back(leaf, own):
            own = jnp.swapaxes(own.reshape(steps, n, *own.shape[1:]), 0, 1)
            return own if ended is None else jnp.where(trailing(ended.T, leaf), leaf, own)

        return jax.tree.map(back, sequences.values, filled)

    # The door of data

    def check_shape(self, params, data):
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self.require_parameters(params)
        sequences = as_sequences(data)
        sequences.check_shape()
        step = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape[2:]), leaf.dtype), sequences.values)
        self.emission.check_shape(params.emission, self.emission.read(step))

    def check_rows(self, data):
        self._check_steps(data, self.emission.check_rows)

    def check(self, data: Any, weights: Any) -> None:
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self.check_members()
        sequences = as_sequences(data)
        sequences.check()
        seen = np.asarray(sequences.seen())
        counted = seen if weights is None else seen[np.asarray(weights) > 0]
        if counted.sum() < self.num_states:
            raise DataError(f"data has {counted.sum()} observed steps, fewer than num_states={self.num_states}")
        self._check_steps(data, self.emission.check)

    def _check_steps(self, data: PyTree, check: Any) -> None:
        """`check` of all observed steps as the rows of a table, in which others are copies of the first of them."""
        sequences = as_sequences(data)
        sequences.check()
        (n, steps), seen = sequences.shape, np.asarray(sequences.seen())
        if not seen.any():
            return
        index = np.where(seen, np.arange(n * steps).reshape(n, steps), np.flatnonzero(seen)[0]).reshape(-1)
        table = jax.tree.map(lambda a: np.asarray(a).reshape(n * steps, *np.shape(a)[2:])[index], sequences.values)
        try:
            check(self.emission.read(table))
        except DataError as error:
            raise DataError(f"{error} (row r is step r % {steps} of sequence r // {steps})") from None

    def unusable(self, data):
        return not_finite(as_sequences(data).values, missing=True)
