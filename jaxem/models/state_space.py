import dataclasses
import math
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._door import for_start, question
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractLinearModel, unreduced
from jaxem.families._columns import Columns
from jaxem.families.covariance import STRUCTURES, structure_name
from jaxem.kernels import linalg
from jaxem.kernels.chunks import not_finite
from jaxem.latent import Entries, GaussianChain, GaussianChainTree
from jaxem.models._linear_regression import LinearRegression, RegressionNatural
from jaxem.models._state_basis import observability, unidentified
from jaxem.models._state_data import check_steps, observed_entries, present
from jaxem.models._state_forecast import Forecast, StateMarginals, ahead, predicted, sample
from jaxem.models._state_start import guess_states
from jaxem.models.sequences import as_sequences


class StateSpaceParams(NamedTuple):
    """Parameters of a linear Gaussian state-space model of `q` states and `d` columns.

    Diagonal covariances are vectors of variances. Intercepts are `None` in a model without.
    """

    initial_mean: Float[Array, " q"]
    initial_covariance: Float[Array, "q q"]
    transition: Float[Array, "q q"]
    transition_covariance: Array
    observation: Float[Array, "d q"]
    observation_covariance: Array
    transition_intercept: Float[Array, " q"] | None = None
    observation_intercept: Float[Array, " d"] | None = None


class StateSpaceNatural(NamedTuple):
    """The marker of the steps that exist (always 1), and the three regressions that the log density is made of."""

    present: Array
    initial: RegressionNatural
    transition: RegressionNatural
    observation: RegressionNatural


class _Coefficients(NamedTuple):
    """What the regressions multiply their regressors by: 1; the state before (and 1); the state (and 1)."""

    initial: Float[Array, "q 1"]
    transition: Float[Array, "q r"]
    observation: Float[Array, "d s"]


_NAMES = StateSpaceParams._fields
_DEFAULT_SPREAD = 0.1  # variance of the states about their first guess, for a start


@final
class LinearGaussianStateSpace(AbstractLinearModel):
    """A linear Gaussian state-space model: hidden states that move linearly, seen through a linear map with noise.

    `z_1 ~ N(initial_mean, initial_covariance)`, `z_t = transition @ z_{t-1} + N(0, transition_covariance)`,
    `y_t = observation @ z_t + N(0, observation_covariance)`. The E-step is a Kalman filter and smoother, the M-step is
    in closed form for every subset of parameters (Shumway and Stoffer 1982; Ghahramani and Hinton 1996).

    **Arguments:**

    - `state_dim`: how many states, `q`.
    - `transition_covariance`, `observation_covariance`: `"full"` or `"diagonal"`.
    - `transition_intercept`, `observation_intercept`: whether there are constants to add.
    - `partly_missing`: whether a step may miss some of its columns under a full `observation_covariance`; the missing
        entries then are latent, which costs a matrix `[d, d]` for each step. Diagonal ones need no such thing.
    - `frozen`: names of parameters kept at their starting value; the others are maximised given them.
    - `floor`: no eigenvalue of `observation_covariance` falls below this fraction of the mean square of its column,
        nor one of the states' covariances below what would matter that little to the observations. A fit that ends
        there has status `degenerate_component`.
    - `careful`: whether statistics are taken about the smoothed means, at the cost of another pass; by default in
        single precision alone. Without it, the noise loses digits as the square of the ratio of observations to
        noise; a fit that lost half of them has status `inaccurate`.

    Data are `[n, T, d]`, or `Sequences` of unequal lengths; NaN is a missing value, and weights are of whole sequences.
    Parameters are `StateSpaceParams`. Where all are free, their values depend on the basis of the states, which the
    likelihood leaves open; `num_parameters` does not count that freedom.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.LinearGaussianStateSpace(1, frozen=("transition", "observation"))
    >>> one = jnp.ones((1, 1))
    >>> start = jaxem.models.StateSpaceParams(jnp.zeros(1), one, one, one, one, one)
    >>> y = jnp.array([0.1, 0.3, jnp.nan, 0.6, 0.5, 0.9])[None, :, None]
    >>> fit = jaxem.solve(model, start, y, max_steps=20)
    >>> model.smoother(fit.params, y).mean.shape
    (1, 6, 1)
    """

    state_dim: int = eqx.field(static=True)
    transition_covariance: str = eqx.field(static=True, default="full", converter=structure_name)
    observation_covariance: str = eqx.field(static=True, default="full", converter=structure_name)
    transition_intercept: bool = eqx.field(static=True, default=False)
    observation_intercept: bool = eqx.field(static=True, default=False)
    partly_missing: bool = eqx.field(static=True, default=False)
    frozen: tuple[str, ...] = eqx.field(static=True, default=(), converter=tuple)
    floor: float = eqx.field(static=True, default=1e-12)
    careful: bool | None = eqx.field(static=True, default=None)
    _frame: Columns | None = None
    _anchor: _Coefficients | None = None
    _accurate: StateSpaceParams | None = None
    _steps: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if not isinstance(self.state_dim, int | np.integer) or self.state_dim < 1:
            raise ValueError(f"state_dim must be a positive integer, got {self.state_dim!r}")
        for name in ("transition_covariance", "observation_covariance"):
            if getattr(self, name) not in ("full", "diagonal"):
                raise ValueError(f"{name} must be 'full' or 'diagonal', got {getattr(self, name)!r}")
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")
        known = [name for name in _NAMES if not name.endswith("_intercept") or getattr(self, name)]
        for name in self.frozen:
            if name not in known:
                raise ValueError(f"frozen: unknown parameter {name!r}; choose from {', '.join(known)}")

    # The three regressions

    @property
    def _regressions(self) -> tuple[LinearRegression, LinearRegression, LinearRegression]:
        diagonal = self.observation_covariance == "diagonal"
        return (
            LinearRegression("full"),
            LinearRegression(self.transition_covariance),
            LinearRegression(self.observation_covariance, by_column=diagonal),
        )

    @property
    def _entrywise(self) -> bool:
        return self.partly_missing and self.observation_covariance == "full"

    def _coefficients(self, params: StateSpaceParams) -> _Coefficients:
        def joined(matrix, intercept):
            return matrix if intercept is None else jnp.concatenate([matrix, intercept[:, None]], 1)

        return _Coefficients(
            params.initial_mean[:, None],
            joined(params.transition, params.transition_intercept),
            joined(params.observation, params.observation_intercept),
        )

    def _anchors(self, like: _Coefficients) -> _Coefficients:
        return jax.tree.map(jnp.zeros_like, like) if self._anchor is None else self._anchor

    def _changes(self, params: StateSpaceParams) -> _Coefficients:
        here = self._coefficients(params)
        return here if self._anchor is None else jax.tree.map(jnp.subtract, here, self._anchor)

    def _bordered(self, states: Array, intercept: bool) -> Array:
        return jnp.concatenate([states, jnp.ones_like(states[..., :1])], -1) if intercept else states

    # The linear map

    @property
    def latent(self) -> GaussianChain:
        return GaussianChain(None if self._anchor is None else self._anchor.transition[:, : self.state_dim])

    def natural(self, params: StateSpaceParams) -> StateSpaceNatural:
        covariances = (params.initial_covariance, params.transition_covariance, params.observation_covariance)
        parts = zip(self._regressions, self._changes(params), covariances, strict=True)
        naturals = [regression.natural(change, covariance) for regression, change, covariance in parts]
        return StateSpaceNatural(jnp.ones((), params.initial_mean.dtype), *naturals)

    def potentials(self, natural: StateSpaceNatural, data: PyTree) -> GaussianChainTree:
        return self._potentials(natural, data, self._centre(data, natural.initial.cross.shape[0]))

    def _potentials(self, natural: StateSpaceNatural, data: PyTree, centre: Array) -> GaussianChainTree:
        q, (initial, transition, observation) = self.state_dim, self._regressions
        parts = zip(self._regressions, natural[1:], strict=True)
        first, along, seen = (regression.symmetric(part) for regression, part in parts)
        anchor = self._anchors(_Coefficients(first.cross, along.cross, seen.cross))
        y, observed, there = self._read(data)

        # Where the centre of the states lies, as the regressions see it.
        before = self._bordered(centre[:, :-1], self.transition_intercept)
        now = self._bordered(centre, self.observation_intercept)
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
        q = self.state_dim
        cross, own = seen.cross[:, :q], seen.quadratic[..., :q, :q]
        if self.observation_covariance == "diagonal":
            tied = loading[:, :, None] * cross[:, None, :]
            own = own + tied + jnp.swapaxes(tied, 1, 2)
            own = own + seen.precision[:, None, None] * loading[:, :, None] * loading[:, None, :]
            return linalg.einsum("ntd,dqr->ntqr", counted, own)
        tied = linalg.matmul(loading.T, cross)
        own = own + tied + tied.T + linalg.matmul(loading.T, linalg.matmul(seen.precision, loading))
        return counted[..., None] * own[None, None]

    def _entries(self, seen, loading, residual, now, observed, counted) -> Entries:
        hidden = counted * (1 - observed)
        cross = linalg.matmul(seen.precision, loading) + seen.cross[:, : self.state_dim]
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
        if self._anchor is None:
            return centre
        centre = centre.at[:, 0].set(jnp.broadcast_to(self._anchor.initial[:, 0][None], centre[:, 0].shape))
        if self._accurate is None:
            return centre
        potentials = self._potentials(self.natural(self._accurate), data, centre)
        return jax.lax.stop_gradient(centre + self.latent.smooth(potentials)[0])

    def _read(self, data: PyTree) -> tuple[Array, Array, Array]:
        """Values in the coordinates of the loop with 0 for what is missing, and what is observed and present."""
        sequences = as_sequences(data)
        observed, there = observed_entries(sequences), present(sequences)
        y = jnp.where(observed > 0, sequences.values, 0)
        if self._frame is not None:
            y = (y - self._frame.shift[None, None]) / self._frame.scale[None, None]
        return jnp.where(observed > 0, y, 0), observed, there

    def log_base(self, data):
        values = as_sequences(data).values
        if self._frame is None:
            return jnp.zeros(values.shape[0], values.dtype)
        return -linalg.einsum("ntd,d->n", self._read(data)[1], jnp.log(self._frame.scale))

    # The M-step

    def maximize(self, stats: StateSpaceNatural, params: StateSpaceParams) -> StateSpaceParams:
        frozen, q = self.frozen, self.state_dim
        start, along, seen = self._changes(params)
        initial, transition, observation = self._regressions

        def free(matrix: str, intercept: str) -> np.ndarray:
            own = [matrix not in frozen] * q
            return np.array([*own, intercept not in frozen] if getattr(self, intercept) else own)

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
        found = _Coefficients(start, along, seen)
        found = jax.tree.map(jnp.add, found, self._anchors(found))
        matrix, view = found.transition[:, :q], found.observation[:, :q]
        scale = observability(matrix, view)
        if "initial_covariance" not in frozen:
            first_covariance = _clipped("full", first_covariance, self.floor, scale)
        if "transition_covariance" not in frozen:
            noise = _clipped(self.transition_covariance, noise, self.floor, scale)
        if "observation_covariance" not in frozen:
            error = _clipped(self.observation_covariance, error, self.floor)
        new = StateSpaceParams(
            found.initial[:, 0],
            first_covariance,
            matrix,
            noise,
            view,
            error,
            found.transition[:, q] if self.transition_intercept else None,
            found.observation[:, q] if self.observation_intercept else None,
        )
        return jax.tree.map(lambda new, old, on: new if on else old, new, params, self.trainable(params))

    # Coordinates

    def unconstrain(self, params: StateSpaceParams) -> Any:
        return self._on_covariances(params, lambda structure, leaf: structure.unconstrain(leaf[None])[0])

    def constrain(self, free: Any) -> StateSpaceParams:
        return self._on_covariances(free, lambda structure, leaf: structure.constrain(leaf[None])[0])

    def _on_covariances(self, params: Any, fn: Any) -> Any:
        return params._replace(
            initial_covariance=fn(STRUCTURES["full"](), params.initial_covariance),
            transition_covariance=fn(STRUCTURES[self.transition_covariance](), params.transition_covariance),
            observation_covariance=fn(STRUCTURES[self.observation_covariance](), params.observation_covariance),
        )

    def blocks(self, free):
        """The three regressions do not interact in Q."""
        groups = (
            ("initial_mean", "initial_covariance"),
            ("transition", "transition_covariance", "transition_intercept"),
            ("observation", "observation_covariance", "observation_intercept"),
        )
        leaves = [[getattr(free, name) for name in group if getattr(free, name) is not None] for group in groups]
        flat = [jnp.concatenate([leaf.reshape(-1) for leaf in own])[None] for own in leaves if own]

        def undo(arrays):
            found, arrays = free, list(arrays)
            for group in groups:
                names = [name for name in group if getattr(free, name) is not None]
                if not names:
                    continue
                shapes = [getattr(free, name).shape for name in names]
                parts = jnp.split(arrays.pop(0)[0], np.cumsum([math.prod(s) for s in shapes])[:-1])
                fields = {name: part.reshape(s) for name, part, s in zip(names, parts, shapes, strict=True)}
                found = found._replace(**fields)
            return found

        return flat, undo

    def bind(self, data, weights, reduce=unreduced):
        sequences = as_sequences(data)
        n, steps = sequences.shape
        rows = jnp.where(observed_entries(sequences) > 0, sequences.values, jnp.nan).reshape(n * steps, -1)
        each = jnp.broadcast_to(weights[:, None], (n, steps)).reshape(-1)
        frame = Columns.of(rows, each, reduce, centred=self.observation_intercept)
        return dataclasses.replace(self, _frame=frame, _steps=steps)  # pyright: ignore[reportCallIssue]

    def encode(self, params):
        if self._frame is None:
            return params
        shift, scale = self._frame
        intercept = params.observation_intercept
        return params._replace(
            observation=params.observation / scale[:, None],
            observation_covariance=_rescaled(self.observation_covariance, params.observation_covariance, 1 / scale),
            observation_intercept=None if intercept is None else (intercept - shift) / scale,
        )

    def decode(self, params):
        if self._frame is None:
            return params
        shift, scale = self._frame
        intercept = params.observation_intercept
        return params._replace(
            observation=params.observation * scale[:, None],
            observation_covariance=_rescaled(self.observation_covariance, params.observation_covariance, scale),
            observation_intercept=None if intercept is None else intercept * scale + shift,
        )

    # Accuracy

    def at(self, params):
        params = jax.lax.stop_gradient(params)
        accurate = params if self._is_careful(params) else None
        return dataclasses.replace(self, _anchor=self._coefficients(params), _accurate=accurate)  # pyright: ignore[reportCallIssue]

    def _is_careful(self, params):
        return params.initial_mean.dtype == jnp.float32 if self.careful is None else self.careful

    def translate(self, stats, source: Any):
        if self._anchor is None:
            return stats
        moves = jax.tree.map(jnp.subtract, self._anchor, source._anchors(self._anchor))
        parts = zip(self._regressions, stats[1:], moves, strict=True)
        return StateSpaceNatural(stats.present, *(r.translate(own, move) for r, own, move in parts))

    def loss(self, params, natural=None):
        """Rounding error of the observations' noise, in which their squares cancel unless residuals are taken."""
        eps = jnp.finfo(params.initial_mean.dtype).eps
        structure = STRUCTURES[self.observation_covariance]()
        precision = structure.precision(structure.factor(params.observation_covariance[None]), None)[0]
        largest = jnp.max(precision if precision.ndim == 1 else jnp.diagonal(precision))
        return eps * (jnp.sqrt(largest) if self._is_careful(params) else largest)

    def degenerate(self, params):
        def at_floor(kind, covariance, scale=None):
            covariance = covariance if scale is None else _rescaled(kind, covariance, 1 / scale)
            return jnp.any(STRUCTURES[kind]().at_floor(covariance[None], self.floor))

        scale = observability(params.transition, params.observation)
        found = jnp.zeros((), bool)
        if "transition_covariance" not in self.frozen:
            found = found | at_floor(self.transition_covariance, params.transition_covariance, scale)
        if "observation_covariance" not in self.frozen:
            found = found | at_floor(self.observation_covariance, params.observation_covariance)
        return found

    def floats_per_row(self, params, lanes=1):
        q, d = params.observation.shape[1], params.observation.shape[0]
        each = 10 * q * q + 10 * q + 3 * d + (4 * d * (d + q) if self._entrywise else 0)
        return self._steps * (3 * d + lanes * each)

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(jnp.any(observed_entries(as_sequences(data)) > 0, -1), 1, dtype=jnp.int32)

    def num_parameters(self, params):
        """Number of free parameters, less the dimension of the changes of basis that leave the model as it is."""
        return super().num_parameters(params) - unidentified(self, params)

    # Starts

    def init(self, key: PRNGKeyArray, data: PyTree, weights: Any = None) -> StateSpaceParams:
        """States guessed from the principal components of the last few steps, with noise; then one M-step."""
        data, weights = for_start(data, weights)
        q, dtype = self.state_dim, as_sequences(data).values.dtype
        d, flat, eye = as_sequences(data).values.shape[2], jnp.zeros((q, q), dtype), jnp.eye(q, dtype=dtype)
        empty = StateSpaceParams(
            flat[0],
            eye,
            flat,
            jnp.ones(q, dtype) if self.transition_covariance == "diagonal" else eye,
            jnp.zeros((d, q), dtype),
            jnp.ones(d, dtype),
            flat[0] if self.transition_intercept else None,
            jnp.zeros(d, dtype) if self.observation_intercept else None,
        )
        plain: Any = dataclasses.replace(
            self, observation_covariance="diagonal", partly_missing=False, frozen=(), _anchor=None, _accurate=None
        )
        states = guess_states(key, q, *self._read(data), weights)
        potentials, pull = jax.vjp(lambda natural: plain.potentials(natural, data), plain.natural(empty))
        moments = plain.latent.about(potentials, states, _DEFAULT_SPREAD * eye)
        found = plain.maximize(pull(plain.latent.weigh(moments, weights))[0], empty)
        error = found.observation_covariance
        error = jnp.diag(error) if self.observation_covariance == "full" else error
        return found._replace(initial_covariance=eye, observation_covariance=error)

    # What users ask of a fitted model

    @question
    def filter(self, params: StateSpaceParams, data: PyTree) -> StateMarginals:
        """States given the observations up to their own time (the Kalman filter)."""
        _, centre, found = self._filtered(params, data)
        return StateMarginals(centre + found[2], found[3])

    @question
    def smoother(self, params: StateSpaceParams, data: PyTree) -> StateMarginals:
        """States given all observations (the Kalman smoother)."""
        model, centre, potentials = self._anchored_potentials(params, data)
        mean, covariance = model.latent.smooth(potentials)
        return StateMarginals(centre + mean, covariance)

    @question
    def simulation_smoother(self, key: PRNGKeyArray, params: StateSpaceParams, data: PyTree) -> Float[Array, "n T q"]:
        """One draw of the states of each sequence given its observations; 0 beyond its end."""
        model, centre, potentials = self._anchored_potentials(params, data)
        there = present(as_sequences(data))
        return there[..., None] * centre + model.latent.sample(key, potentials).linear

    @question
    def predict(self, params: StateSpaceParams, data: PyTree) -> Forecast:
        """Each observation given those before it (one step ahead)."""
        _, centre, found = self._filtered(params, data)
        return predicted(params, StateMarginals(centre + found[0], found[1]))

    @question
    def forecast(self, params: StateSpaceParams, data: PyTree, num_steps: int) -> Forecast:
        """The `num_steps` observations after the end of each sequence."""
        _, centre, found = self._filtered(params, data)
        last = jnp.sum(present(as_sequences(data)), 1).astype(jnp.int32) - 1
        rows = jnp.arange(last.shape[0], dtype=jnp.int32)
        return ahead(params, (centre + found[2])[rows, last], found[3][rows, last], num_steps)

    def sample(self, key, params, n, num_steps: int | None = None):
        """Draw `n` sequences `[n, num_steps, d]` and their states `[n, num_steps, q]`."""
        if num_steps is None:
            raise MissingCapabilityError("LinearGaussianStateSpace.sample needs num_steps: how long the sequences are")
        return sample(key, params, n, num_steps)

    # The door of data

    @property
    def domains(self):
        kind = {"full": "definite", "diagonal": "positive"}
        return {
            "initial_covariance": "definite",
            "transition_covariance": kind[self.transition_covariance],
            "observation_covariance": kind[self.observation_covariance],
        }

    def check_shape(self, params, data):
        sequences, d = as_sequences(data), params.observation.shape[0]
        if isinstance(sequences.values, dict | tuple):
            raise DataError("values must be one array [sequences, steps, columns], with a column for each observation")
        sequences.check_shape()
        if sequences.values.ndim != 3 or sequences.values.shape[2] != d:
            raise DataError(f"values have shape {sequences.values.shape}, but the parameters are for {d} columns")

    def check_rows(self, data: Any) -> None:
        check_steps(as_sequences(data), partly=self.partly_missing or self.observation_covariance == "diagonal")

    def unusable(self, data):
        return not_finite(as_sequences(data).values, missing=True)

    def _anchored_potentials(self, params, data):
        model = self.at(params)
        centre = model._centre(data, self.state_dim)
        return model, centre, model._potentials(model.natural(params), data, centre)

    def _filtered(self, params, data):
        model, centre, potentials = self._anchored_potentials(params, data)
        return model, centre, model.latent.filter(potentials)


def _rescaled(kind: str, covariance: Array, scale: Array) -> Array:
    return STRUCTURES[kind]().rescale(covariance[None], scale[None])[0]


def _clipped(kind: str, covariance: Array, floor: float, scale: Array | None = None) -> Array:
    """The covariance with no eigenvalue below the floor, in units of `scale`."""
    if scale is None:
        return STRUCTURES[kind]().clip(covariance[None], floor)[0]
    return _rescaled(kind, _clipped(kind, _rescaled(kind, covariance, 1 / scale), floor), scale)
