"""The distribution of one column under a model: that of each member, and the members' weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.engine.convert import as_table, float_dtype, is_concrete
from jaxem.engine.door import check_params, for_question, require_params
from jaxem.families.intervals import Interval
from jaxem.families.responses import Responses
from jaxem.families.univariate import AbstractUnivariate, marginal_of
from jaxem.kernels.forward_backward_log import logsumexp
from jaxem.models.joined import AbstractJoined
from jaxem.structures.gate import Gate, Gated
from jaxem.structures.labelled import Labelled
from jaxem.structures.one import One
from jaxem.structures.sequences import Sequences
from jaxem.structures.weights import Weights


class Mixed(NamedTuple):
    """Members of a mixture on the line, and log weights `[k, 1]` or `[k, n]`."""

    log_weights: Array
    distribution: AbstractUnivariate

    def log_density(self, x: Array) -> Array:
        """Log density, or probability, of values `[n]`."""
        return logsumexp(self.log_weights + self.distribution.log_density(x))

    def log_tails(self, x: Array) -> tuple[Array, Array]:
        """`log P(X <= x)` and `log P(X > x)`, `[n]`."""
        return self._mixed(self.distribution.log_tails(x))

    def log_tails_below(self, x: Array) -> tuple[Array, Array]:
        """`log P(X < x)` and `log P(X >= x)`, `[n]`."""
        return self._mixed(self.distribution.log_tails_below(x))

    def _mixed(self, tails: tuple[Array, Array]) -> tuple[Array, Array]:
        below, above = (jnp.minimum(logsumexp(self.log_weights + tail), 0) for tail in tails)
        return below, above


def mixed(model: Any, params: PyTree, column: Any, data: PyTree = None) -> tuple[Mixed, Any]:
    """The distribution of a column, in each row of `data` where it depends on covariates, and the values there."""
    structure = require_mixture(model)
    own, members = structure.split(params)
    rows = None if data is None else model.rows(data)
    marginal = marginal_of(model.distribution, members, column, rows)
    return Mixed(_log_weights(structure, own, data, float_dtype(params)), marginal.distribution), marginal.values


class Asked(NamedTuple):
    """Values `[n]` to ask a model about, their shape, and rows whose covariates go with them, if there are any."""

    params: PyTree
    values: Array
    shape: tuple[int, ...]
    data: PyTree


def asked(model: Any, params: PyTree, x: Any, column: Any) -> Asked:
    """What comes through the door: values of any shape, or rows as the model takes them."""
    require_mixture(model)
    if isinstance(x, Responses | Gated):
        data, _, params, _ = for_question(model, params, x, name="x")
        values = marginal_of(model.distribution, members_of(model, params), column, model.rows(data)).values
        found = jnp.where(values.lower == values.upper, values.lower, jnp.nan)
        return Asked(params, found, found.shape, data)
    check_asked(model, params)
    if isinstance(x, dict | Interval | Labelled | Sequences):
        raise DataError(
            f"x must be an array of values of one column, got {type(x).__name__}; rows are taken only where the "
            "distribution depends on covariates"
        )
    values = jnp.asarray(as_table(x, "x", dtype=float_dtype(params))).astype(float_dtype(params))
    return Asked(params, values.reshape(-1), values.shape, None)


def check_asked(model: Any, params: PyTree) -> None:
    """Raise `DataError` for parameters that are none of the model."""
    require_params(params)
    model.require_parameters(params)
    if is_concrete(params):
        check_params(model, params, "params")


def members_of(model: Any, params: PyTree) -> PyTree:
    """The family's part of the parameters, with a leading axis of members."""
    return model.structure.split(params)[1]


def require_mixture(model: Any) -> Any:
    """The structure of a model whose rows are independent; raises an error for any other model."""
    if not isinstance(model, AbstractJoined):
        raise MissingCapabilityError(
            f"{type(model).__name__} does not say how one of its columns is distributed: this takes a Single, a "
            "Mixture or a MixtureOfExperts"
        )
    structure = model.structure
    if not isinstance(structure, One | Weights | Gate):
        raise MissingCapabilityError(
            f"the distribution of a step of {type(model).__name__} depends on the other steps: see "
            "jaxem.goodness.pseudo_residuals"
        )
    return structure


def _log_weights(structure: Any, own: Any, data: PyTree, dtype: Any) -> Array:
    if isinstance(structure, One):
        return jnp.zeros((1, 1), dtype)
    if isinstance(structure, Gate):
        if data is None:
            raise DataError(
                "the weights of experts depend on covariates: pass rows as the model takes them, such as "
                "jaxem.Responses(x, y) or jaxem.models.Gated(rows, gate)"
            )
        return structure.log_weights(own[0], data)
    return safe_log(own[0])[:, None]


def safe_log(p: Array) -> Array:
    """`log(p)`, minus infinity at 0 without a derivative there."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1)), -jnp.inf)


def missing_as(x: Array, fill: float = 1.0) -> tuple[Array, Array]:
    """Which values are missing, and all with `fill` in the place of those."""
    missing = jnp.isnan(x)
    return missing, jnp.where(missing, jnp.full_like(x, fill), x)


def fixed(tree: PyTree) -> PyTree:
    """A tree without derivatives."""
    return jax.tree.map(jax.lax.stop_gradient, tree)
