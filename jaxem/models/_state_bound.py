"""What the engine runs of a linear Gaussian state-space model: three regressions, about an anchor."""

import dataclasses
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._bound import AbstractBound, also_frozen
from jaxem._paths import leaves_but
from jaxem.engine.door import for_start
from jaxem.families._columns import Columns
from jaxem.families.covariance import STRUCTURES
from jaxem.kernels import linalg
from jaxem.latent import Entries, GaussianChain, GaussianChainTree
from jaxem.models._linear_regression import LinearRegression, RegressionNatural
from jaxem.models._state_data import observed_entries, present
from jaxem.models._state_params import (
    Coefficients,
    StateSpaceNatural,
    StateSpaceParams,
    at_floor,
    clipped,
    observability,
    on_covariances,
    regression_blocks,
    rescaled,
)
from jaxem.models._state_start import SPREAD, guess_states, no_relations
from jaxem.structures.sequences import as_sequences


@final
class BoundStateSpace(AbstractBound):
    """`model` in columns that `frame` standardises, with coefficients that are counted from those of an `anchor`.

    Statistics are taken about the smoothed means at the parameters `careful_at`, if there are any.
    """

    model: Any
    frame: Columns | None = None
    anchor: Coefficients | None = None
    careful_at: StateSpaceParams | None = None
    num_steps: int = eqx.field(static=True, default=1)

    @property
    def name(self) -> str:
        return type(self.model).__name__

    @property
    def linear(self) -> bool:
        return True

    # The three regressions

    @property
    def _regressions(self) -> tuple[LinearRegression, LinearRegression, LinearRegression]:
        diagonal = self.model.observation_covariance == "diagonal"
        return (
            LinearRegression("full"),
            LinearRegression(self.model.transition_covariance),
            LinearRegression(self.model.observation_covariance, by_column=diagonal),
        )

    @property
    def _entrywise(self) -> bool:
        return self.model.partly_missing and self.model.observation_covariance == "full"

    def _coefficients(self, params: StateSpaceParams) -> Coefficients:
        def joined(matrix, intercept):
            return matrix if intercept is None else jnp.concatenate([matrix, intercept[:, None]], 1)

        return Coefficients(
            params.initial_mean[:, None],
            joined(params.transition, params.transition_intercept),
            joined(params.observation, params.observation_intercept),
        )

    def _anchors(self, like: Coefficients) -> Coefficients:
        return jax.tree.map(jnp.zeros_like, like) if self.anchor is None else self.anchor

    def _changes(self, params: StateSpaceParams) -> Coefficients:
        here = self._coefficients(params)
        return here if self.anchor is None else jax.tree.map(jnp.subtract, here, self.anchor)

    def _bordered(self, states: Array, intercept: bool) -> Array:
        return jnp.concatenate([states, jnp.ones_like(states[..., :1])], -1) if intercept else states

    # The linear map

    @property
    def latent(self) -> GaussianChain:
        return GaussianChain(None if self.anchor is None else self.anchor.transition[:, : self.model.state_dim])

    def natural(self, params: StateSpaceParams) -> StateSpaceNatural:
        covariances = (params.initial_covariance, params.transition_covariance, params.observation_covariance)
        parts = zip(self._regressions, self._changes(params), covariances, strict=True)
        naturals = [regression.natural(change, covariance) for regression, change, covariance in parts]
        return StateSpaceNatural(jnp.ones((), params.initial_mean.dtype), *naturals)

    def potentials(self, natural: StateSpaceNatural, data: PyTree) -> GaussianChainTree:
        return self._potentials(natural, data, self._centre(data, natural.initial.cross.shape[0]))

    def _potentials(self, natural: StateSpaceNatural, data: PyTree, centre: Array) -> GaussianChainTree:
        q, (initial, transition, observation) = self.model.state_dim, self._regressions
        parts = zip(self._regressions, natural[1:], strict=True)
        first, along, seen = (regression.symmetric(part) for regression, part in parts)
        anchor = self._anchors(Coefficients(first.cross, along.cross, seen.cross))
        y, observed, there = self._read(data)

        # Where the centre of the states lies, as the regressions see it.
        before = self._bordered(centre[:, :-1], self.model.transition_intercept)
        now = self._bordered(centre, self.model.observation_intercept)
        one = jnp.ones_like(there[:, :1])
        moved = centre[:, 1:] - linalg.einsum("qr,ntr->ntq", anchor.transition, before)
        residual = observed * (y - linalg.einsum("dr,ntr->ntd", anchor.observation, now))
        counted = observed if observation.by_column else self._counted(observed)

        start = initial.terms(first, centre[:, 0] - anchor.initial[None, :, 0], one, one)
        step = transition.terms(along, moved, before, there[:, 1:, None])
        look = observation.terms(seen, residual, now, counted)

        loading = anchor.observation[:, :q]
        linear = look.regressors[..., :q] - linalg.einsum("dq,ntd->ntq", loading, look.target)
        linear = linear + jnp.pad(step.regressors[..., :q], ((0, 0), (0, 1), (0, 0)))
        constant = jnp.concatenate([start.constant[:, None], step.constant], 1) + look.constant
        if not (observation.by_column or self._entrywise):
            # Not exact where a step lacks some of its columns: `check` refuses such data.
            constant = jnp.where(jnp.all(observed == counted, 2), constant, jnp.nan)

        def shared(matrix: Array) -> Array:
            return jnp.broadcast_to(matrix[None], (y.shape[0], *matrix.shape))

        return GaussianChainTree(
            constant,
            natural.present * there,
            shared(initial.matrix(first)),
            shared(transition.matrix(along)),
            shared(along.cross[:, :q]),
            shared(along.quadratic[:q, :q]),
            jnp.concatenate([start.target[:, None], step.target], 1),
            self._quadratic(seen, loading, counted),
            linear,
            self._entries(seen, loading, residual, now, observed, counted) if self._entrywise else None,
        )

    def _quadratic(self, seen: RegressionNatural, loading: Array, counted: Array) -> Array:
        """What the observations of each step know of the state, `[n, T, q, q]`."""
        q = self.model.state_dim
        cross, own = seen.cross[:, :q], seen.quadratic[..., :q, :q]
        if self.model.observation_covariance == "diagonal":
            tied = loading[:, :, None] * cross[:, None, :]
            own = own + tied + jnp.swapaxes(tied, 1, 2)
            own = own + seen.precision[:, None, None] * loading[:, :, None] * loading[:, None, :]
            return linalg.einsum("ntd,dqr->ntqr", counted, own)
        tied = linalg.matmul(loading.T, cross)
        own = own + tied + tied.T + linalg.matmul(loading.T, linalg.matmul(seen.precision, loading))
        return counted[..., None] * own[None, None]

    def _entries(self, seen, loading, residual, now, observed, counted) -> Entries:
        hidden = counted * (1 - observed)
        cross = linalg.matmul(seen.precision, loading) + seen.cross[:, : self.model.state_dim]
        at = linalg.einsum("dr,ntr->ntd", seen.cross, now) - linalg.einsum("de,nte->ntd", seen.precision, residual)
        quadratic = linalg.outer(hidden, hidden) * seen.precision[None, None]
        return Entries(quadratic, hidden[..., None] * cross[None, None], hidden * at)

    def _counted(self, observed: Array) -> Array:
        """`[n, T, 1]`: whether anything was observed at a step."""
        return jnp.max(observed, -1, keepdims=True)

    def _centre(self, data: PyTree, q: int) -> Array:
        """Means of the states that potentials are taken about, `[n, T, q]`."""
        values = as_sequences(data).values
        centre = jnp.zeros((*values.shape[:2], q), values.dtype)
        if self.anchor is None:
            return centre
        centre = centre.at[:, 0].set(jnp.broadcast_to(self.anchor.initial[:, 0][None], centre[:, 0].shape))
        if self.careful_at is None:
            return centre
        potentials = self._potentials(self.natural(self.careful_at), data, centre)
        return jax.lax.stop_gradient(centre + self.latent.smooth(potentials)[0])

    def _read(self, data: PyTree) -> tuple[Array, Array, Array]:
        """Values in the coordinates of the loop with 0 for what is missing, and what is observed and present."""
        sequences = as_sequences(data)
        observed, there = observed_entries(sequences), present(sequences)
        y = jnp.where(observed > 0, sequences.values, 0)
        if self.frame is not None:
            y = (y - self.frame.shift[None, None]) / self.frame.scale[None, None]
        return jnp.where(observed > 0, y, 0), observed, there

    def log_base(self, data):
        values = as_sequences(data).values
        if self.frame is None:
            return jnp.zeros(values.shape[0], values.dtype)
        return -linalg.einsum("ntd,d->n", self._read(data)[1], jnp.log(self.frame.scale))

    # The maximum

    def maximize(self, stats: StateSpaceNatural, params: StateSpaceParams) -> StateSpaceParams:
        frozen, q = self.model.frozen, self.model.state_dim
        start, along, seen = self._changes(params)
        initial, transition, observation = self._regressions

        def free(matrix: str, intercept: str) -> np.ndarray:
            own = [matrix not in frozen] * q
            return np.array([*own, intercept not in frozen] if getattr(self.model, intercept) else own)

        start, first_covariance = initial.maximize(
            stats.initial,
            start,
            params.initial_covariance,
            np.array(["initial_mean" not in frozen]),
            "initial_covariance" in frozen,
        )
        along, noise = transition.maximize(
            stats.transition,
            along,
            params.transition_covariance,
            free("transition", "transition_intercept"),
            "transition_covariance" in frozen,
        )
        seen, error = observation.maximize(
            stats.observation,
            seen,
            params.observation_covariance,
            free("observation", "observation_intercept"),
            "observation_covariance" in frozen,
        )
        found = Coefficients(start, along, seen)
        found = jax.tree.map(jnp.add, found, self._anchors(found))
        matrix, view = found.transition[:, :q], found.observation[:, :q]
        scale = observability(matrix, view)
        if "initial_covariance" not in frozen:
            first_covariance = clipped("full", first_covariance, self.model.floor, scale)
        if "transition_covariance" not in frozen:
            noise = clipped(self.model.transition_covariance, noise, self.model.floor, scale)
        if "observation_covariance" not in frozen:
            error = clipped(self.model.observation_covariance, error, self.model.floor)
        new = StateSpaceParams(
            found.initial[:, 0],
            first_covariance,
            matrix,
            noise,
            view,
            error,
            found.transition[:, q] if self.model.transition_intercept else None,
            found.observation[:, q] if self.model.observation_intercept else None,
        )
        return jax.tree.map(lambda new, old, on: new if on else old, new, params, self.trainable(params))

    # Coordinates

    def unconstrain(self, params):
        return on_covariances(self.model, params, lambda structure, leaf: structure.unconstrain(leaf[None])[0])

    def constrain(self, free):
        return on_covariances(self.model, free, lambda structure, leaf: structure.constrain(leaf[None])[0])

    def trainable(self, tree):
        return leaves_but(self.model.frozen, tree)

    def freeze(self, names):
        return dataclasses.replace(self, model=also_frozen(self.model, self.name, names))

    def blocks(self, free):
        return regression_blocks(free)

    def encode(self, params):
        if self.frame is None:
            return params
        shift, scale = self.frame
        return self._rescaled(params, 1 / scale, -shift / scale)

    def decode(self, params):
        return params if self.frame is None else self._rescaled(params, self.frame.scale, self.frame.shift)

    def _rescaled(self, params: StateSpaceParams, scale: Array, shift: Array) -> StateSpaceParams:
        """Parameters of observations that are multiplied by `scale` and then moved by `shift`."""
        intercept = params.observation_intercept
        return params._replace(
            observation=params.observation * scale[:, None],
            observation_covariance=rescaled(self.model.observation_covariance, params.observation_covariance, scale),
            observation_intercept=None if intercept is None else intercept * scale + shift,
        )

    # Accuracy

    def about(self, params):
        params = jax.lax.stop_gradient(params)
        careful = params if self._is_careful(params) else None
        return dataclasses.replace(self, anchor=self._coefficients(params), careful_at=careful)

    def _is_careful(self, params):
        return params.initial_mean.dtype == jnp.float32 if self.model.careful is None else self.model.careful

    def translate(self, stats, source: Any):
        if self.anchor is None:
            return stats
        moves = jax.tree.map(jnp.subtract, self.anchor, source._anchors(self.anchor))
        parts = zip(self._regressions, stats[1:], moves, strict=True)
        return StateSpaceNatural(stats.present, *(r.translate(own, move) for r, own, move in parts))

    def rounding_error(self, params, natural=None):
        """Rounding error of the observations' noise, in which their squares cancel unless residuals are taken."""
        eps = jnp.finfo(params.initial_mean.dtype).eps
        structure = STRUCTURES[self.model.observation_covariance]()
        precision = structure.precision(structure.factor(params.observation_covariance[None]), None)[0]
        largest = jnp.max(precision if precision.ndim == 1 else jnp.diagonal(precision))
        return eps * (jnp.sqrt(largest) if self._is_careful(params) else largest)

    def degenerate(self, params):
        return at_floor(self.model, params)

    def floats_per_row(self, params, lanes=1):
        q, d = params.observation.shape[1], params.observation.shape[0]
        each = 10 * q * q + 10 * q + 3 * d + (4 * d * (d + q) if self._entrywise else 0)
        return self.num_steps * (3 * d + lanes * each)

    # Starts

    def init(self, key: PRNGKeyArray, data: PyTree, weights: Any = None) -> StateSpaceParams:
        """States guessed from the principal components of the last few steps, with noise; then one M-step."""
        data, weights = for_start(data, weights)
        q, dtype = self.model.state_dim, as_sequences(data).values.dtype
        d, eye = as_sequences(data).values.shape[2], jnp.eye(q, dtype=dtype)
        empty = no_relations(self.model, d, dtype)
        spec = dataclasses.replace(self.model, observation_covariance="diagonal", partly_missing=False, frozen=())
        plain = BoundStateSpace(spec, self.frame, num_steps=self.num_steps)
        states = guess_states(key, q, *self._read(data), weights)
        potentials, pull = jax.vjp(lambda natural: plain.potentials(natural, data), plain.natural(empty))
        moments = plain.latent.about(potentials, states, SPREAD * eye)
        found = plain.maximize(pull(plain.latent.weigh(moments, weights))[0], empty)
        error = found.observation_covariance
        error = jnp.diag(error) if self.model.observation_covariance == "full" else error
        return found._replace(initial_covariance=eye, observation_covariance=error)

    # Questions

    def here(self, params: StateSpaceParams, data: PyTree) -> tuple["BoundStateSpace", Array, GaussianChainTree]:
        """The model about `params`, where the centres of the states lie, and their potentials."""
        model = self.about(params)
        centre = model._centre(data, self.model.state_dim)
        return model, centre, model._potentials(model.natural(params), data, centre)
