"""A Markov chain: the member of each step of a sequence depends on that of the step before."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem import _bijections as bijections
from jaxem._conjugate import AbstractConjugate
from jaxem.families.priors import Dirichlet
from jaxem.kernels import exclusion
from jaxem.kernels.newton import newton_step
from jaxem.kernels.rows import without_weight
from jaxem.latent import Chain, ChainTree, NestedTree
from jaxem.structures._pattern import Fixed, Rows, stationary
from jaxem.structures._structure import AbstractStructure
from jaxem.structures.sequences import as_sequences


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
class Markov(AbstractStructure):
    """A chain of `size` states: where it begins, and where it goes from each of them.

    Patterns say which probabilities are fixed. A `stationary` chain begins in the stationary distribution of its
    transitions, which then have no closed-form maximum.
    """

    size: int = eqx.field(static=True)
    stationary: bool = eqx.field(static=True, default=False)
    initial_prior: Dirichlet | None = None
    transition_prior: Dirichlet | None = None
    initial_pattern: Fixed | None = eqx.field(static=True, default=None)
    transition_pattern: Fixed | None = eqx.field(static=True, default=None)
    num_steps: int = eqx.field(static=True, default=1)  # of a sequence, once bound

    params_type: ClassVar[Any] = HMMParams
    natural_type: ClassVar[Any] = HMMNatural
    members: ClassVar[str] = "emission"
    names: ClassVar[tuple[str, ...]] = ("initial", "transition")

    @property
    def num_members(self) -> int:
        return self.size

    @property
    def choice(self) -> Chain:
        return Chain(shared=True)

    @property
    def first(self) -> Rows:
        """The probabilities of the first state."""
        return Rows(self.initial_pattern, (1, self.num_members))

    @property
    def moves(self) -> Rows:
        """The probabilities of the next state, a row for each last one."""
        return Rows(self.transition_pattern, (self.num_members, self.num_members))

    # The map

    def natural(self, own):
        initial, transition = own
        return exclusion.log(stationary(transition) if self.stationary else initial), exclusion.log(transition)

    def joint(self, natural, members, hidden, data):
        assert natural is not None
        sequences, k = as_sequences(data), self.num_members
        (n, steps), seen, ended = sequences.shape, sequences.seen(), sequences.ended()

        def by_step(leaf: Array, at: int) -> Array:
            split = leaf.reshape(*leaf.shape[:at], steps, n, *leaf.shape[at + 1 :])
            return jnp.swapaxes(split, at, at + 1)

        members = by_step(members, 1) if hidden is None else hidden.map_rows(by_step, members)
        log_initial, log_transition = (exclusion.or_minus_infinity(leaf) for leaf in natural)
        tree = ChainTree(
            jnp.broadcast_to(log_initial[:, None], (k, n)),
            jnp.broadcast_to(log_transition[:, :, None], (k, k, n)),
            jnp.zeros((k, n, steps), log_initial.dtype),
            None if ended is None else jnp.where(ended, 0, -jnp.inf).astype(log_initial.dtype),
        )
        if hidden is None:
            return tree._replace(local=jnp.where(seen[None], members, 0))
        silent = jnp.where(seen, -jnp.inf, 0).astype(log_initial.dtype)
        return NestedTree(tree._replace(silent=silent), members)

    # The maximum

    def counts(self, stats):
        return stats[0] + jnp.sum(stats[1], 0)

    def maximize(self, stats, own, frozen):
        initial, transition = own
        first, moves = self._counted(stats)
        if "transition" not in frozen:
            moved = self.moves.estimate(moves, transition)
            transition = self._stationary_maximum(first, moves, moved, transition) if self.stationary else moved
            initial = stationary(transition) if self.stationary else initial
        if "initial" not in frozen and not self.stationary:
            initial = self.first.estimate(first[None], initial[None])[0]
        return initial, transition

    def _counted(self, stats: Any) -> tuple[Array, Array]:
        """Expected numbers of first states and of transitions, with those of the priors; a state with no more than
        rounding error has none."""
        first, moves = stats
        empty = without_weight(self.counts(stats))
        first, moves = jnp.where(empty, 0, first), jnp.where(empty[None], 0, moves)
        if self.initial_prior is not None:
            first = first + self.initial_prior.pseudo_counts(first.shape, first.dtype)
        if self.transition_prior is not None:
            moves = moves + self.transition_prior.pseudo_counts(moves.shape, moves.dtype)
        return first, moves

    def _stationary_maximum(self, first: Array, moves: Array, estimate: Array, current: Array) -> Array:
        """The transitions that maximise Q where the first state depends on them, by Newton's method from the better of
        their estimate without it and the current ones."""

        def q(transition):
            return jnp.sum(first * exclusion.log(stationary(transition))) + jnp.sum(moves * exclusion.log(transition))

        moves = jnp.where(self.moves.free(), moves, 0)
        begin = jnp.where(q(estimate) >= q(current), estimate, current)
        free = self.moves.unconstrain(begin)[None]
        if free.size == 0:
            return begin
        rounding = 4 * jnp.finfo(moves.dtype).eps

        def objective(blocks):
            return q(self.moves.constrain(blocks[0][0]))

        def step(carry):
            count, free, value, _ = carry
            (moved,), rose = newton_step(objective, [free], [jnp.ones_like(free)], 10)
            new = objective([moved])
            return count + 1, moved, new, rose & (new - value > rounding * jnp.abs(value))

        def going(carry):
            return carry[3] & (carry[0] < 20)

        start = (jnp.zeros((), jnp.int32), free, objective([free]), jnp.ones((), bool))
        _, free, value, _ = jax.lax.while_loop(going, step, start)
        found = self.moves.constrain(free[0])
        return jnp.where(value >= q(begin), found, begin)

    def log_prior(self, own):
        terms = zip((self.initial_prior, self.transition_prior), own, strict=True)
        return sum(prior.log_prob(p) for prior, p in terms if prior is not None)

    def degenerate(self, own):
        others = ~jnp.eye(self.num_members, dtype=bool)
        return jnp.any((own[0] == 0) & (jnp.sum(jnp.where(others, own[1], 0), 0) == 0))

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.stationary or self.initial_pattern is not None or self.transition_pattern is not None:
            return "there is one only with a free initial distribution and no pattern"
        return "there is no prior on its transitions: initial_prior=Dirichlet(...), transition_prior=Dirichlet(...)"

    def conjugate(self):
        first, moves = self.initial_prior, self.transition_prior
        patterns = self.initial_pattern, self.transition_pattern
        if self.stationary or first is None or moves is None or any(pattern is not None for pattern in patterns):
            return None
        return MarkovConjugate(first, moves)

    # Coordinates

    def unconstrain(self, own):
        initial, transition = own
        first = jnp.zeros(0, initial.dtype) if self.stationary else _unconstrained(self.first, initial[None])
        return first, _unconstrained(self.moves, transition)

    def constrain(self, free):
        transition = _constrained(self.moves, free[1])
        return stationary(transition) if self.stationary else _constrained(self.first, free[0])[0], transition

    def blocks(self, free):
        whole = self.stationary or self.transition_pattern is not None
        chain = [free[0].reshape(1, -1), free[1].reshape(1 if whole else self.num_members, -1)]

        def undo(arrays):
            taken = iter(arrays)
            filled = [next(taken) if array.size else array for array in chain]
            return tuple(array.reshape(leaf.shape) for array, leaf in zip(filled, free, strict=True))

        return [array for array in chain if array.size], undo

    def encode(self, own):
        """With fixed entries in place."""
        transition = self.moves.fit(own[1])
        return stationary(transition) if self.stationary else self.first.fit(own[0][None])[0], transition

    def start(self, key, weights, data):
        """Random transitions that stay put to a random extent."""
        k, dtype = self.num_members, weights.dtype
        of_rows, of_stay = jax.random.split(key)
        random = jax.random.exponential(of_rows, (k, k), dtype)
        stay = jax.random.uniform(of_stay, (), dtype, 0, 0.9)
        mixed = (1 - stay) * random / jnp.sum(random, 1, keepdims=True) + stay * jnp.eye(k, dtype=dtype)
        return self.encode(((weights + 1 / k) / 2, mixed))

    @property
    def domains(self):
        return {"transition": "simplex"} if self.stationary else {"initial": "simplex", "transition": "simplex"}

    # Rows

    def bind(self, data, weights, reduce):
        return dataclasses.replace(self, num_steps=as_sequences(data).shape[1])

    def rows(self, data):
        sequences = as_sequences(data)
        return sequences.rows(sequences.seen())

    def row_weights(self, data, weights):
        return jnp.where(as_sequences(data).seen().T, weights[None, :], 0).reshape(-1)

    def log_bases(self, data, each):
        return jnp.sum(self.by_step(data, each), 0)

    def by_step(self, data: PyTree, each: Array) -> Float[Array, "T n"]:
        """A number for each row as one for each step, 0 where nothing was observed."""
        seen = as_sequences(data).seen().T
        return jnp.where(seen, each.reshape(seen.shape), 0)

    def floats_per_row(self, own, shared, each, lanes):
        return self.num_steps * (shared + lanes * (4 * self.num_members + each))


@final
class MarkovConjugate(AbstractConjugate):
    """Dirichlet posteriors of the first state and of each row of the transitions."""

    initial: Dirichlet
    transition: Dirichlet

    @property
    def _priors(self) -> tuple[Dirichlet, Dirichlet]:
        return self.initial, self.transition

    def posterior(self, stats):
        return tuple(prior.update(own) for prior, own in zip(self._priors, stats, strict=True))

    def expected_natural(self, posterior):
        return tuple(own.expected_log() for own in posterior)

    def mean(self, posterior):
        return tuple(own.mean() for own in posterior)

    def draw(self, key, posterior):
        return tuple(own.draw(one) for own, one in zip(posterior, jax.random.split(key), strict=True))

    def kl(self, posterior):
        terms = [own.kl(prior) for own, prior in zip(posterior, self._priors, strict=True)]
        return terms[0] + terms[1]

    def unconstrain(self, posterior):
        return tuple(own.unconstrain() for own in posterior)

    def constrain(self, free):
        return tuple(Dirichlet.constrain(own) for own in free)


def _unconstrained(rows: Rows, p: Float[Array, "r k"]) -> Array:
    return bijections.simplex_to_free(p) if rows.fixed is None else rows.unconstrain(p)


def _constrained(rows: Rows, free: Array) -> Float[Array, "r k"]:
    return bijections.free_to_simplex(free) if rows.fixed is None else rows.constrain(free)
