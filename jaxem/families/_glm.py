from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families._design import check_columns
from jaxem.families._family import AbstractKernelFamily
from jaxem.families._frame import Frame
from jaxem.families.kernels.glm import GLMKernel, sizes
from jaxem.families.kernels.glm import GLMParams as GLMParams
from jaxem.families.responses import Responses, check_covariates, one_response, require_responses


class CommonFree(NamedTuple):
    """Coefficients of which each member has its own `[k, p - q]`, and those that all have in common `[1, q]`."""

    own: Float[Array, "k r"]
    common: Float[Array, "1 q"]


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

    def blocks(self, free):
        if not self.common:
            return super().blocks(free)
        own, common = free.coefficients
        shape = own.shape

        def undo(arrays):
            flat = arrays[0]
            return GLMParams(CommonFree(flat[:, : own.size].reshape(shape), flat[:, own.size :]))  # pyright: ignore[reportArgumentType]

        return [jnp.concatenate([own.reshape(1, -1), common], 1)], undo

    def kernel(self) -> GLMKernel:
        return GLMKernel(self)

    def bind(self, x: Any, weights, reduce):
        flat = x.x.reshape(-1, x.x.shape[-1])
        each = jnp.repeat(weights, flat.shape[0] // weights.shape[0])
        return GLMKernel(self, Frame.of(flat, each, reduce, self.common, sizes(x).reshape(-1)))

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
