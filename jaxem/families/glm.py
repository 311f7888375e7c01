"""Generalised linear models of counts, for mixtures and experts."""

from abc import abstractmethod
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._counts import clamped_log, deviance, stirling
from jaxem.families._design import Frame, check_columns
from jaxem.families._family import AbstractKernelFamily
from jaxem.families.kernels.glm import CommonFree, GLMKernel, sizes
from jaxem.families.kernels.glm import GLMParams as GLMParams
from jaxem.families.responses import Responses, check_covariates, no_covariates, one_response, require_responses
from jaxem.kernels.linalg import matmul


class AbstractGLM(AbstractKernelFamily):
    """Responses whose distribution depends on a linear predictor `x @ coefficients` through a canonical link."""

    common: eqx.AbstractVar[tuple[int, ...]]
    prior_deviation: eqx.AbstractVar[float | tuple[float, ...] | None]

    parameters: ClassVar[tuple[str, ...]] = ("coefficients",)
    linear: ClassVar[bool] = False

    # What a family of responses says

    @abstractmethod
    def log_density(self, predictor: Array, y: Array, size: Array) -> Array:
        """The part of the log density that depends on the linear predictor."""

    @abstractmethod
    def log_constant(self, y: Array, size: Array) -> Array:
        """The rest; minus infinity for what is no response."""

    @abstractmethod
    def mean_and_slope(self, predictor: Array, size: Array) -> tuple[Array, Array]:
        """Mean of the response, and its derivative in the linear predictor (the variance)."""

    @abstractmethod
    def rough_predictor(self, y: Array, size: Array) -> Array:
        """The linear predictor that one response suggests, finite at the edges."""

    @abstractmethod
    def check_support(self, y: np.ndarray, size: np.ndarray | None, name: str) -> None:
        """Raise `DataError` for responses and sizes outside the support."""

    # The rows

    def read(self, x):
        return one_response(x)

    def log_base(self, x: Any) -> Float[Array, " n"]:
        value = self.log_constant(x.y, sizes(x))
        return jnp.sum(value, tuple(range(1, value.ndim)))

    def mean(self, params: GLMParams, rows: Responses) -> Float[Array, "k n"]:
        """Expected responses under each member, with their `size`; `rows.y` is not looked at."""
        return self.mean_and_slope(self.kernel().predictor(params.coefficients, rows.x), sizes(rows)[None])[0]

    # Coordinates

    def unconstrain(self, params: GLMParams) -> Any:
        b, (own, common) = params.coefficients, self._columns(params)
        if not self.common:
            return params
        return GLMParams(CommonFree(b[:, own], jnp.mean(b[:, common], 0, keepdims=True)))  # pyright: ignore[reportArgumentType]

    def constrain(self, free: Any) -> GLMParams:
        if not self.common:
            return free
        own, common = free.coefficients
        both = jnp.concatenate([own, jnp.broadcast_to(common, (own.shape[0], common.shape[1]))], 1)
        return GLMParams(both[:, np.argsort(np.concatenate(self._columns(GLMParams(both))))])

    def _columns(self, params: GLMParams) -> tuple[np.ndarray, np.ndarray]:
        p = params.coefficients.shape[1]
        return np.array([j for j in range(p) if j not in self.common], int), np.array(self.common, int)

    def kernel(self) -> GLMKernel:
        return GLMKernel(self)

    def bind(self, x: Any, weights, reduce):
        flat = x.x.reshape(-1, x.x.shape[-1])
        each = jnp.repeat(weights, flat.shape[0] // weights.shape[0])
        return GLMKernel(self, Frame.of(flat, each, reduce, self.common, sizes(x).reshape(-1)))

    # Data

    def sample(self, key, params, labels):
        raise no_covariates(self)

    # The door of data

    def check_shape(self, params, x, name="data"):
        check_covariates(x, params.coefficients.shape[1], name)

    def check_rows(self, x: Any, name: str = "data") -> None:
        require_responses(x, name)
        shape = np.shape(x.x)
        if len(shape) not in (2, 3) or 0 in shape:
            raise DataError(
                f"{name}.x must have shape [rows, columns], or [rows, measurements, columns] where an observation has "
                f"several responses, got {shape}"
            )
        for field, value in (("y", x.y), ("size", x.size)):
            if value is not None and np.shape(value) != shape[:-1]:
                raise DataError(f"{name}.{field} must have shape {shape[:-1]}, got {np.shape(value)}")
        for field, value in (("x", x.x), ("y", x.y), ("size", x.size)):
            if value is not None:
                require_all(np.isfinite(value), value, f"{name}.{field}", "is not finite; drop such rows first")
        self.check_support(np.asarray(x.y), None if x.size is None else np.asarray(x.size), name)

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        shape = np.shape(x.x)
        if any(not 0 <= j < shape[-1] for j in self.common):
            raise DataError(f"common={self.common}, but {name}.x has {shape[-1]} columns")
        deviations = np.asarray(self.prior_deviation).size
        if self.prior_deviation is not None and deviations not in (1, shape[-1]):
            raise DataError(f"prior_deviation has {deviations} entries, but {name}.x has {shape[-1]} columns")
        if self.prior_deviation is None:
            check_columns(np.asarray(x.x).reshape(-1, shape[-1]), f"{name}.x")


def as_columns(common: Any) -> tuple[int, ...]:
    """Numbers of columns, in order and each once."""
    return tuple(sorted({int(j) for j in common}))


def as_deviation(value: Any) -> float | tuple[float, ...] | None:
    """A standard deviation that is positive, or one for each column; `None` stays."""
    if value is None:
        return None
    values = np.asarray(value, float)
    if values.ndim > 1 or not (values > 0).all():
        raise ValueError(f"prior_deviation must be positive, one for all columns or one for each, got {value!r}")
    return float(values) if values.ndim == 0 else tuple(values.tolist())


def require_all(valid: np.ndarray, values: Any, name: str, message: str) -> None:
    """Raise for the first of `values` where `valid` is false."""
    if not np.all(valid):
        where = tuple(int(i) for i in np.argwhere(~np.asarray(valid))[0])
        place = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "entry", "entry"), where, strict=False))
        raise DataError(f"{name}: {place} has value {float(np.asarray(values)[where])!r}, which {message}")


_LOW, _HIGH = -50.0, 60.0  # beyond these the log density of a count goes on along its tangent: it would overflow


@final
class PoissonRegression(AbstractGLM):
    """Counts whose log mean is linear in covariates: `y ~ Poisson(size * exp(x @ coefficients))`.

    **Arguments:**

    - `common`: columns of `x` whose coefficients all members have in common; each has its own of the others.
    - `prior_deviation`: standard deviation of normal priors of the coefficients, about 0; one for all, or one for each
        column (infinite for those without a prior, such as a constant term).

    Rows are `jaxem.Responses(x, y, size)`, with a column of ones in `x` for a constant term; `size` is the exposure, 1
    if left out. Where an observation has several counts that come from the same member, `x` is `[n, m, p]` and `y` and
    `size` are `[n, m]`. Parameters are `GLMParams`. There is no closed-form M-step: mixtures are fitted by EM gradient
    (the default), `jaxem.gem(...)` and other rules for rung 1. Coefficients that run off to infinity make the fit
    `degenerate_component`: those whose standard error would be above 30 even if all rows were the member's own, in
    units of the standard deviation of their share in the linear predictor. McCullagh and Nelder (1989); Wang,
    Puterman, Cockburn and Le (1996) for mixtures.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> dose = jnp.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    >>> rows = jaxem.Responses(jnp.stack([jnp.ones(6), dose], 1), jnp.array([1.0, 1.0, 2.0, 3.0, 7.0, 8.0]))
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.PoissonRegression()), rows, key=jax.random.key(0))
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-0.1, 1.0]
    """

    common: tuple[int, ...] = eqx.field(static=True, default=(), converter=as_columns)
    prior_deviation: float | tuple[float, ...] | None = eqx.field(static=True, default=None, converter=as_deviation)

    def log_density(self, predictor, y, size):
        inside = jnp.clip(predictor, _LOW, _HIGH)
        mean = size * jnp.exp(inside)
        y = jnp.broadcast_to(y, mean.shape)
        return (y - mean) * (predictor - inside) - deviance(y, mean)

    def log_constant(self, y, size):
        return jnp.where((y >= 0) & (y == jnp.floor(y)), -stirling(jnp.maximum(y, 0)), -jnp.inf)

    def mean_and_slope(self, predictor, size):
        mean = size * jnp.exp(jnp.clip(predictor, _LOW, _HIGH))
        return mean, mean

    def rough_predictor(self, y, size):
        return jnp.log((y + 0.5) / size)

    def check_support(self, y, size, name):
        require_all((y >= 0) & (y == np.floor(y)), y, f"{name}.y", "is not a count (0, 1, 2, ...)")
        if size is not None:
            require_all(size > 0, size, f"{name}.size", "is not a positive exposure")

    def marginal(self, params, column, rows=None):
        rows = univariate.require_covariates(rows, type(self).__name__)
        return univariate.Marginal(univariate.Poisson(self.mean(params, rows)), univariate.entries(rows, column))


@final
class BinomialRegression(AbstractGLM):
    """Numbers of successes whose log odds are linear in covariates: `y ~ Binomial(size, sigmoid(x @ coefficients))`.

    **Arguments:** as for `PoissonRegression`. `prior_deviation` keeps coefficients finite where covariates separate the
    successes from the failures (Gelman et al. 2008).

    Rows are `jaxem.Responses(x, y, size)`; `size` is the number of trials, 1 if left out (logistic regression), and 0
    for a measurement that was not made, which fills up observations with fewer than `m`. All else as for
    `PoissonRegression`. A mixture of logistic regressions is identified only with several trials an observation
    (Follmann and Lambert 1991).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.stack([jnp.ones(4), jnp.arange(4.0)], 1)
    >>> rows = jaxem.Responses(x, jnp.array([1.0, 3.0, 6.0, 9.0]), jnp.full(4, 10.0))
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.BinomialRegression()), rows, key=jax.random.key(0))
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-2.3, 1.4]
    """

    common: tuple[int, ...] = eqx.field(static=True, default=(), converter=as_columns)
    prior_deviation: float | tuple[float, ...] | None = eqx.field(static=True, default=None, converter=as_deviation)

    def log_density(self, predictor, y, size):
        # Less what it would be at the observed proportion, a constant that would cost digits in large trials.
        rest = size - y
        total = jnp.maximum(size, 1)
        own = y * (jax.nn.log_sigmoid(predictor) - clamped_log(y / total))
        return own + rest * (jax.nn.log_sigmoid(-predictor) - clamped_log(rest / total))

    def log_constant(self, y, size):
        possible = (y >= 0) & (y <= size) & (y == jnp.floor(y))
        inside = jnp.clip(y, 0, size)
        return jnp.where(possible, stirling(size) - stirling(inside) - stirling(size - inside), -jnp.inf)

    def mean_and_slope(self, predictor, size):
        p = jax.nn.sigmoid(predictor)
        return size * p, size * p * jax.nn.sigmoid(-predictor)

    def rough_predictor(self, y, size):
        return jnp.log((y + 0.5) / (size - y + 0.5))

    def check_support(self, y, size, name):
        require_all((y >= 0) & (y == np.floor(y)), y, f"{name}.y", "is not a number of successes (0, 1, 2, ...)")
        if size is None:
            require_all(y <= 1, y, f"{name}.y", f"is neither 0 nor 1; pass the numbers of trials as {name}.size")
            return
        require_all((size >= 0) & (size == np.floor(size)), size, f"{name}.size", "is not a number of trials")
        require_all(y <= size, y, f"{name}.y", f"is more than the number of trials in {name}.size")

    def marginal(self, params, column, rows=None):
        rows = univariate.require_covariates(rows, type(self).__name__)
        predictor, size = matmul(params.coefficients, rows.x.T), sizes(rows)[None]
        distribution = univariate.Binomial(size, jax.nn.sigmoid(predictor), jax.nn.sigmoid(-predictor))
        return univariate.Marginal(distribution, univariate.entries(rows, column))
