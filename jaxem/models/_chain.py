"""What all models of sequences of states take for data, and what can be asked of them."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._bound import scoring
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._renamed import renamed
from jaxem.engine.convert import as_table, is_concrete
from jaxem.engine.door import question
from jaxem.kernels import left_out
from jaxem.kernels.chunks import not_finite
from jaxem.kernels.forward_backward import forward_backward
from jaxem.kernels.forward_backward_log import filter_log
from jaxem.kernels.linalg import trailing
from jaxem.kernels.paths import draw_path, of_path, path_entropy, viterbi
from jaxem.models._members import fill
from jaxem.models.joined import AbstractJoined
from jaxem.structures.sequences import Driven, lengthened, steps_of, transition_covariates


class AbstractSequenceModel(AbstractJoined):
    """A model in which each step of a sequence comes from the member of a family that the state of a chain names.

    Its structure is `Markov`.
    """

    lengthen: ClassVar = staticmethod(lengthened)

    @property
    def parts(self) -> Any:
        """The structure, with the two parts of the chain."""
        return self.structure

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(steps_of(data).seen(), 1, dtype=jnp.int32)

    # The door of data

    def check_shape(self, params, data):
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self.require_parameters(params)
        self._check_kind(data)
        sequences = steps_of(data)
        sequences.check_shape()
        if isinstance(data, Driven):
            data.check_shape()
            self.parts.transitions.check_width(params.transition, data.covariates)
        step = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape[2:]), leaf.dtype), sequences.values)
        self.distribution.check_shape(self.structure.split(params)[1], self.distribution.read(step))

    def _check_kind(self, data: PyTree) -> None:
        """Raise `DataError` where there are no covariates for the transitions, or some for none."""
        name, driven = type(self.parts.transitions).__name__, self.parts.transitions.driven
        if driven and not isinstance(data, Driven):
            raise DataError(f"{name} depends on covariates: pass jaxem.models.Driven(rows, covariates)")
        if isinstance(data, Driven) and not driven:
            raise DataError(
                f"{name} depends on no covariates: pass the rows of Driven alone, or give the HMM "
                "transitions=jaxem.structures.SoftmaxTransitions()"
            )

    def check_rows(self, data):
        self._check_steps(data, self.distribution.check_rows)
        if isinstance(data, Driven):
            data.check()

    def check(self, data: Any, weights: Any) -> None:
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self._check_kind(data)
        self.check_members()
        k = self.structure.num_members
        sequences = steps_of(data)
        sequences.check()
        seen = np.asarray(sequences.seen())
        counted = seen if weights is None else seen[np.asarray(weights) > 0]
        if counted.sum() < k:
            raise DataError(f"data has {counted.sum()} observed steps, fewer than num_states={k}")
        self._check_steps(data, self.distribution.check)
        if isinstance(data, Driven):
            self.parts.transitions.check_covariates(data.check())

    def _check_steps(self, data: PyTree, check: Any) -> None:
        """`check` of all observed steps as the rows of a table, in which others are copies of the first of them."""
        sequences = steps_of(data)
        sequences.check()
        (n, steps), seen = sequences.shape, np.asarray(sequences.seen())
        if not seen.any():
            return
        index = np.where(seen, np.arange(n * steps).reshape(n, steps), np.flatnonzero(seen)[0]).reshape(-1)
        table = jax.tree.map(lambda a: np.asarray(a).reshape(n * steps, *np.shape(a)[2:])[index], sequences.values)
        try:
            check(self.distribution.read(table))
        except DataError as error:
            raise DataError(f"{error} (row r is step r % {steps} of sequence r // {steps})") from None

    def unusable(self, data):
        covariates = transition_covariates(data)
        return not_finite(steps_of(data).values, missing=True) | (
            False if covariates is None else not_finite(covariates)
        )


class AbstractChainModel(AbstractSequenceModel):
    """The questions to a fitted model of sequences."""

    def _states(self, params: Any, data: PyTree) -> tuple[tuple[Array, Array, Array], Array | None]:
        """What the kernels take: the potentials of the states, with time first."""
        model = scoring(self, params)
        potentials = model.potentials(model.natural(params), data)
        hidden = self.distribution.latent
        if hidden is not None:
            potentials = self.parts.choice.attach(potentials.outer, hidden.expectation(potentials.inner)[1])
        return potentials.factors()

    @question(by_step=True)
    def posterior(self, params: Any, data: PyTree) -> Float[Array, "n T k"]:
        """Smoothed probabilities of the states of every step given the whole sequence; 0 after its end."""
        factors, ended = self._states(params, data)
        return jnp.transpose(forward_backward(*factors, ended, not self.parts.transitions.driven)[0].local, (2, 0, 1))

    @question
    def entropy(self, params: Any, data: PyTree) -> Float[Array, " n"]:
        """Entropy of the path of states of each sequence given its observations, in nats."""
        factors, ended = self._states(params, data)
        return path_entropy(*factors, ended)

    @question(by_step=True)
    def filter(self, params: Any, data: PyTree) -> Float[Array, "n T k"]:
        """Probabilities of the states of every step given the sequence up to it; 0 after its end."""
        factors, ended = self._states(params, data)
        states = jnp.exp(filter_log(*factors, ended)[0])
        states = states if ended is None else jnp.where(ended[:, None], 0, states)
        return jnp.transpose(states, (2, 0, 1))

    @question(by_step=True)
    def given_past(self, params: Any, data: PyTree) -> Float[Array, "n T k"]:
        """Probabilities of the states of every step given the steps before it, without the step; 0 after the end."""
        factors, ended = self._states(params, data)
        return jnp.transpose(left_out.given_past(*factors, ended), (2, 0, 1))

    @question(by_step=True)
    def given_others(self, params: Any, data: PyTree) -> Float[Array, "n T k"]:
        """Probabilities of the states of every step given all others, before it and after; 0 after the end."""
        factors, ended = self._states(params, data)
        return jnp.transpose(left_out.given_others(*factors, ended), (2, 0, 1))

    @renamed(steps="num_steps")
    def forecast(
        self, params: Any, data: PyTree, num_steps: int | None = None, covariates: Any = None
    ) -> Float[Array, "n steps k"]:
        """Probabilities of the states of the next `num_steps` steps (1 by default), from the end of each sequence.

        Where the transitions depend on covariates, those into these steps are needed: `covariates` `[n, num_steps, q]`,
        or `[num_steps, q]` if they are the same for all sequences.
        """
        known, num_steps = self._coming("forecast", params, covariates, num_steps)
        return self._forecast(params, data, 1 if num_steps is None else num_steps, known)

    @question(fill=False)
    def _forecast(self, params: Any, data: PyTree, steps: int, covariates: Array | None) -> Float[Array, "n steps k"]:
        factors, ended = self._states(params, data)
        last = jnp.exp(filter_log(*factors, ended)[0][-1]).T
        over = None if covariates is None else _for_all(covariates, last.shape[0]).astype(last.dtype)

        def step(state, x):
            state = self.parts.transitions.advance(params.transition, state, x)
            return state, state

        return jnp.swapaxes(jax.lax.scan(step, last, over, length=steps)[1], 0, 1)

    @question(by_step=True)
    def transition_probabilities(self, params: Any, data: PyTree) -> Float[Array, "n s k k"]:
        """Probabilities of the next state given the last, `[n, T - 1, k, k]`, those of the transition into the second
        step first; 0 after its end."""
        transitions = self.parts.transitions
        covariates = transition_covariates(data)
        p = jnp.exp(transitions.log_probabilities(transitions.natural(params.transition), covariates))
        (n, steps), ended = steps_of(data).shape, steps_of(data).ended()
        p = jnp.transpose(p, (2, 3, 0, 1)) if transitions.driven else p[None, None]
        p = jnp.broadcast_to(p, (n, steps - 1, *p.shape[2:]))
        return p if ended is None else jnp.where(ended[:, 1:, None, None], 0, p)

    def _coming(self, name: str, params: Any, covariates: Any, steps: int | None) -> tuple[Array | None, int | None]:
        """Covariates of steps that are not in the data, `[steps, n, q]` or `[steps, 1, q]`, and how many there are."""
        transitions = self.parts.transitions
        if not transitions.driven:
            if covariates is not None:
                raise DataError(f"{name} takes no covariates here: {type(transitions).__name__} depends on none")
            return None, steps
        if covariates is None:
            raise MissingCapabilityError(
                f"{type(transitions).__name__} depends on covariates, and {name} needs those of the steps to come: "
                f"{name}(..., covariates=...), [n, steps, columns] or [steps, columns]"
            )
        x = jnp.asarray(as_table(covariates, "covariates", dtype=params.initial.dtype))
        if x.ndim not in (2, 3) or x.shape[-1] != params.transition.shape[-1] or steps not in (None, x.shape[-2]):
            raise DataError(
                f"covariates must have shape [n, steps, columns] or [steps, columns], for "
                f"{params.transition.shape[-1]} columns{'' if steps is None else f' and {steps} steps'}, got {x.shape}"
            )
        if is_concrete(x) and not jnp.all(jnp.isfinite(x)):
            raise DataError("covariates hold a value that is not finite; those of all transitions must be known")
        return jnp.swapaxes(x if x.ndim == 3 else x[None], 0, 1), x.shape[-2]

    @question(by_step=True)
    def log_predictive(self, params: Any, data: PyTree) -> Float[Array, "n T"]:
        """Log density of every step given those before it; they add up to `log_prob`. 0 where nothing was observed."""
        factors, ended = self._states(params, data)
        model = scoring(self, params)
        each = model.kernel.log_base(model.rows(data))
        return filter_log(*factors, ended)[2].T + model.structure.by_step(data, each)

    @question(by_step=True)
    def predict(self, params: Any, data: PyTree) -> Int[Array, "n T"]:
        """The most probable path of states of each sequence (Viterbi); -1 after its end."""
        factors, ended = self._states(params, data)
        path = viterbi(*factors, ended)[0]
        return (path if ended is None else jnp.where(ended, -1, path)).T

    @question
    def sample_states(self, key: PRNGKeyArray, params: Any, data: PyTree) -> Int[Array, "n T"]:
        """One draw of the path of states of each sequence given its observations; -1 after its end."""
        factors, ended = self._states(params, data)
        path = draw_path(key, *factors, ended)[0]
        return (path if ended is None else jnp.where(ended, -1, path)).T

    @renamed(length="num_steps")
    def sample(self, key, params, n, num_steps=None, covariates=None):
        """Draw `n` sequences of `num_steps` steps, `[n, num_steps, d]`, and their states `[n, num_steps]`.

        Where the transitions depend on covariates: given these, `[n, num_steps, q]` or `[num_steps, q]`, of which those
        of the first step do not matter.
        """
        known, num_steps = self._coming("sample", params, covariates, num_steps)
        if num_steps is None:
            raise MissingCapabilityError(
                "an HMM does not say how long a sequence is: sample(key, params, n, num_steps)"
            )
        return self._sampled(key, params, n, num_steps, known)

    @eqx.filter_jit
    def _sampled(self, key, params, n, length, covariates):
        key, of_rows = jax.random.split(key)
        noise = jax.random.gumbel(key, (length, n, params.initial.shape[0]), params.initial.dtype)
        first = jnp.argmax(jnp.log(params.initial)[None] + noise[0], -1)
        over = None if covariates is None else _for_all(covariates, n)[1:].astype(noise.dtype)

        def step(state, x):
            noise, own = x
            state = jnp.argmax(self.parts.transitions.onward(params.transition, state, own) + noise, -1)
            return state, state

        states = jnp.concatenate([first[None], jax.lax.scan(step, first, (noise[1:], over))[1]])
        rows = self.distribution.sample(of_rows, self.structure.split(params)[1], states.reshape(-1))
        return jax.tree.map(lambda a: jnp.swapaxes(a.reshape(length, n, *a.shape[1:]), 0, 1), rows), states.T

    @eqx.filter_jit
    def _imputed(self, params, data, key):
        keys = (None, None) if key is None else jax.random.split(key)
        sequences, (factors, ended) = steps_of(data), self._states(params, data)
        if keys[0] is None:
            share = forward_backward(*factors, ended, not self.parts.transitions.driven)[0].local
        else:
            path = draw_path(keys[0], *factors, ended)[0]
            share = of_path(path, params.initial.shape[0], None, jnp.ones(path.shape[1], bool), factors[0]).local
        seen, (n, steps) = sequences.seen(), sequences.shape

        def gap(leaf):
            return jnp.where(trailing(seen, leaf), leaf, jnp.nan).reshape(-1, *leaf.shape[2:])

        rows = jax.tree.map(gap, sequences.values)
        share = jnp.transpose(share, (1, 2, 0)).reshape(params.initial.shape[0], -1)
        filled = fill(rows, share, self.distribution.kernel().impute(self.structure.split(params)[1], rows, keys[1]))

        def back(leaf, own):
            own = own.reshape(n, steps, *own.shape[1:])
            return own if ended is None else jnp.where(trailing(ended.T, leaf), leaf, own)

        return jax.tree.map(back, sequences.values, filled)


def _for_all(covariates: Array, n: int) -> Float[Array, "steps n q"]:
    """Covariates of each of `n` sequences."""
    steps, found, q = covariates.shape
    if found not in (1, n):
        raise DataError(f"covariates are those of {found} sequences, but there are {n}")
    return jnp.broadcast_to(covariates, (steps, n, q))
