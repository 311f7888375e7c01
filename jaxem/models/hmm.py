"""Hidden Markov models: a Markov chain of states and a family."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._door import for_start
from jaxem._errors import MissingCapabilityError
from jaxem._model import unreduced
from jaxem.families import AbstractFamily, Dirichlet
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.latent import Chain, NestedTree
from jaxem.models._chain_questions import AbstractChainModel
from jaxem.models.driven import steps_of, transition_covariates, transition_weights
from jaxem.models.mixture import Mixture
from jaxem.structures import (
    AbstractInitial,
    AbstractTransitions,
    FreeInitial,
    FreeTransitions,
    StationaryInitial,
)
from jaxem.structures._parts import Word, require_alone, require_part
from jaxem.structures._pattern import as_fixed
from jaxem.structures.markov import Markov, MarkovParams


class HMMParams(NamedTuple):
    """Distribution of the first state `[k]`, probabilities of the next state given the last `[k, k]` (rows sum to 1) or
    what its `transitions` have in their place, and the parameters of the `emission` with a leading axis `k`."""

    initial: Float[Array, " k"]
    transition: Float[Array, " k *j"]
    emission: Any


class HMMNatural(NamedTuple):
    """Their logarithms (or the natural parameters of the `transitions`), and the emission's natural parameters."""

    log_initial: Float[Array, " k"]
    log_transition: Float[Array, " k *j"]
    emission: Any


@final
class HMM(AbstractChainModel):
    """A hidden Markov model: each step of a sequence comes from the member of a family that the state of a Markov chain
    names.

    **Arguments:**

    - `emission`: the distribution of a step given its state, such as `jaxem.Gaussian(...)` or `jaxem.Poisson()`.
    - `num_states`: how many states, `k`.
    - `initial`: `"free"`, or `"stationary"`: every sequence begins in the stationary distribution of the transitions.
        The M-step of the transitions is then one of Newton's method, and `params.initial` follows from it. Or such a
        part of a chain as an object: `jaxem.structures.FreeInitial(...)`, `StationaryInitial()`, or your own.
    - `initial_prior`, `transition_prior`: `Dirichlet` priors of the first state and of each row of the transitions.
    - `initial_pattern` `[k]`, `transition_pattern` `[k, k]`: entries that are fixed, NaN for the others. A 0 is a
        transition that cannot be: `[[nan, nan], [0, 1]]` has no way back.
    - `frozen`: names of parameters kept at their starting value, such as `("transition", "emission.covariance")`.
    - `start`: how the emission of a start is drawn when `fit` is not told: as that of a mixture, by an `AbstractInit`.
    - `transitions`: the transitions as an object, in the place of `transition_prior` and `transition_pattern`:
        `jaxem.structures.FreeTransitions(...)`, `SoftmaxTransitions()` for transitions that depend on covariates (data
        are then `jaxem.models.Driven`), or your own.

    Data are `[n, T, d]`, or `Sequences` where lengths differ or steps were not observed; weights are those of
    sequences. A regression takes `jaxem.Responses` with covariates `[n, T, p]` and responses `[n, T]`, as they are or
    in `Sequences`. Steps whose row (or response) is NaN throughout count as not observed, single missing entries are
    for families that take them: `jaxem.Incomplete`, `jaxem.IncompleteColumns`, `jaxem.Factor`, and a `jaxem.Product`
    of these, whose other blocks `impute` leaves NaN at steps that were not observed. `log_prob` is that of whole
    sequences, and the tolerance of a fit is a gain for each sequence. A state that no step comes from any more cannot
    be reached: the fit has status `degenerate_component`.

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
    initial: Any = "free"
    initial_prior: Dirichlet | None = None
    transition_prior: Dirichlet | None = None
    initial_pattern: Any = eqx.field(static=True, default=None)
    transition_pattern: Any = eqx.field(static=True, default=None)
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()
    transitions: AbstractTransitions | None = None
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
        if isinstance(self.initial, str):
            self.initial = Word(self.initial)

    def __check_init__(self):
        for name in ("initial_prior", "transition_prior"):
            if not isinstance(getattr(self, name), Dirichlet | None):
                raise ValueError(f"{name} must be a Dirichlet prior, got {getattr(self, name)!r}")
        first, moves = (self._named(name) for name in ("initial", "transition"))
        if self.initial == "stationary":
            if first:
                raise ValueError(
                    "a stationary initial distribution follows from the transitions, without a prior or pattern"
                )
        elif self.initial != "free":
            require_part(self.initial, AbstractInitial, "initial", "'free' or 'stationary', or such as FreeInitial()")
            require_alone("initial", first, "FreeInitial")
        if self.transitions is not None:
            require_part(self.transitions, AbstractTransitions, "transitions", "such as FreeTransitions()")
            require_alone("transitions", moves, "FreeTransitions")
        self.chain.check_states(self.num_states)
        self.known_names("initial", "transition")

    def _named(self, name: str) -> list[str]:
        """The arguments about this part of the chain that are given."""
        return [own for own in (f"{name}_prior", f"{name}_pattern") if getattr(self, own) is not None]

    @property
    def chain(self) -> Markov:
        """The distribution of the first state and the transitions."""
        first, moves = self.initial, self.transitions
        if isinstance(first, str):
            free = first == "free"
            first = FreeInitial(self.initial_prior, self.initial_pattern) if free else StationaryInitial()
        return Markov(
            first, FreeTransitions(self.transition_prior, self.transition_pattern) if moves is None else moves
        )

    @property
    def distribution(self) -> AbstractFamily:
        return self.emission

    def with_family(self, family):
        return dataclasses.replace(self, emission=family)

    @property
    def choice(self) -> Chain:
        return Chain(shared=not self.chain.transitions.driven)

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.emission.linear and self.chain.transitions.linear

    def bind(self, data, weights, reduce=unreduced):
        bound = dataclasses.replace(super().bind(data, weights, reduce), _steps=steps_of(data).shape[1])
        covariates, own = transition_covariates(data), transition_weights(data, weights)
        if covariates is None or own is None or "transition" in self.frozen:
            return bound  # what is frozen stays to the bit in the user's coordinates alone
        return dataclasses.replace(bound, transitions=self.chain.transitions.bind(covariates, own, reduce))

    def encode(self, params):
        """Parameters in the coordinates of the loop, with fixed entries in place."""
        params = _with_chain(super().encode(params), self.chain.conform(_chain(params)))
        return params._replace(transition=self.chain.transitions.encode(params.transition))

    def decode(self, params):
        return super().decode(params)._replace(transition=self.chain.transitions.decode(params.transition))

    # The linear map

    def natural(self, params: HMMParams) -> HMMNatural:
        return HMMNatural(*self.chain.natural(_chain(params)), self.emission.natural(params.emission))

    def potentials(self, natural: HMMNatural, data: PyTree) -> PyTree:
        sequences = steps_of(data)
        (n, steps), seen, ended = sequences.shape, sequences.seen(), sequences.ended()
        own = self.emission.potentials(natural.emission, self.emission.read(sequences.rows(seen)))
        hidden = self.emission.latent

        def by_step(leaf: Array, at: int) -> Array:
            split = leaf.reshape(*leaf.shape[:at], steps, n, *leaf.shape[at + 1 :])
            return jnp.swapaxes(split, at, at + 1)

        own = by_step(own, 1) if hidden is None else hidden.map_rows(by_step, own)
        chain = MarkovParams(natural.log_initial, natural.log_transition)
        tree = self.chain.tree(chain, transition_covariates(data), ended, (n, steps))
        if hidden is None:
            return tree._replace(local=jnp.where(seen[None], own, 0))
        silent = jnp.where(seen, -jnp.inf, 0).astype(tree.local.dtype)
        return NestedTree(tree._replace(silent=silent), own)

    # The M-step

    def maximize(self, stats: HMMNatural, params: HMMParams) -> HMMParams:
        first, moves = stats.log_initial, stats.log_transition
        if not self.chain.transitions.linear:
            raise MissingCapabilityError(
                f"{type(self.chain.transitions).__name__} has no closed-form M-step; use jaxem.em_gradient()"
            )
        empty = self.emission.empty(first + jnp.sum(moves, 0))
        chain = self.chain.maximize(MarkovParams(first, moves), _chain(params), empty, self.frozen)
        return HMMParams(*chain, self.maximize_members(stats, params))

    def log_prior(self, params):
        prior = self.emission.log_prior(params.emission).astype(params.initial.dtype)
        chain = self.chain
        return prior + chain.initial.log_prior(params.initial) + chain.transitions.log_prior(params.transition)

    def degenerate(self, params):
        return self.emission.degenerate(params.emission) | self.chain.degenerate(_chain(params))

    # The posterior: `HMMParams` of priors

    def require_prior(self):
        self.require_free()
        self.chain.priors()
        self.emission.require_prior()

    def conjugate_posterior(self, stats: HMMNatural) -> HMMParams:
        self.require_prior()
        chain = self.chain.conjugate_posterior(MarkovParams(stats.log_initial, stats.log_transition))
        return HMMParams(*chain, self.emission.posterior(stats.emission))

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
        return self.chain.kl(_chain(posterior)) + self.emission.kl(posterior.emission)

    def unconstrain_posterior(self, posterior):
        emission = self.emission.unconstrain_posterior(posterior.emission)
        return HMMParams(posterior.initial.unconstrain(), posterior.transition.unconstrain(), emission)

    def constrain_posterior(self, free):
        chain = self.chain.constrain_posterior(_chain(free))
        return HMMParams(*chain, self.emission.constrain_posterior(free.emission))

    # Starts and coordinates

    def init(self, key, data, weights=None):
        """The emission of a mixture of all steps, and random transitions that stay put to a random extent."""
        data, weights = for_start(data, weights)
        of_emission, of_rows, of_stay = jax.random.split(key, 3)
        mixture = Mixture(self.emission, self.num_states, start=self.start)
        drawn = mixture.init(of_emission, self.rows(data), self.row_weights(data, weights))
        covariates, own = transition_covariates(data), transition_weights(data, weights)
        share = drawn.weights.astype(weights.dtype)
        return HMMParams(*self.chain.start((of_rows, of_stay), share, covariates, own), drawn.components)

    def unconstrain(self, params):
        return HMMParams(*self.chain.unconstrain(_chain(params)), self.emission.unconstrain(params.emission))

    def constrain(self, free):
        return HMMParams(*self.chain.constrain(_chain(free)), self.emission.constrain(free.emission))

    def blocks(self, free):
        chain, chain_back = self.chain.blocks(_chain(free))
        emission, emission_back = self.emission.blocks(free.emission)

        def back(arrays):
            taken = iter(arrays)
            own: MarkovParams = chain_back(taken)
            return HMMParams(*own, emission_back(list(taken)))

        return [*chain, *emission], back

    def check(self, data, weights):
        self.check_for(self.num_states, data, weights)

    def floats_per_row(self, params, lanes=1):
        shared, own = self.emission.floats_per_row(params.emission)
        k = self.num_states
        pairs = 3 * k * k if self.chain.transitions.driven else 0
        return (self._steps or 1) * (shared + lanes * (4 * k + pairs + own))


def _chain(params: Any) -> MarkovParams:
    return MarkovParams(params.initial, params.transition)


def _with_chain(params: HMMParams, chain: MarkovParams) -> HMMParams:
    return params._replace(initial=chain.initial, transition=chain.transition)
