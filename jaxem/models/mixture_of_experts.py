import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._door import for_start, question
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import unreduced
from jaxem.families import AbstractFamily
from jaxem.families._frame import Frame
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.chunks import not_finite, num_rows
from jaxem.kernels.linalg import matmul
from jaxem.models._mixture import AbstractMixture
from jaxem.models.gated import Gated, check_gate
from jaxem.models.labelled import Labelled
from jaxem.models.mixture import Mixture


class MixtureOfExpertsParams(NamedTuple):
    """Coefficients of the `gate` `[k - 1, q]`, and the parameters of the `experts` with a leading axis `k`.

    The log weight of expert `j` exceeds that of the last one by `covariates @ gate[j]`.
    """

    gate: Float[Array, "m q"]
    experts: Any


@final
class MixtureOfExperts(AbstractMixture):
    """A mixture whose weights depend on covariates, by a softmax of linear functions of them.

    **Arguments:**

    - `family`: the distribution of a row under an expert: a regression such as `jaxem.families.PoissonRegression()`, or
        any other family (a mixture with concomitant variables; with `OneOf`, experts of different kinds).
    - `num_components`: how many experts, `k`.
    - `gate_deviation`: standard deviation of a normal prior of each coefficient of the gate about its mean over the
        experts (of whom the last has coefficients 0). It keeps the gate finite where covariates separate the experts.
    - `frozen`: names of parameters kept at their starting value, such as `("gate",)`.
    - `start`: how a start is drawn when `fit` is not told: an `AbstractInit`.

    Data are `jaxem.Responses(x, y)`, whose `x` both the gate and the experts see, or `jaxem.models.Gated(rows, gate)`
    with covariates of the gate's own. Parameters are `MixtureOfExpertsParams`. The gate has no closed-form M-step (rung
    1): fitted by EM gradient (the default), `jaxem.gem(...)` and the like. A gate that runs off to infinity, since
    covariates separate the experts or one of them is shut out, makes the fit `degenerate_component` (see
    `PoissonRegression` for when). Jacobs, Jordan, Nowlan and Hinton (1991); Jordan and Jacobs (1994).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> t = jnp.linspace(-3.0, 3.0, 40)
    >>> y = jnp.where(t + jnp.sin(40 * t) < 0, 1 + t, 4 - 2 * t) + 0.1 * jnp.cos(90 * t)
    >>> model = jaxem.MixtureOfExperts(jaxem.LinearRegression(), num_components=2)
    >>> rows = jaxem.Responses(jnp.stack([jnp.ones(40), t], 1), y)
    >>> fit = jaxem.fit(model, rows, key=jax.random.key(0), restarts=8)
    >>> sorted(fit.params.experts.coefficients[:, 1].round(1).tolist())
    [-2.0, 1.0]
    """

    family: AbstractFamily
    num_components: int = eqx.field(static=True)
    gate_deviation: float | None = eqx.field(static=True, default=None)
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()
    _frame: Frame | None = None

    members: ClassVar[str] = "experts"
    linear: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleMethodOverride]

    def __check_init__(self):
        self.check_components()
        if self.gate_deviation is not None and not 0 < self.gate_deviation < np.inf:
            raise ValueError(f"gate_deviation must be positive and finite, got {self.gate_deviation!r}")
        self.known_names("gate")

    def with_family(self, family):
        return dataclasses.replace(self, family=family)

    def rows(self, data):
        data = data.rows if isinstance(data, Labelled) else data
        return self.family.read(data.rows if isinstance(data, Gated) else data)

    def covariates(self, data: PyTree) -> Float[Array, "n q"]:
        """What the gate sees."""
        data = data.rows if isinstance(data, Labelled) else data
        x = data.gate if isinstance(data, Gated) else data.x
        return x if self._frame is None else self._frame.covariates(x)

    def natural(self, params: MixtureOfExpertsParams) -> MixtureOfExpertsParams:
        return params._replace(experts=self.family.natural(params.experts))

    def log_weights(self, gate: Float[Array, "m q"], data: PyTree) -> Float[Array, "k n"]:
        return jax.nn.log_softmax(_with_last(matmul(gate, self.covariates(data).T)), 0)

    def potentials(self, natural: MixtureOfExpertsParams, data: PyTree) -> PyTree:
        return self.joint(self.log_weights(natural.gate, data), natural.experts, data)

    def log_prior(self, params):
        gate, deviation = params.gate, self.gate_deviation
        prior = self.family.log_prior(params.experts).astype(gate.dtype)
        if deviation is None:
            return prior
        gate = gate if self._frame is None else self._frame.decode(gate)
        k, q = self.num_components, gate.shape[1]
        gate = _with_last(gate)
        squares = jnp.sum((gate - jnp.mean(gate, 0, keepdims=True)) ** 2) / deviation**2
        constant = q * ((k - 1) * np.log(2 * np.pi * deviation**2) + np.log(k)) / 2
        return prior - squares / 2 - jnp.asarray(constant, gate.dtype)

    # Coordinates

    def bind(self, data, weights, reduce=unreduced):
        model = super().bind(data, weights, reduce)
        return dataclasses.replace(model, _frame=Frame.of(self.covariates(data), weights, reduce))  # pyright: ignore[reportArgumentType]

    def encode(self, params):
        params = super().encode(params)
        return params if self._frame is None else params._replace(gate=self._frame.encode(params.gate))

    def decode(self, params):
        params = super().decode(params)
        return params if self._frame is None else params._replace(gate=self._frame.decode(params.gate))

    def unconstrain(self, params):
        return params._replace(experts=self.family.unconstrain(params.experts))

    def constrain(self, free):
        return free._replace(experts=self.family.constrain(free.experts))

    def blocks(self, free):
        experts, undo = self.family.blocks(free.experts)
        shape = free.gate.shape
        gate = free.gate.reshape(1, -1)
        return [gate, *experts], lambda a: MixtureOfExpertsParams(a[0][0].reshape(shape), undo(a[1:]))

    def degenerate(self, params):
        experts = self.family.degenerate(params.experts)
        frame = self._frame
        if frame is None or self.num_components == 1 or self.gate_deviation is not None:
            return experts
        share = jax.nn.softmax(_with_last(matmul(params.gate, frame.sample.T)), 0)
        return experts | frame.undetermined(frame.amount[None] * share * (1 - share))

    # Starts

    def init(self, key, data, weights=None):
        data, weights = for_start(data, weights)
        plain = self.rows(data)
        labelled = Labelled(plain, data.labels) if isinstance(data, Labelled) else plain
        drawn = Mixture(self.family, self.num_components, start=self.start).init(key, labelled, weights)
        q = self.covariates(data).shape[1]
        gate = jnp.zeros((self.num_components - 1, q), drawn.weights.dtype)
        return MixtureOfExpertsParams(gate, drawn.components)

    # There is no conjugate prior of a softmax

    def maximize(self, stats, params):
        raise MissingCapabilityError("the gate of MixtureOfExperts has no closed-form M-step; use jaxem.em_gradient()")

    def require_prior(self):
        raise MissingCapabilityError(
            "the gate of MixtureOfExperts has no conjugate prior; gate_deviation serves its posterior mode"
        )

    def conjugate_posterior(self, stats):
        return self.require_prior()

    def expected_natural(self, posterior):
        return self.require_prior()

    def posterior_mean(self, posterior):
        return self.require_prior()

    def draw(self, key, posterior):
        return self.require_prior()

    def kl(self, posterior) -> Any:
        return self.require_prior()

    def floats_per_row(self, params, lanes=1):
        shared, own = self.family.floats_per_row(params.experts)
        return shared + params.gate.shape[1] + lanes * (3 * self.num_components + own)

    # What users ask of a fitted model

    @question
    def gates(self, params: MixtureOfExpertsParams, data: PyTree) -> Float[Array, "n k"]:
        """The weight of each expert given the covariates alone, `[n, k]`."""
        return jnp.exp(self.log_weights(params.gate, data)).T

    def sample(self, key, params, n):
        raise MissingCapabilityError(
            "MixtureOfExperts says how rows follow from the covariates of its gate, and has no distribution of these "
            "to draw rows from"
        )

    def check_shape(self, params, data):
        self.require_parameters(params)
        check_gate(data.rows if isinstance(data, Labelled) else data)
        width, found = params.gate.shape[1], self.covariates(data).shape
        if len(found) != 2 or found[1] != width:
            raise DataError(f"the gate's covariates have shape {found}, but the parameters are for {width} columns")
        super().check_shape(params, data)

    def check_rows(self, data):
        inner = data.rows if isinstance(data, Labelled) else data
        check_gate(inner)
        super().check_rows(data)
        if isinstance(inner, Gated):
            inner.check(separate=False)

    def unusable(self, data):
        return super().unusable(data) | not_finite(self.covariates(data))

    def check(self, data: Any, weights: Any) -> None:
        inner = data.rows if isinstance(data, Labelled) else data
        check_gate(inner)
        self.family.check_members(self.num_components)
        super().check(data, weights)
        if isinstance(inner, Gated):
            inner.check(self.gate_deviation is None)
        n = num_rows(data)
        self.check_enough(n, weights)
        if isinstance(data, Labelled):
            data.check(n, self.num_components)


def _with_last(logits: Float[Array, "m n"]) -> Float[Array, "k n"]:
    return jnp.concatenate([logits, jnp.zeros((1, logits.shape[1]), logits.dtype)])
