"""Mixtures whose weights depend on covariates, and counts with too many zeros."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.engine.door import question
from jaxem.families import AbstractFamily, NegativeBinomialRegression, OneOf, PointMass, PoissonRegression
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.chunks import not_finite
from jaxem.models.mixture import AbstractMixture
from jaxem.structures.gate import Gate, Gated, check_gate, covariates_of
from jaxem.structures.gate import MixtureOfExpertsParams as MixtureOfExpertsParams
from jaxem.structures.labelled import unlabelled


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

    def __check_init__(self):
        self.check_components()
        if self.gate_deviation is not None and not 0 < self.gate_deviation < np.inf:
            raise ValueError(f"gate_deviation must be positive and finite, got {self.gate_deviation!r}")
        self.check_names()

    @property
    def structure(self) -> Gate:
        return Gate(self.num_components, self.gate_deviation)

    @question
    def gates(self, params: MixtureOfExpertsParams, data: PyTree) -> Float[Array, "n k"]:
        """The weight of each expert given the covariates alone, `[n, k]`."""
        return jnp.exp(self.structure.log_weights(params.gate, data)).T

    def sample(self, key, params, n):
        raise MissingCapabilityError(
            "MixtureOfExperts says how rows follow from the covariates of its gate, and has no distribution of these "
            "to draw rows from"
        )

    # The door of data

    def check_shape(self, params, data):
        self.require_parameters(params)
        check_gate(unlabelled(data))
        width, found = params.gate.shape[1], covariates_of(data).shape
        if len(found) != 2 or found[1] != width:
            raise DataError(f"the gate's covariates have shape {found}, but the parameters are for {width} columns")
        super().check_shape(params, data)

    def check_rows(self, data):
        inner = unlabelled(data)
        check_gate(inner)
        super().check_rows(data)
        if isinstance(inner, Gated):
            inner.check(separate=False)

    def unusable(self, data):
        return super().unusable(data) | not_finite(covariates_of(data))

    def check(self, data: Any, weights: Any) -> None:
        inner = unlabelled(data)
        check_gate(inner)
        super().check(data, weights)
        if isinstance(inner, Gated):
            inner.check(self.gate_deviation is None)


def ZeroInflatedPoisson(*, gate_deviation: float | None = None, frozen: tuple[str, ...] = ()) -> MixtureOfExperts:
    """Counts that are zero with a probability that depends on covariates, and otherwise a Poisson regression.

    It is a function that makes a `MixtureOfExperts`. What tells such a model is
    `isinstance(model, jaxem.MixtureOfExperts) and isinstance(model.family, jaxem.families.OneOf)`.

    Two experts of different kinds: `MixtureOfExperts(OneOf(zero=PointMass(0.0), count=PoissonRegression()), 2)`. The
    hidden variable of a row says whether it is a zero whatever its rate. Data are as for `MixtureOfExperts`; in the
    result `params.gate` `[1, q]` are the coefficients of the log odds of such a zero, and
    `params.experts["count"].coefficients` `[1, p]` those of the log mean of the other counts. Lambert (1992).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jnp.array([0.0, 0.0, 0.0, 0.0, 3.0, 5.0, 4.0])
    >>> rows = jaxem.Responses(jnp.ones((7, 1)), y)
    >>> fit = jaxem.fit(jaxem.models.ZeroInflatedPoisson(), rows, key=jax.random.key(0))
    >>> round(float(jnp.exp(fit.params.experts["count"].coefficients[0, 0])), 2)
    3.92
    """
    family = OneOf(zero=PointMass(0.0), count=PoissonRegression())
    return MixtureOfExperts(family, 2, gate_deviation, tuple(frozen))


def ZeroInflatedNegativeBinomial(
    *,
    theta: float | None = None,
    gate_deviation: float | None = None,
    frozen: tuple[str, ...] = (),
) -> MixtureOfExperts:
    """`ZeroInflatedPoisson` with overdispersed counts, `NegativeBinomialRegression`, in the place of Poisson ones.

    It is a function that makes a `MixtureOfExperts`. What tells such a model is
    `isinstance(model, jaxem.MixtureOfExperts) and isinstance(model.family, jaxem.families.OneOf)`.

    In the result `params.experts["count"]` has `coefficients` `[1, p]` and `theta` `[1]`. With covariates in both parts
    the likelihood tends to be flat; `jaxem.algorithms.newton()` climbs it in few iterations. Greene (1994); Zeileis,
    Kleiber and Jackman (2008).

    **Arguments:**

    - `theta`: a number that is not estimated.
    - `gate_deviation`, `frozen`: as for `MixtureOfExperts`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 9.0, 4.0, 3.0, 17.0])
    >>> rows = jaxem.Responses(jnp.ones((10, 1)), y)
    >>> fit = jaxem.fit(jaxem.models.ZeroInflatedNegativeBinomial(), rows, key=jax.random.key(0))
    >>> round(float(jnp.exp(fit.params.experts["count"].coefficients[0, 0])), 1)
    6.5
    """
    family = OneOf(zero=PointMass(0.0), count=NegativeBinomialRegression(theta=theta))
    return MixtureOfExperts(family, 2, gate_deviation, tuple(frozen))
