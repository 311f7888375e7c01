"""A Markov chain: the member of each step of a sequence depends on that of the step before."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._conjugate import PriorsConjugate
from jaxem.kernels import exclusion
from jaxem.kernels.rows import without_weight
from jaxem.latent import Chain, ChainTree, NestedTree
from jaxem.structures._parts import AbstractInitial, AbstractTransitions
from jaxem.structures._structure import AbstractStructure
from jaxem.structures.sequences import steps_of, transition_covariates, transition_weights


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
class Markov(AbstractStructure):
    """A chain of `size` states: where it begins, and where it goes from each of them.

    **Arguments:**

    - `size`: how many states, `k`.
    - `initial`: the distribution of the first state, such as `FreeInitial()` or `StationaryInitial()`.
    - `transitions`: the transitions, such as `FreeTransitions()` or `SoftmaxTransitions()`.
    - `num_steps`: of a sequence, known once the structure has been bound to data.
    """

    size: int = eqx.field(static=True)
    initial: AbstractInitial
    transitions: AbstractTransitions
    num_steps: int = eqx.field(static=True, default=1)

    params_type: ClassVar[Any] = HMMParams
    natural_type: ClassVar[Any] = HMMNatural
    members: ClassVar[str] = "emission"
    sequential: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("initial", "transition")

    def __check_init__(self):
        self.initial.check_states(self.size)
        self.transitions.check_states(self.size)
        self.initial.check_transitions(self.transitions)

    @property
    def num_members(self) -> int:
        return self.size

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.transitions.linear

    @property
    def choice(self) -> Chain:
        return Chain(shared=not self.transitions.driven)

    # The map

    def natural(self, own):
        initial, transition = own
        return self.initial.natural(initial, transition), self.transitions.natural(transition)

    def joint(self, natural, members, hidden, data):
        assert natural is not None
        sequences, k = steps_of(data), self.size
        (n, steps), seen, ended = sequences.shape, sequences.seen(), sequences.ended()

        def by_step(leaf: Array, at: int) -> Array:
            return leaf.reshape(*leaf.shape[:at], n, steps, *leaf.shape[at + 1 :])

        members = by_step(members, 1) if hidden is None else hidden.map_rows(by_step, members)
        first = exclusion.or_minus_infinity(natural[0])
        moves = self.transitions.log_probabilities(natural[1], transition_covariates(data))
        tree = ChainTree(
            jnp.broadcast_to(first[:, None], (k, n)),
            moves if self.transitions.driven else jnp.broadcast_to(moves[:, :, None], (k, k, n)),
            jnp.zeros((k, n, steps), first.dtype),
            None if ended is None else jnp.where(ended, 0, -jnp.inf).astype(first.dtype),
        )
        if hidden is None:
            return tree._replace(local=jnp.where(seen[None], members, 0))
        silent = jnp.where(seen, -jnp.inf, 0).astype(first.dtype)
        return NestedTree(tree._replace(silent=silent), members)

    # The maximum

    def counts(self, stats):
        return stats[0] + jnp.sum(stats[1], 0)

    def maximize(self, stats, own, frozen):
        (first, moves), (initial, transition) = stats, own
        # A state with no more than rounding error has none.
        empty = without_weight(self.counts(stats))
        first, moves = jnp.where(empty, 0, first), jnp.where(empty[None], 0, moves)
        if "transition" not in frozen:
            estimate = self.transitions.maximize(moves, transition)
            transition = self.initial.adjust(first, moves, estimate, transition, self.transitions)
        if ("transition" if self.initial.follows else "initial") not in frozen:
            initial = self.initial.maximize(first, initial, transition)
        return initial, transition

    def log_prior(self, own):
        return self.initial.log_prior(own[0]) + self.transitions.log_prior(own[1])

    def degenerate(self, own):
        """Whether a state can never be reached, or the transitions are spurious."""
        unreachable = (own[0] == 0) & ~self.transitions.entered(own[1])
        return jnp.any(unreachable) | self.transitions.degenerate(own[1])

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.transitions.driven:
            return f"{type(self.transitions).__name__} has no conjugate prior; deviation serves its posterior mode"
        lacking = self.initial if self.initial.conjugate() is None else self.transitions
        name = "initial" if lacking is self.initial else "transition"
        return (
            f"there is no prior on its {name} probabilities ({type(lacking).__name__}): {name}_prior=Dirichlet(...), "
            "with free probabilities and no pattern"
        )

    def conjugate(self):
        first, moves = self.initial.conjugate(), self.transitions.conjugate()
        return None if first is None or moves is None else PriorsConjugate((first, moves))

    # Coordinates

    def unconstrain(self, own):
        return self.initial.unconstrain(own[0]), self.transitions.unconstrain(own[1])

    def constrain(self, free):
        transition = self.transitions.constrain(free[1])
        return self.initial.constrain(free[0], transition), transition

    def permuted(self, own, order):
        transition = self.transitions.permuted(own[1], order)
        return None if transition is None else (own[0][order], transition)

    def blocks(self, free):
        """Blocks that do not interact in Q."""
        moves = free[1].reshape(1, -1) if self.initial.follows else self.transitions.blocks(free[1])
        chain = [free[0].reshape(1, -1), moves]

        def undo(arrays):
            taken = iter(arrays)
            filled = [next(taken) if array.size else array for array in chain]
            return tuple(array.reshape(leaf.shape) for array, leaf in zip(filled, free, strict=True))

        return [array for array in chain if array.size], undo

    def bind(self, data, weights, reduce, frozen=()):
        bound = dataclasses.replace(self, num_steps=steps_of(data).shape[1])
        covariates, each = transition_covariates(data), transition_weights(data, weights)
        if covariates is None or each is None or "transition" in frozen:
            return bound
        return dataclasses.replace(bound, transitions=self.transitions.bind(covariates, each, reduce))

    def encode(self, own):
        """With what is fixed in place."""
        initial, transition = self._conformed(own)
        return initial, self.transitions.encode(transition)

    def decode(self, own):
        return own[0], self.transitions.decode(own[1])

    def _conformed(self, own):
        transition = self.transitions.conform(own[1])
        return self.initial.conform(own[0], transition), transition

    def start(self, key, weights, data):
        """Random transitions that stay put to a random extent; the first state has about the weights of the members."""
        k, dtype = self.size, weights.dtype
        mixed = random_transitions(key, k, dtype)
        each = transition_weights(data, jnp.ones(steps_of(data).shape[0], dtype))
        transition = self.transitions.of_probabilities(mixed, transition_covariates(data), each)
        return self._conformed(((weights + 1 / k) / 2, transition))

    @property
    def domains(self):
        first = {} if self.initial.follows else {"initial": "simplex"}
        return {**first, "transition": self.transitions.domain}

    # Rows

    def rows(self, data):
        sequences = steps_of(data)
        return sequences.rows(sequences.seen())

    def row_weights(self, data, weights):
        return jnp.where(steps_of(data).seen(), weights[:, None], 0).reshape(-1)

    def log_bases(self, data, each):
        return jnp.sum(self.by_step(data, each), 1)

    def by_step(self, data: PyTree, each: Array) -> Float[Array, "n T"]:
        """A number for each row as one for each step, 0 where nothing was observed."""
        seen = steps_of(data).seen()
        return jnp.where(seen, each.reshape(seen.shape), 0)

    def floats_per_row(self, own, shared, each, lanes):
        pairs = 3 * self.size**2 if self.transitions.driven else 0
        return self.num_steps * (shared + lanes * (4 * self.size + pairs + each))

    def expanded_per_row(self, shared):
        # A step in time costs the same for few sequences as for many.
        return 0


def random_transitions(
    key: PRNGKeyArray, k: int, dtype: Any, alive: Float[Array, " k"] | None = None
) -> Float[Array, "k k"]:
    """Rows that stay put to a random extent, among the first states where these alone are `alive`: the same ones as of
    so many states."""
    of_rows, of_stay = jax.random.split(key)
    states = jnp.arange(k, dtype=jnp.int32)
    random = jax.vmap(lambda i: jax.random.exponential(jax.random.fold_in(of_rows, i), (k,), dtype))(states)
    random = random if alive is None else random * alive[None]
    random = random / jnp.sum(random, 1, keepdims=True)
    stay = jax.random.uniform(of_stay, (), dtype, 0, 0.9)
    mixed = (1 - stay) * random + stay * jnp.eye(k, dtype=dtype)
    return mixed if alive is None else jnp.where(alive[:, None] > 0, mixed, random)
