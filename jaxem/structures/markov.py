"""A Markov chain of states: the distribution of the first one and the transitions, joined."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxem._errors import MissingCapabilityError
from jaxem.families import Dirichlet
from jaxem.kernels import exclusion
from jaxem.latent import ChainTree
from jaxem.structures._parts import AbstractInitial, AbstractTransitions


class MarkovParams(NamedTuple):
    """What belongs to the first state and to the transitions: parameters, statistics, coordinates, or posteriors."""

    initial: Any
    transition: Any


class Markov(eqx.Module):
    """A chain made of its two parts, which owns what depends on both."""

    initial: AbstractInitial
    transitions: AbstractTransitions

    def check_states(self, k: int) -> None:
        """Raise `ValueError` for parts that do not fit together, or are for another number of states."""
        self.initial.check_states(k)
        self.transitions.check_states(k)
        self.initial.check_transitions(self.transitions)

    @property
    def domains(self) -> dict[str, str]:
        first = {} if self.initial.follows else {"initial": "simplex"}
        return {**first, "transition": self.transitions.domain}

    def conform(self, p: MarkovParams) -> MarkovParams:
        """Parameters with what is fixed in place."""
        transition = self.transitions.conform(p.transition)
        return MarkovParams(self.initial.conform(p.initial, transition), transition)

    def natural(self, p: MarkovParams) -> MarkovParams:
        return MarkovParams(self.initial.natural(p.initial, p.transition), self.transitions.natural(p.transition))

    def tree(
        self, natural: MarkovParams, covariates: Array | None, ended: Bool[Array, "n T"] | None, shape: tuple[int, int]
    ) -> ChainTree:
        """Potentials of `n` sequences of `T` steps, with local ones of 0."""
        (n, steps), k, dtype = shape, natural.initial.shape[0], natural.initial.dtype
        first = exclusion.or_minus_infinity(natural.initial)
        moves = self.transitions.log_probabilities(natural.transition, covariates)
        return ChainTree(
            jnp.broadcast_to(first[:, None], (k, n)),
            moves if self.transitions.driven else jnp.broadcast_to(moves[:, :, None], (k, k, n)),
            jnp.zeros((k, n, steps), dtype),
            None if ended is None else jnp.where(ended, 0, -jnp.inf).astype(dtype),
        )

    def maximize(
        self, stats: MarkovParams, p: MarkovParams, empty: Bool[Array, " k"], frozen: tuple[str, ...]
    ) -> MarkovParams:
        """The M-step; an `empty` state, with no more than rounding error, has no counts."""
        first = jnp.where(empty, 0, stats.initial)
        moves = jnp.where(empty[None], 0, stats.transition)
        initial, transition = p
        if "transition" not in frozen:
            estimate = self.transitions.maximize(moves, p.transition)
            transition = self.initial.adjust(first, moves, estimate, p.transition, self.transitions)
        fixed = "transition" if self.initial.follows else "initial"
        if fixed not in frozen:
            initial = self.initial.maximize(first, initial, transition)
        return MarkovParams(initial, transition)

    def degenerate(self, p: MarkovParams) -> Array:
        """Whether a state can never be reached, or the transitions are spurious."""
        unreachable = (p.initial == 0) & ~self.transitions.entered(p.transition)
        return jnp.any(unreachable) | self.transitions.degenerate(p.transition)

    # Coordinates

    def unconstrain(self, p: MarkovParams) -> MarkovParams:
        return MarkovParams(self.initial.unconstrain(p.initial), self.transitions.unconstrain(p.transition))

    def constrain(self, free: MarkovParams) -> MarkovParams:
        transition = self.transitions.constrain(free.transition)
        return MarkovParams(self.initial.constrain(free.initial, transition), transition)

    def blocks(self, free: MarkovParams) -> tuple[list[Array], Any]:
        """Blocks that do not interact in Q, and the function that takes them back from the front of an iterator."""
        moves = free.transition.reshape(1, -1) if self.initial.follows else self.transitions.blocks(free.transition)
        both = [free.initial.reshape(1, -1), moves]

        def back(taken):
            initial, transition = (next(taken) if array.size else array for array in both)
            return MarkovParams(initial.reshape(free.initial.shape), transition.reshape(free.transition.shape))

        return [array for array in both if array.size], back

    # A start

    def start(
        self,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
        share: Float[Array, " k"],
        covariates: Array | None,
        weights: Float[Array, "n s"] | None,
    ) -> MarkovParams:
        """Random transitions that stay put to a random extent; the first state has about this distribution."""
        k, dtype = share.shape[0], share.dtype
        of_rows, of_stay = keys
        random = jax.random.exponential(of_rows, (k, k), dtype)
        stay = jax.random.uniform(of_stay, (), dtype, 0, 0.9)
        mixed = (1 - stay) * random / jnp.sum(random, 1, keepdims=True) + stay * jnp.eye(k, dtype=dtype)
        transition = self.transitions.of_probabilities(mixed, covariates, weights)
        return self.conform(MarkovParams((share + 1 / k) / 2, transition))

    # The posterior: Dirichlet distributions in the place of parameters

    def priors(self) -> MarkovParams:
        """The conjugate priors of both parts; raises `MissingCapabilityError` where one has none."""
        priors = MarkovParams(self.initial.conjugate(), self.transitions.conjugate())
        if self.transitions.driven:
            raise MissingCapabilityError(
                f"{type(self.transitions).__name__} has no conjugate prior; deviation serves its posterior mode"
            )
        for part, prior, name in (
            (self.initial, priors.initial, "initial_prior"),
            (self.transitions, priors.transition, "transition_prior"),
        ):
            if prior is None:
                raise MissingCapabilityError(
                    f"HMM has no prior on its {name.removesuffix('_prior')} probabilities ({type(part).__name__}), and "
                    f"a posterior needs those of all parameters: {name}=Dirichlet(...), with free probabilities and no "
                    "pattern"
                )
        return priors

    def conjugate_posterior(self, stats: MarkovParams) -> MarkovParams:
        return MarkovParams(*(prior.update(counts) for prior, counts in zip(self.priors(), stats, strict=True)))

    def kl(self, posterior: MarkovParams) -> Array:
        first, moves = (own.kl(prior) for own, prior in zip(posterior, self.priors(), strict=True))
        return first + moves

    def constrain_posterior(self, free: MarkovParams) -> MarkovParams:
        return MarkovParams(*(Dirichlet.constrain(own) for own in free))
