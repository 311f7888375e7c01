import dataclasses
from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._bound import AbstractPlain
from jaxem._constraints import by_name, covers_or_all, mapped, require_name
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._paths import parameter_names
from jaxem.engine.door import for_start, question
from jaxem.kernels.chunks import num_rows
from jaxem.latent import Categorical, Continuous
from jaxem.latent.continuous import ContinuousPotentials


@final
class FunctionModel(AbstractModel):
    """Rung 0: a model given by its joint log density and a latent that can be enumerated, or drawn.

    **Arguments:**

    - `log_joint`: `log_joint(params, x, z)`, the log density of one observation `x` (a row of the data) and its latent
        `z`, a scalar; minus infinity where the two cannot occur together. All that depends on the parameters must be
        in it, constants that do not can be left out (and are then missing from the log-likelihood).
    - `num_values`: how many values the latent takes; `z` is then an integer from 0 to `num_values - 1`.
    - `start`: `start(key, data, weights)`, starting parameters (or fixed parameters, for a single start).
    - `constraints`: where parameters lie: `"real"`, `"positive"`, `"nonnegative"`, `"unit"` (between 0 and 1),
        `"simplex"` (along the last axis) or `"definite"` (the last two axes). A dictionary from names to these, or a
        tree of them like the parameters; one word for all. Parameters that are not mentioned are real.
    - `values`: the values of the latent if they are not integers from 0: an array `[m, ...]`, or a tree of such arrays;
        `z` is then one of them.
    - `continuous`: a `jaxem.latent.Continuous` if the latent is a vector with a density; `z` then has its `shape`.
    - `prior`: log prior density of the parameters.
    - `frozen`: names of parameters kept at their starting value.
    - `to_constrained`, `to_unconstrained`: a bijection between unconstrained coordinates and the parameters, where
        `constraints` cannot say it. `frozen` is read on both sides.

    The potentials come by enumeration. It works with every rule that needs no closed-form M-step; with a continuous
    latent, with those of them that draw it.

    **Example**

    Insects each lay a Poisson number of eggs, and we see how many hatched; the latent is the number of eggs.

    >>> import jax.numpy as jnp, jaxem
    >>> from jax.scipy.stats import binom, poisson
    >>> def log_joint(params, hatched, eggs):
    ...     return poisson.logpmf(eggs, params["rate"]) + binom.logpmf(hatched, eggs, 0.5)
    >>> model = jaxem.FunctionModel(
    ...     log_joint,
    ...     values=jnp.arange(40.0),
    ...     constraints={"rate": "positive"},
    ...     start={"rate": jnp.array(1.0)},
    ... )
    >>> hatched = jnp.array([2.0, 5.0, 3.0, 4.0, 1.0])
    >>> fit = jaxem.solve(model, model.start, hatched, algorithm=jaxem.em_gradient())
    >>> round(float(fit.params["rate"]), 2)
    6.0
    """

    log_joint: Callable[[PyTree, PyTree, Any], Array] = eqx.field(static=True)
    num_values: int | None = eqx.field(static=True, default=None)
    start: Any = None
    to_constrained: Callable[[PyTree], PyTree] | None = eqx.field(static=True, default=None)
    to_unconstrained: Callable[[PyTree], PyTree] | None = eqx.field(static=True, default=None)
    prior: Callable[[PyTree], Array] | None = eqx.field(static=True, default=None)
    constraints: Any = eqx.field(static=True, default=None, converter=by_name)
    values: Any = None
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    continuous: Continuous | None = None

    def __check_init__(self):
        if sum(given is not None for given in (self.num_values, self.values, self.continuous)) != 1:
            raise ValueError("FunctionModel takes one of num_values, values and continuous: what the latent can be")
        if (self.to_constrained is None) != (self.to_unconstrained is None):
            raise ValueError("to_constrained and to_unconstrained come together: each is the inverse of the other")
        if self.constraints and self.to_constrained is not None:
            raise ValueError("FunctionModel takes either constraints or to_constrained and to_unconstrained")

    @property
    def latent(self) -> Categorical | Continuous:
        if self.continuous is None:
            return Categorical()
        return dataclasses.replace(self.continuous, log_joint=self.log_joint)

    def potentials(self, natural, data):
        if self.continuous is not None:
            return ContinuousPotentials(natural, data)
        values = jnp.arange(self.num_values) if self.values is None else self.values
        one = jax.vmap(self.log_joint, (None, 0, None))
        return jax.vmap(one, (None, None, 0))(natural, data, values)

    @property
    def fixed_start(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not callable(self.start)

    def init(self, key, data, weights=None):
        data, weights = for_start(data, weights)
        return self.start(key, data, weights) if callable(self.start) else self.start

    def unconstrain(self, params):
        return self._mapped(params, 0) if self.to_unconstrained is None else self.to_unconstrained(params)

    def constrain(self, free):
        return self._mapped(free, 1) if self.to_constrained is None else self.to_constrained(free)

    def _mapped(self, tree, direction):
        return mapped(self.constraints, tree, direction)

    def trainable(self, tree):
        names = parameter_names(tree)
        for prefix in self.frozen:
            require_name(prefix, names, "frozen")
        free = [not any(covers_or_all(prefix, name) for prefix in self.frozen) for name in names]
        return jax.tree.unflatten(jax.tree.structure(tree), free)

    def log_prior(self, params):
        if self.prior is None:
            return jnp.zeros((), jax.tree.leaves(params)[0].dtype)
        return self.prior(params)

    def bound(self):
        return FunctionBound(self)

    def unusable(self, data):
        return jnp.zeros(num_rows(data), bool)  # what a number means is for `log_joint` to say

    @question
    def posterior(self, params: PyTree, data: PyTree) -> Float[Array, "n m"]:
        """The posterior probability of each value of a latent that is enumerated, `[n, m]`."""
        return self.expectation(params, data)[0].T

    @question
    def posterior_draws(
        self, key: PRNGKeyArray, params: PyTree, data: PyTree, draws: int = 100
    ) -> Float[Array, "n draws ..."]:
        """Independent draws from the posterior of a continuous latent, `[n, draws, *shape]`."""
        if self.continuous is None:
            raise MissingCapabilityError("posterior_draws is for a continuous latent; use posterior(params, data)")
        return self.latent.average(key, ContinuousPotentials(params, data), draws, draws).draws


@final
class FunctionBound(AbstractPlain):
    """What the engine runs of it: as it is, with the numbers that its potentials take."""

    model: FunctionModel

    def floats_per_row(self, params, lanes=1):
        if self.model.continuous is not None:
            return lanes * self.model.continuous.floats_per_row
        count = self.model.num_values if self.model.values is None else num_rows(self.model.values)
        return 4 * lanes * (count or 1)
