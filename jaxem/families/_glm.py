from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families._design import check_columns
from jaxem.families._family import AbstractFamily
from jaxem.families._frame import Frame
from jaxem.families.responses import Responses, check_covariates, one_response, require_responses
from jaxem.kernels.linalg import cholesky, einsum, inverse_lower, matmul


class GLMParams(NamedTuple):
    """Coefficients `[k, p]` of the covariates in the linear predictors."""

    coefficients: Float[Array, "k p"]


class CommonFree(NamedTuple):
    """Coefficients of which each member has its own `[k, p - q]`, and those that all have in common `[1, q]`."""

    own: Float[Array, "k r"]
    common: Float[Array, "1 q"]


class AbstractGLM(AbstractFamily):
    """Responses whose distribution depends on a linear predictor `x @ coefficients` through a canonical link."""

    common: eqx.AbstractVar[tuple[int, ...]]
    prior_deviation: eqx.AbstractVar[float | tuple[float, ...] | None]
    _frame: eqx.AbstractVar[Frame | None]

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

    def natural(self, params: GLMParams) -> GLMParams:
        return params

    def potentials(self, natural: GLMParams, x: Responses) -> Float[Array, "k n"]:
        predictor = self.predictor(natural.coefficients, x.x)
        value = self.log_density(predictor, x.y[None], sizes(x)[None])
        return jnp.sum(value, tuple(range(2, value.ndim)))

    def log_base(self, x: Any) -> Float[Array, " n"]:
        value = self.log_constant(x.y, sizes(x))
        return jnp.sum(value, tuple(range(1, value.ndim)))

    def mean(self, params: GLMParams, rows: Responses) -> Float[Array, "k n"]:
        """Expected responses under each member, with their `size`; `rows.y` is not looked at."""
        return self.mean_and_slope(self.predictor(params.coefficients, rows.x), sizes(rows)[None])[0]

    def predictor(self, coefficients: Array, x: Array) -> Array:
        """Linear predictors `[k, n, ...]` of covariates `[n, ..., p]`."""
        flat = x.reshape(-1, x.shape[-1])
        flat = flat if self._frame is None else self._frame.covariates(flat)
        return matmul(coefficients, flat.T).reshape(coefficients.shape[0], *x.shape[:-1])

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

    def blocks(self, free):
        if not self.common:
            return super().blocks(free)
        own, common = free.coefficients
        shape = own.shape

        def undo(arrays):
            flat = arrays[0]
            return GLMParams(CommonFree(flat[:, : own.size].reshape(shape), flat[:, own.size :]))  # pyright: ignore[reportArgumentType]

        return [jnp.concatenate([own.reshape(1, -1), common], 1)], undo

    def log_prior(self, params: GLMParams) -> Array:
        b = params.coefficients
        if self.prior_deviation is None:
            return jnp.zeros((), b.dtype)
        b = b if self._frame is None else self._frame.decode(b)
        deviation = np.broadcast_to(np.asarray(self.prior_deviation, float), (b.shape[1],))
        once = np.isin(np.arange(b.shape[1]), self.common)[None] & (np.arange(b.shape[0]) > 0)[:, None]
        used = np.isfinite(deviation)[None] & ~once
        inside = jnp.asarray(np.where(np.isfinite(deviation), deviation, 1)[None], b.dtype)
        terms = -((b / inside) ** 2) / 2 - jnp.log(inside) - np.log(2 * np.pi) / 2
        return jnp.sum(jnp.where(used, terms, 0))

    def bind(self, x: Any, weights, reduce):
        flat = x.x.reshape(-1, x.x.shape[-1])
        each = jnp.repeat(weights, flat.shape[0] // weights.shape[0])
        return self._with(Frame.of(flat, each, reduce, self.common, sizes(x).reshape(-1)))

    def _with(self, frame: Frame | None) -> "AbstractGLM":
        return type(self)(self.common, self.prior_deviation, frame)  # pyright: ignore[reportCallIssue]

    def encode(self, params):
        return params if self._frame is None else GLMParams(self._frame.encode(params.coefficients))

    def decode(self, params):
        return params if self._frame is None else GLMParams(self._frame.decode(params.coefficients))

    def degenerate(self, params):
        """Whether coefficients run off to infinity, as they do where covariates separate the responses."""
        frame = self._frame
        if frame is None or self.prior_deviation is not None:
            return jnp.zeros((), bool)
        predictor = matmul(params.coefficients, frame.sample.T)
        return frame.undetermined(self.mean_and_slope(predictor, frame.amount[None])[1])

    # Starts

    def from_points(self, points: Any, x: Any, weights):
        k = points.y.shape[0]
        zero = GLMParams(jnp.zeros((1, x.x.shape[-1]), x.x.dtype))
        pooled = self.warm(zero, x, weights[None]).coefficients
        # The least change of the coefficients that takes most of the way to the point.
        rough = self.rough_predictor(points.y, sizes(points)) - self.predictor(pooled, points.x)[0]
        z = points.x if self._frame is None else self._frame.covariates(points.x)
        z, rough = z.reshape(k, -1, z.shape[-1]), rough.reshape(k, -1)
        change = jnp.sum(z * rough[..., None], 1) / (z.shape[1] + jnp.sum(z**2, (1, 2)))[:, None]
        return self.constrain(self.unconstrain(GLMParams(pooled + change)))

    def warm(self, params, x, weights):
        p = x.x.shape[-1]
        z = x.x.reshape(-1, p)
        z = z if self._frame is None else self._frame.covariates(z)
        y, size = x.y.reshape(1, -1), sizes(x).reshape(1, -1)
        each = jnp.repeat(weights, z.shape[0] // weights.shape[1], axis=1)
        start = params.coefficients
        rough = self.rough_predictor(y, size)
        slope = self.mean_and_slope(rough, size)[1]
        # As much as one row says, so that members with few rows stay near where they were.
        total = jnp.sum(each, 0, keepdims=True)
        least = jnp.sum(total * slope) / jnp.maximum(jnp.sum(total > 0), 1).astype(z.dtype)
        least = jnp.where(least > 0, least, 1)  # without any row all stay where they are

        def fitted(weight, working):
            gram = einsum("kn,ni,nj->kij", weight, z, z) + least * jnp.eye(p, dtype=z.dtype)[None]
            root = inverse_lower(cholesky(gram))
            return einsum("kji,kjl,kl->ki", root, root, matmul(weight * working, z) + least * start)

        def again(_, b):
            predictor = matmul(b, z.T)
            mean, slope = self.mean_and_slope(predictor, size)
            slope = slope + 1e-6 * least
            change = fitted(each * slope, predictor + (y - mean) / slope) - b
            largest = jnp.max(jnp.where(each > 0, jnp.abs(matmul(change, z.T)), 0), 1, keepdims=True)
            return b + change * jnp.minimum(1, 2 / jnp.maximum(largest, 1))

        first = fitted(each * slope, jnp.broadcast_to(rough, each.shape))
        found = GLMParams(jax.lax.fori_loop(0, 4, again, first))
        return self.constrain(self.unconstrain(found))

    def embed(self, x: Any):
        z = x.x if self._frame is None else self._frame.covariates(x.x)
        rough = self.rough_predictor(x.y, sizes(x))
        axes = tuple(range(1, rough.ndim))
        return jnp.concatenate([jnp.mean(z, axes), jnp.mean(rough, axes)[:, None]], 1)

    # Data

    def sample(self, key, params, labels):
        raise MissingCapabilityError(
            f"{type(self).__name__} says how responses follow from covariates, and has no distribution of covariates "
            "to draw rows from"
        )

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

    def floats_per_row(self, params):
        k, p = params.coefficients.shape
        return 2 * p, 4 * k


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


def sizes(rows: Any) -> Array:
    """The `size` of each response, 1 where it is left out."""
    return jnp.ones_like(rows.y) if rows.size is None else rows.size
