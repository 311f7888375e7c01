from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractBoundModel
from jaxem.engine.door import question
from jaxem.families._columns import Columns
from jaxem.families.covariance import structure_name
from jaxem.kernels.chunks import not_finite
from jaxem.kernels.sums import unreduced
from jaxem.models._state_bound import BoundStateSpace
from jaxem.models._state_data import check_steps, observed_entries, present
from jaxem.models._state_forecast import Forecast, StateMarginals, ahead, predicted, sample
from jaxem.models._state_params import StateSpaceParams as StateSpaceParams
from jaxem.models._state_params import unidentified
from jaxem.structures.sequences import as_sequences, lengthened

_NAMES = StateSpaceParams._fields


@final
class LinearGaussianStateSpace(AbstractBoundModel):
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

    lengthen: ClassVar = staticmethod(lengthened)

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

    def bound(self) -> BoundStateSpace:
        return BoundStateSpace(self)

    def bind(self, data, weights, reduce=unreduced):
        sequences = as_sequences(data)
        n, steps = sequences.shape
        rows = jnp.where(observed_entries(sequences) > 0, sequences.values, jnp.nan).reshape(n * steps, -1)
        each = jnp.broadcast_to(weights[:, None], (n, steps)).reshape(-1)
        frame = Columns.of(rows, each, reduce, centred=self.observation_intercept)
        return BoundStateSpace(self, frame, num_steps=steps)

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(jnp.any(observed_entries(as_sequences(data)) > 0, -1), 1, dtype=jnp.int32)

    def num_parameters(self, params):
        """Number of free parameters, less the dimension of the changes of basis that leave the model as it is."""
        return super().num_parameters(params) - unidentified(self, params)

    # What users ask of a fitted model

    @question(by_step=True)
    def filter(self, params: StateSpaceParams, data: PyTree) -> StateMarginals:
        """States given the observations up to their own time (the Kalman filter)."""
        centre, found = self._filtered(params, data)
        return StateMarginals(centre + found[2], found[3])

    @question(by_step=True)
    def smoother(self, params: StateSpaceParams, data: PyTree) -> StateMarginals:
        """States given all observations (the Kalman smoother)."""
        model, centre, potentials = self.bound().here(params, data)
        mean, covariance = model.latent.smooth(potentials)
        return StateMarginals(centre + mean, covariance)

    @question
    def simulation_smoother(self, key: PRNGKeyArray, params: StateSpaceParams, data: PyTree) -> Float[Array, "n T q"]:
        """One draw of the states of each sequence given its observations; 0 beyond its end."""
        model, centre, potentials = self.bound().here(params, data)
        there = present(as_sequences(data))
        return there[..., None] * centre + model.latent.sample(key, potentials).linear

    @question(by_step=True)
    def predict(self, params: StateSpaceParams, data: PyTree) -> Forecast:
        """Each observation given those before it (one step ahead)."""
        centre, found = self._filtered(params, data)
        return predicted(params, StateMarginals(centre + found[0], found[1]))

    @question
    def forecast(self, params: StateSpaceParams, data: PyTree, num_steps: int) -> Forecast:
        """The `num_steps` observations after the end of each sequence."""
        centre, found = self._filtered(params, data)
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

    def _filtered(self, params, data):
        model, centre, potentials = self.bound().here(params, data)
        return centre, model.latent.filter(potentials)
