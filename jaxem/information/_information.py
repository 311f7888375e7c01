"""What an information matrix says of the parameters: standard errors, intervals, functions of them and tests."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree
from scipy import special

from jaxem._errors import FitError
from jaxem._traced import require_concrete
from jaxem.information._functions import Estimate, Function, Interval, Wald, derivatives, like, thin
from jaxem.information._identified import Spectrum, moves, spectrum
from jaxem.information._names import at_bound, names_of
from jaxem.information._scales import intervals

# Standard errors between parameters and maximum from which on there are none: an interval that should hold in 95 of
# 100 cases would in 93.7.
FARTHEST = 1 / 3


class Information(eqx.Module):
    """What the data tell of the parameters of a model at `params`: see `jaxem.information.observed`.

    `matrix` and `covariance` are those of the `p` unconstrained coordinates of the parameters that are not frozen
    (`model.unconstrain`, in the order of `jax.flatten_util.ravel_pytree`); all else is of the parameters that people
    read. `matrix`, `complete` and `gradient` are there under a trace; the rest is worked out by NumPy in double
    precision, when it is first asked for.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> x, w = jnp.arange(4.0)[:, None], jnp.array([2.0, 5.0, 3.0, 1.0])
    >>> model, params = jaxem.Single(jaxem.Poisson()), jaxem.families.PoissonParams(jnp.array([14 / 11]))
    >>> found = jaxem.information.observed(model, params, x, weights=w)
    >>> round(float(found.standard_errors.rate[0]), 4)  # the root of rate / n
    0.3402
    >>> found.interval(0.9).scales
    {'rate': 'log'}
    """

    model: Any
    params: PyTree
    matrix: Float[Array, "p p"]
    complete: Float[Array, "p p"]  # the information of the complete data
    gradient: Float[Array, " p"]  # of the objective, at `params`
    total_weight: Float[Array, ""]
    scores: Float[Array, "c c"] | None = None  # of a sandwich, between two inverses of `matrix`
    fixed: Bool[Array, " p"] | None = None  # coordinates that are held by a bound of the model
    method: str = eqx.field(static=True, default="oakes")

    # What is determined

    @cached_property
    def spectrum(self) -> Spectrum:
        """What of the coordinates is determined, on the host."""
        require_concrete("Information", "its `matrix`", matrix=self.matrix)
        if not all(np.isfinite(a).all() for a in (self.matrix, self.complete, self.gradient)):
            raise FitError("the information is not finite: the log-likelihood has no second derivatives at params")
        observed, complete, gradient = (np.asarray(a, float) for a in (self.matrix, self.complete, self.gradient))
        if self.fixed is not None:
            free = 1.0 - np.asarray(self.fixed)
            both = np.outer(free, free)
            observed, complete, gradient = observed * both, complete * both, gradient * free
        return spectrum(observed, complete, gradient, float(self.total_weight), self._eps)

    @property
    def _eps(self) -> float:
        return float(jnp.finfo(self.matrix.dtype).eps)

    @property
    def decrement(self) -> float:
        """How far the maximum of the objective is from `params`, in standard errors: the length of Newton's step.

        No function of the parameters is farther from its value at the maximum, to first order.
        """
        return self.spectrum.decrement

    def require_maximum(self) -> "Information":
        """This, or `FitError` where `params` are too far from a maximum for standard errors to mean anything."""
        if self.spectrum.saddle > 0:
            raise FitError(
                "params are no maximum: along some direction the objective is convex (its curvature is "
                f"{self.spectrum.saddle:.2g} of the information of the complete data); fit from there, or from other "
                "starts, with a smaller tol and more steps"
            )
        if not self.decrement <= FARTHEST:
            tol = 0.1**2 / 2 / max(float(self.total_weight), 1)
            raise FitError(
                f"params are {self.decrement:.2g} standard errors away from the maximum, more than {FARTHEST:.2g}: fit "
                f"with a smaller tol, such as tol={tol:.1g}, and more steps, and pass the parameters of that fit"
            )
        return self

    @cached_property
    def root(self) -> Float[np.ndarray, "p m"]:
        """`[p, m]`, of which the square is the covariance on what is determined."""
        root = self.spectrum.root
        if self.scores is None:
            return root
        inner = root.T @ np.asarray(self.scores, float) @ root
        values, vectors = np.linalg.eigh(inner)
        return root @ (vectors * np.sqrt(np.maximum(values, 0)))

    @cached_property
    def covariance(self) -> Float[np.ndarray, "p p"]:
        """The covariance of the unconstrained coordinates; NaN for those that the data do not determine."""
        found = self.root @ self.root.T
        lost = moves(np.eye(len(found)), self.spectrum, self._eps)
        return np.where(lost[:, None] | lost[None, :], np.nan, found)

    # Parameters that people read

    @cached_property
    def _readable(self) -> Function:
        return self._function(_same)

    def _function(self, fn: Callable[[PyTree], PyTree]) -> Function:
        require_concrete("Information", "its `matrix`", matrix=self.matrix)
        value, jacobian = derivatives(self.model, self.params, fn)
        jacobian = np.asarray(jacobian, float)
        if self.fixed is not None:
            jacobian = jacobian * (1.0 - np.asarray(self.fixed))
        lost = moves(jacobian, self.spectrum, self._eps)
        jacobian = thin(jacobian)
        spread = jacobian @ self.root
        error = np.where(lost, np.nan, np.sqrt(np.einsum("ij,ij->i", spread, spread)))
        return Function(value, jacobian, spread, error, lost)

    @cached_property
    def _bound(self) -> np.ndarray:
        """Which of the parameters' numbers lie on a bound of where they may."""
        found = self._readable
        complete = np.linalg.norm(found.jacobian @ self.spectrum.complete_root, axis=1)
        bound = at_bound(self.model, self.params, complete)
        if self.fixed is not None and np.any(self.fixed):
            touched = derivatives(self.model, self.params, _same)[1]
            bound = bound | np.any(np.asarray(touched)[:, np.asarray(self.fixed)] != 0, 1)
        return bound

    @property
    def _errors(self) -> np.ndarray:
        return np.where(self._bound, np.nan, self._readable.error)

    @cached_property
    def standard_errors(self) -> PyTree:
        """The standard error of each parameter, a tree like `params`.

        0 for what is frozen, and NaN for what the data do not determine (`unidentified`) or a bound holds (`boundary`).
        """
        return like(self.params, self._errors)

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Names of the parameters that the data do not determine, such as `"loading"` or `"components.mean[2]"`."""
        return names_of(self.params, self._readable.lost & ~self._bound)

    @property
    def boundary(self) -> tuple[str, ...]:
        """Names of the parameters that lie on a bound: probabilities 0 or 1, variances at the floor.

        They are taken as known for the others' sake.
        """
        return names_of(self.params, self._bound)

    @cached_property
    def missing_fraction(self) -> PyTree:
        """The fraction of the information on each parameter that is missing with what is hidden, a tree like `params`.

        One minus the ratio of its variances, from the complete data and from what is observed (Rubin 1987). NaN where
        there is no standard error, or the parameter is frozen.
        """
        found = self._readable
        observed = np.sum((found.jacobian @ self.spectrum.root) ** 2, 1)
        complete = np.sum((found.jacobian @ self.spectrum.complete_root) ** 2, 1)
        there = (observed > 0) & ~found.lost & ~self._bound
        return like(self.params, np.where(there, 1 - complete / np.where(there, observed, 1), np.nan))

    def interval(self, level: float = 0.95) -> Interval:
        """Wald's interval of each parameter, with a probability `level` of holding it in large samples.

        On the scale where estimates are closest to normal: the logarithm of what is positive (`"log"`), the log-odds
        of probabilities (`"logit"`), that of variances for the diagonal of covariance matrices (`"log diagonal"`; the
        other entries have none), and the parameter itself elsewhere (`"identity"`).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be a number between 0 and 1, such as 0.95, got {level!r}")
        wide = float(special.ndtri((1 + level) / 2))
        lower, upper, names = intervals(self.model, self.params, self._errors, wide)
        return Interval(like(self.params, lower), like(self.params, upper), names)

    def delta(self, fn: Callable[[PyTree], PyTree]) -> Estimate:
        """`fn(params)` with its standard errors, by the delta method.

        NaN for what the data do not determine. A function of unidentified parameters may be identified, such as
        `loading @ loading.T`.

        **Arguments:**

        - `fn`: any differentiable function of the parameters, to a tree of arrays.

        **Example**

        >>> import jax.numpy as jnp, jaxem
        >>> model, x = jaxem.Single(jaxem.Bernoulli()), jnp.array([[1.0], [0.0], [1.0], [1.0]])
        >>> params = jaxem.families.BernoulliParams(jnp.array([0.75]))
        >>> odds = jaxem.information.observed(model, params, x).delta(lambda p: p.probability / (1 - p.probability))
        >>> odds.value.round(2).tolist(), odds.standard_error.round(1).tolist()
        ([3.0], [3.5])
        """
        found = self._function(fn)
        covariance = found.spread @ found.spread.T
        covariance = np.where(found.lost[:, None] | found.lost[None, :], np.nan, covariance)
        return Estimate(found.value, like(found.value, found.error), covariance)

    def influence(self, fn: Callable[[PyTree], PyTree]) -> Float[np.ndarray, "m p"]:
        """What makes of the score of a row its influence on `fn(params)`: times the inverse of the information matrix.

        NaN for what the data do not determine.
        """
        found, root = self._function(fn), self.spectrum.root
        return np.where(found.lost[:, None], np.nan, found.jacobian @ root @ root.T)

    def wald(self, constraint: Callable[[PyTree], PyTree]) -> Wald:
        """Wald's test of `constraint(params) == 0`.

        **Arguments:**

        - `constraint`: a function of the parameters to a tree of arrays, which are all 0 where the hypothesis holds.

        **Raises:** `ValueError` for a constraint on what the data do not determine, or one that says nothing.

        **Example**

        >>> import jax.numpy as jnp, jaxem
        >>> model, x = jaxem.Single(jaxem.Bernoulli()), jnp.array([[1.0], [0.0], [1.0], [1.0]])
        >>> params = jaxem.families.BernoulliParams(jnp.array([0.75]))
        >>> test = jaxem.information.observed(model, params, x).wald(lambda p: p.probability - 0.5)
        >>> round(test.statistic, 4), test.degrees_of_freedom, round(test.p_value, 4)
        (1.3333, 1, 0.2482)
        """
        found = self._function(constraint)
        value = np.asarray(ravel_pytree(found.value)[0], float)
        if found.lost.any():
            raise ValueError(
                "constraint depends on parameters that the data do not determine: "
                f"{', '.join(self.unidentified) or 'some direction'}; test a function that does not"
            )
        u, s, _ = np.linalg.svd(found.spread, full_matrices=False)
        rank = int(np.sum(s > self._eps ** (2 / 3) * np.max(s, initial=0)))
        if rank == 0:
            raise ValueError("constraint does not depend on any parameter that was estimated")
        statistic = float(np.sum((u[:, :rank].T @ value / s[:rank]) ** 2))
        return Wald(statistic, rank, float(special.chdtrc(rank, statistic)))

    def __repr__(self) -> str:
        p, lines = self.gradient.shape[0], []
        if isinstance(self.matrix, Tracer):
            return f"Information({self.method}, {p} coordinates, traced)"
        lines.append(
            f"Information({self.method}, {p} coordinates, {self.decrement:.1g} standard errors from the maximum)"
        )
        if self.unidentified:
            lines.append(
                f"  not determined by the data ({self.spectrum.num_flat} directions): {', '.join(self.unidentified)}"
            )
        if self.boundary:
            lines.append(f"  on a bound, and taken as known for the others: {', '.join(self.boundary)}")
        return "\n".join(lines)


def _same(params: PyTree) -> PyTree:
    return params
