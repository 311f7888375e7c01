"""What the priors share: checks of their fields, and draws that do not underflow to zero."""

import dataclasses
from typing import Any, ClassVar, Self, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._errors import DataError

MODE = "at least 1 for a posterior-mode estimate (below 1 the density has no interior mode)"


class AbstractPrior(eqx.Module):
    """A conjugate prior. Its posteriors have interior modes if the fields named by `modal` are at least 1."""

    modal: ClassVar[tuple[str, ...]] = ()

    @property
    def has_mode(self) -> bool:
        """Whether every posterior has an interior mode, as far as the fields are known."""
        return not any(below_one(getattr(self, name)) for name in self.modal)

    def with_mode(self) -> Self:
        """The prior with values below 1 raised to 1, so that posteriors have modes."""
        raised = {name: at_least_one(getattr(self, name)) for name in self.modal}
        return dataclasses.replace(self, **raised) if raised else self


class AbstractPositive(AbstractPrior):
    """A prior whose fields are positive numbers, as are those of its posteriors."""

    def __check_init__(self):
        for field in dataclasses.fields(self):
            require_positive(getattr(self, field.name), field.name)

    def like(self, x: Array) -> Self:
        """The prior with fields of the shape and precision of `x`."""
        return type(self)(*spread(x, *self.fields))

    @property
    def fields(self) -> tuple[Any, ...]:
        """Its numbers, in their order."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def unconstrain(self) -> tuple[Array, ...]:
        """Logarithms of the fields."""
        return tuple(map(jnp.log, self.fields))

    @classmethod
    def constrain(cls, free: tuple[Array, ...]) -> Self:
        """The inverse of `unconstrain`."""
        return cls(*map(jnp.exp, free))


def require_priors(specification: Any) -> None:
    """Raise `DataError` for a field that takes a prior and holds something else, or a prior of another kind."""
    for field in dataclasses.fields(specification):
        kinds: list[Any] = [kind for kind in (get_args(field.type) or (field.type,)) if _is_prior(kind)]
        value = getattr(specification, field.name, None)
        if kinds and value is not None and not isinstance(value, tuple(kinds)):
            names = " or a ".join(f"jaxem.priors.{kind.__name__}" for kind in kinds)
            own = type(specification).__name__
            raise DataError(f"{field.name} of {own} is {value!r}: pass a {names}, or None")


def _is_prior(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, AbstractPrior)


def require_positive(value: Any, name: str) -> None:
    """Raise `ValueError` for an entry that is known and not positive.

    NaN in a JAX array passes: it is what a failed computation leaves, and a run reports that in its status.
    """
    if _known(value):
        values = np.asarray(value)
        if np.any(values <= 0) or (not isinstance(value, jax.Array) and np.any(np.isnan(values))):
            raise ValueError(f"{name} must be positive, got {value!r}")


def less_one(value: Any, name: str, dtype: Any) -> Array:
    """`value - 1`, what it adds to the counts in an estimate of the mode.

    Raises `ValueError` below 1; where the value is only known when the program runs, the result is NaN there.
    """
    if below_one(value):
        raise ValueError(f"{name} must be {MODE}, got {value!r}")
    if _known(value):
        return jnp.asarray(value, dtype) - 1
    value = jnp.asarray(value, dtype)
    return jnp.where(value >= 1, value - 1, jnp.nan)


def below_one(value: Any) -> bool:
    """Whether some entry is known not to be at least 1."""
    return _known(value) and not np.all(np.asarray(value) >= 1)


def at_least_one(value: Any) -> Any:
    """Values below 1 raised to 1."""
    return np.maximum(value, 1) if _known(value) else jnp.maximum(value, 1)


def all_have_modes(tree: PyTree) -> bool:
    """Whether all priors in `tree` have modes, as far as their fields are known."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, AbstractPrior))
    return all(node.has_mode for node in nodes if isinstance(node, AbstractPrior))


def spread(like: Array, *fields: Any) -> tuple[Array, ...]:
    """`fields` in the precision and shape of `like`."""
    return tuple(jnp.broadcast_to(jnp.asarray(v, like.dtype), like.shape) for v in fields)


def log_gamma(key: PRNGKeyArray, shape: Array) -> Array:
    """Logarithms of draws from gamma distributions of these shapes and rate 1."""
    return jax.random.loggamma(key, shape, shape.shape, shape.dtype)


def exp_positive(log: Array) -> Array:
    """`exp`, but no less than the smallest normal number: what it stands for is positive."""
    return jnp.maximum(jnp.exp(log), jnp.finfo(log.dtype).tiny)


def _known(value):
    return isinstance(value, int | float | np.ndarray | np.generic) or (
        isinstance(value, jax.Array) and not isinstance(value, Tracer)
    )
