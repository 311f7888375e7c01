import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem import _bijections as bijections
from jaxem._door import for_start, question
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import unreduced
from jaxem._renamed import renamed
from jaxem.families import AbstractFamily
from jaxem.families.priors import Dirichlet
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels import exclusion
from jaxem.kernels.chunks import not_finite
from jaxem.kernels.forward_backward import filter_log, forward_backward
from jaxem.kernels.linalg import matmul, trailing
from jaxem.kernels.paths import draw_path, of_path, path_entropy, viterbi
from jaxem.latent import Chain, ChainTree, NestedTree
from jaxem.models._over_family import AbstractFamilyModel, fill
from jaxem.models._pattern import Rows, as_fixed, stationary
from jaxem.models.mixture import Mixture
from jaxem.models.sequences import as_sequences


class HMMParams(NamedTuple):
    """Distribution of the first state `[k]`, probabilities of the next state given the last `[k, k]` (rows sum to 1),
    and the parameters of the `emission` with a leading axis `k`."""

    initial: Float[Array, " k"]
    transition: Float[Array, "k k"]
    emission: Any


class HMMNatural(NamedTuple):
    """Their logarithms, and the emission's natural parameters."""

    log_initial: Float[Array, " k"]
    log_transition: Float[Array, "k k"]
    emission: Any


@final
class HMM(AbstractFamilyModel):
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
    _steps: int | None = eqx.field(static=True, default=None)

    members: ClassVar[str] = "emission"

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
        self.known_names("initial", "transition")

    @property
    def distribution(self) -> AbstractFamily:
        return self.emission

    def with_family(self, family):
        return dataclasses.replace(self, emission=family)

    @property
    def choice(self) -> Chain:
        return Chain(shared=True)

    @property
    def _first(self) -> Rows:
        return Rows(self.initial_pattern, (1, self.num_states))

    @property
    def _moves(self) -> Rows:
        return Rows(self.transition_pattern, (self.num_states, self.num_states))

    @property
    def _stationary(self) -> bool:
        return self.initial == "stationary"

    # Data

    def rows(self, data):
        sequences = as_sequences(data)
        return self.emission.read(sequences.rows(sequences.seen()))

    def row_weights(self, data, weights):
        return jnp.where(as_sequences(data).seen().T, weights[None, :], 0).reshape(-1)

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(as_sequences(data).seen(), 1, dtype=jnp.int32)

    def log_base(self, data):
        return jnp.sum(self._log_bases(data), 0)

    def _log_bases(self, data: PyTree) -> Float[Array, "T n"]:
        seen = as_sequences(data).seen().T
        each = self.emission.log_base(self.rows(data)).reshape(seen.shape)
        return jnp.where(seen, each, 0)

    def bind(self, data, weights, reduce=unreduced):
        bound = super().bind(data, weights, reduce)
        return dataclasses.replace(bound, _steps=as_sequences(data).shape[1])

    def encode(self, params):
        """Parameters in the coordinates of the loop, with fixed entries in place."""
        return self._conform(super().encode(params))

    def _conform(self, params: HMMParams) -> HMMParams:
        transition = self._moves.fit(params.transition)
        initial = stationary(transition) if self._stationary else self._first.fit(params.initial[None])[0]
        return HMMParams(initial, transition, params.emission)

    # The linear map

    def natural(self, params: HMMParams) -> HMMNatural:
        initial = stationary(params.transition) if self._stationary else params.initial
        log_initial, log_transition = exclusion.log(initial), exclusion.log(params.transition)
        return HMMNatural(log_initial, log_transition, self.emission.natural(params.emission))

    def potentials(self, natural: HMMNatural, data: PyTree) -> PyTree:
        sequences, k = as_sequences(data), self.num_states
        (n, steps), seen, ended = sequences.shape, sequences.seen(), sequences.ended()
        own = self.emission.potentials(natural.emission, self.emission.read(sequences.rows(seen)))
        hidden = self.emission.latent

        def by_step(leaf: Array, at: int) -> Array:
            split = leaf.reshape(*leaf.shape[:at], steps, n, *leaf.shape[at + 1 :])
            return jnp.swapaxes(split, at, at + 1)

        own = by_step(own, 1) if hidden is None else hidden.map_rows(by_step, own)
        log_initial = exclusion.or_minus_infinity(natural.log_initial)
        log_transition = exclusion.or_minus_infinity(natural.log_transition)
        tree = ChainTree(
            jnp.broadcast_to(log_initial[:, None], (k, n)),
            jnp.broadcast_to(log_transition[:, :, None], (k, k, n)),
            jnp.zeros((k, n, steps), log_initial.dtype),
            None if ended is None else jnp.where(ended, 0, -jnp.inf).astype(log_initial.dtype),
        )
        if hidden is None:
            return tree._replace(local=jnp.where(seen[None], own, 0))
        silent = jnp.where(seen, -jnp.inf, 0).astype(log_initial.dtype)
        return NestedTree(tree._replace(silent=silent), own)

    # The M-step

    def maximize(self, stats: HMMNatural, params: HMMParams) -> HMMParams:
        initial, transition = params.initial, params.transition
        first, moves = self._counts(stats)
        if "transition" not in self.frozen:
            transition = self._moves.estimate(moves, transition)
            if self._stationary:
                transition = self._stationary_maximum(first, moves, transition, params.transition)
                initial = stationary(transition)
        if "initial" not in self.frozen and not self._stationary:
            initial = self._first.estimate(first[None], initial[None])[0]
        return HMMParams(initial, transition, self.maximize_members(stats, params))

    def _counts(self, stats: HMMNatural) -> tuple[Array, Array]:
        """Expected numbers of first states and of transitions, with those of the priors; a state with no more than
        rounding error has none."""
        first, moves = stats.log_initial, stats.log_transition
        empty = self.emission.empty(first + jnp.sum(moves, 0))
        first, moves = jnp.where(empty, 0, first), jnp.where(empty[None], 0, moves)
        if self.initial_prior is not None:
            first = first + self.initial_prior.pseudo_counts(first.shape, first.dtype)
        if self.transition_prior is not None:
            moves = moves + self.transition_prior.pseudo_counts(moves.shape, moves.dtype)
        return first, moves

    def _stationary_maximum(self, first: Array, moves: Array, estimate: Array, current: Array) -> Array:
        """The transitions that maximise Q where the first state depends on them, by Newton's method from the better of
        their estimate without it and the current ones."""
        from jaxem.m_step._ascent import newton_step

        def q(transition):
            return jnp.sum(first * exclusion.log(stationary(transition))) + jnp.sum(moves * exclusion.log(transition))

        moves = jnp.where(self._moves.free(), moves, 0)
        begin = jnp.where(q(estimate) >= q(current), estimate, current)
        free = self._moves.unconstrain(begin)[None]
        if free.size == 0:
            return begin
        rounding = 4 * jnp.finfo(moves.dtype).eps

        def objective(blocks):
            return q(self._moves.constrain(blocks[0][0]))

        def step(carry):
            count, free, value, _ = carry
            (moved,), rose = newton_step(objective, [free], [jnp.ones_like(free)], 10)
            new = objective([moved])
            return count + 1, moved, new, rose & (new - value > rounding * jnp.abs(value))

        def going(carry):
            return carry[3] & (carry[0] < 20)

        start = (jnp.zeros((), jnp.int32), free, objective([free]), jnp.ones((), bool))
        _, free, value, _ = jax.lax.while_loop(going, step, start)
        found = self._moves.constrain(free[0])
        return jnp.where(value >= q(begin), found, begin)

    def log_prior(self, params):
        prior = self.emission.log_prior(params.emission).astype(params.initial.dtype)
        if self.initial_prior is not None:
            prior = prior + self.initial_prior.log_prob(params.initial)
        return prior if self.transition_prior is None else prior + self.transition_prior.log_prob(params.transition)

    def degenerate(self, params):
        others = ~jnp.eye(self.num_states, dtype=bool)
        unreachable = (params.initial == 0) & (jnp.sum(jnp.where(others, params.transition, 0), 0) == 0)
        return self.emission.degenerate(params.emission) | jnp.any(unreachable)

    # The posterior: `HMMParams` of priors

    def require_prior(self):
        self.require_free()
        if self._stationary or self.initial_pattern is not None or self.transition_pattern is not None:
            raise MissingCapabilityError("an HMM has a conjugate posterior only with a free initial and no pattern")
        if self.initial_prior is None or self.transition_prior is None:
            raise MissingCapabilityError(
                "HMM has no prior on its transitions, and a posterior needs those of all parameters: "
                "initial_prior=Dirichlet(...), transition_prior=Dirichlet(...)"
            )
        self.emission.require_prior()

    def conjugate_posterior(self, stats: HMMNatural) -> HMMParams:
        self.require_prior()
        assert self.initial_prior is not None
        assert self.transition_prior is not None
        initial: Any = self.initial_prior.update(stats.log_initial)
        transition: Any = self.transition_prior.update(stats.log_transition)
        return HMMParams(initial, transition, self.emission.posterior(stats.emission))

    def expected_natural(self, posterior: Any) -> HMMNatural:
        emission = self.emission.expected_natural(posterior.emission)
        return HMMNatural(posterior.initial.expected_log(), posterior.transition.expected_log(), emission)

    def posterior_mean(self, posterior: Any) -> HMMParams:
        emission = self.emission.posterior_mean(posterior.emission)
        return HMMParams(posterior.initial.mean(), posterior.transition.mean(), emission)

    def draw(self, key, posterior: Any) -> HMMParams:
        keys = jax.random.split(key, 3)
        emission = self.emission.draw(keys[2], posterior.emission)
        return HMMParams(posterior.initial.draw(keys[0]), posterior.transition.draw(keys[1]), emission)

    def kl(self, posterior: Any) -> Array:
        chain = posterior.initial.kl(self.initial_prior) + posterior.transition.kl(self.transition_prior)
        return chain + self.emission.kl(posterior.emission)

    def unconstrain_posterior(self, posterior):
        emission = self.emission.unconstrain_posterior(posterior.emission)
        return HMMParams(posterior.initial.unconstrain(), posterior.transition.unconstrain(), emission)

    def constrain_posterior(self, free):
        emission = self.emission.constrain_posterior(free.emission)
        return HMMParams(Dirichlet.constrain(free.initial), Dirichlet.constrain(free.transition), emission)  # pyright: ignore[reportArgumentType]

    # Starts and coordinates

    def init(self, key, data, weights=None):
        """The emission of a mixture of all steps, and random transitions that stay put to a random extent."""
        data, weights = for_start(data, weights)
        k, dtype = self.num_states, weights.dtype
        of_emission, of_rows, of_stay = jax.random.split(key, 3)
        mixture = Mixture(self.emission, k, start=self.start)
        drawn = mixture.init(of_emission, self.rows(data), self.row_weights(data, weights))
        random = jax.random.exponential(of_rows, (k, k), dtype)
        stay = jax.random.uniform(of_stay, (), dtype, 0, 0.9)
        mixed = (1 - stay) * random / jnp.sum(random, 1, keepdims=True) + stay * jnp.eye(k, dtype=dtype)
        return self._conform(HMMParams((drawn.weights + 1 / k) / 2, mixed, drawn.components))

    def unconstrain(self, params):
        initial = jnp.zeros(0, params.initial.dtype)
        if not self._stationary:
            initial = _unconstrained(self._first, params.initial[None])
        transition = _unconstrained(self._moves, params.transition)
        return HMMParams(initial, transition, self.emission.unconstrain(params.emission))

    def constrain(self, free):
        transition = _constrained(self._moves, free.transition)
        initial = stationary(transition) if self._stationary else _constrained(self._first, free.initial)[0]
        return HMMParams(initial, transition, self.emission.constrain(free.emission))

    def blocks(self, free):
        emission, undo = self.emission.blocks(free.emission)
        chain = [free.initial.reshape(1, -1), free.transition.reshape(self._moves.shape[0], -1)]
        if self._stationary or self.transition_pattern is not None:
            chain[1] = free.transition.reshape(1, -1)
        used = [array for array in chain if array.size]

        def back(arrays):
            taken = iter(arrays)
            initial, transition = (next(taken) if array.size else array for array in chain)
            shapes = free.initial.shape, free.transition.shape
            return HMMParams(initial.reshape(shapes[0]), transition.reshape(shapes[1]), undo(list(taken)))

        return [*used, *emission], back

    def floats_per_row(self, params, lanes=1):
        shared, own = self.emission.floats_per_row(params.emission)
        return (self._steps or 1) * (shared + lanes * (4 * self.num_states + own))

    # What users ask of a fitted model

    def _states(self, params: HMMParams, data: PyTree) -> tuple[tuple[Array, Array, Array], Array | None]:
        """What the kernels take: the potentials of the states, with time first."""
        model: Any = self._scoring(params)
        potentials = model.potentials(model.natural(params), data)
        hidden = self.emission.latent
        if hidden is not None:
            potentials = self.choice.attach(potentials.outer, hidden.expectation(potentials.inner)[1])
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
        return (filter_log(*factors, ended)[2] + model._log_bases(data)).T

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
        filled = fill(rows, share, self.emission.impute(params.emission, rows, keys[1]))

        def back(leaf, own):
            own = jnp.swapaxes(own.reshape(steps, n, *own.shape[1:]), 0, 1)
            return own if ended is None else jnp.where(trailing(ended.T, leaf), leaf, own)

        return jax.tree.map(back, sequences.values, filled)

    # The door of data

    @property
    def domains(self):
        chain = {"transition": "simplex"} if self._stationary else {"initial": "simplex", "transition": "simplex"}
        return {**chain, **super().domains}

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
        self.emission.check_members(self.num_states)
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


def _unconstrained(rows: Rows, p: Float[Array, "r k"]) -> Array:
    return bijections.simplex_to_free(p) if rows.fixed is None else rows.unconstrain(p)


def _constrained(rows: Rows, free: Array) -> Float[Array, "r k"]:
    return bijections.free_to_simplex(free) if rows.fixed is None else rows.constrain(free)
