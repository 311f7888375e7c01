"""`profile`: intervals from the profile likelihood of a parameter, or of a function of the parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from scipy import special

from jaxem._arguments import as_count, require_kind, require_level
from jaxem._errors import DataError, FitError
from jaxem._model import AbstractModel
from jaxem._status import Status, status_code, status_from_code
from jaxem._traced import require_concrete
from jaxem.engine.door import for_question
from jaxem.information._functions import derivatives
from jaxem.information._identified import moves
from jaxem.information._information import Information
from jaxem.information._limits import Limit, Point, Profiler
from jaxem.information._names import is_named
from jaxem.information._profile import Profile
from jaxem.information._ridge import ridge
from jaxem.information._scalar import ENDS, Scalar, scalar
from jaxem.information._scales import scale_of
from jaxem.information.observed import observed

_FAR = 1e4  # standard errors
_NOTHING = 30.0  # a number whose logarithm is less by so much is none beside the other


def profile(
    model: AbstractModel,
    params: PyTree,
    data: Any,
    name: str | Callable[[PyTree], Any],
    *,
    level: float = 0.95,
    weights: Any = None,
    values: Any = None,
    num_points: int = 17,
    scale: str | None = None,
    max_steps: int = 100,
) -> Profile:
    """The profile likelihood of one parameter, or of a function of the parameters, and its interval.

    For each value of the function the likelihood is maximized over all else, by Newton's method in unconstrained
    coordinates, many values side by side in one program. The interval holds the values that a likelihood-ratio test
    does not reject; its limits are roots of the deviance less the quantile of chi-square (Venzon and Moolgavkar 1988).
    It is the same on every scale: that of `log(sigma)` has the logarithms of the limits of `sigma`.

    **Arguments:**

    - `model`, `params`, `data`, `weights`: a model, its parameters at a fit that has converged, and what it was fitted
        to. With a prior it is the log posterior that is profiled.
    - `name`: an entry of the parameters, such as `"weights[0]"` or `"components.mean[1, 0]"`, or a differentiable
        function of the parameters to one number.
    - `level`: between 0 and 1.
    - `values`: values to profile at, `[g]`, in the place of a grid from limit to limit.
    - `num_points`: how many values the grid has, at least 7; so many fits run side by side.
    - `scale`: the scale on which points are spaced and roots are looked for: `"identity"`, `"log"` or `"logit"`; by
        default that of Wald's interval, and `"identity"` for a function.
    - `max_steps`: of Newton's method, for each value.

    **Returns:** a `Profile`. Members keep their places: of the ridges that the exchange of members makes, it is that
    through `params`. A limit that the likelihood does not have, or that lies where the function ends, is said in
    `notes`.

    **Raises:** `DataError` for wrong arguments, or what is frozen; what `jaxem.information.observed` raises.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model, x = jaxem.Single(jaxem.Poisson()), jnp.array([[0.0], [1.0], [3.0]])
    >>> params = jaxem.families.PoissonParams(jnp.array([4 / 3]))
    >>> found = jaxem.profile(model, params, x, "rate[0]")
    >>> round(found.lower, 3), round(found.upper, 3)
    (0.414, 3.097)
    """
    require_concrete(
        "jaxem.profile", "jaxem.information.observed", model=model, params=params, data=data, weights=weights
    )
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_level(level)
    lanes, max_steps = as_count("num_points", num_points, least=7), as_count("max_steps", max_steps)
    data, weights, params, _ = for_question(model, params, data, weights)
    what = scalar(model, params, name, scale)
    wanted = None if values is None else _wanted(values, what)
    info = observed(model, params, data, weights=weights)
    top = float(model.log_likelihood(params, data, weights)) + float(model.log_prior(params))
    there = scale_of(what.scale).there
    value, jacobian = derivatives(model, info.params, what.fn)
    estimate, jacobian = float(value), np.asarray(jacobian, float)
    eps = float(jnp.finfo(info.matrix.dtype).eps)
    reason = None
    if what.entry is not None and is_named(info.boundary, *what.entry):
        reason = f"{what.name} lies on a bound, where the likelihood has no top: no profile goes through it"
    elif not np.any(jacobian):
        raise DataError(f"{what.name} does not depend on any parameter that is estimated: there is nothing to profile")
    elif moves(jacobian, info.spectrum, eps).any():
        reason = f"{what.name} is not determined by the data: the likelihood is as large for other values of it"
    if reason is not None:
        return _point_alone(what, level, estimate, top, info.params, reason)
    low, high = ENDS[what.scale]
    if not low < estimate < high:
        raise DataError(f"scale={what.scale!r} does not fit: {what.name} is {estimate:.6g} at params")
    spread = (jacobian @ info.spectrum.root)[0] * float(scale_of(what.scale).slope(np.asarray(estimate)))
    unit, centre, dtype = float(np.linalg.norm(spread)), float(there(np.asarray(estimate))), info.matrix.dtype
    fixed = {
        "weights": weights,
        "fn": what.fn,
        "scale": jnp.asarray(list(ENDS).index(what.scale), jnp.int32),
        "root": jnp.asarray(info.spectrum.root, dtype),
        "centre": jnp.asarray(centre, dtype),
        "unit": jnp.asarray(unit, dtype),
        "max_steps": max_steps,
    }

    def run(targets: np.ndarray, starts: np.ndarray, bound: np.ndarray) -> Any:
        given = {"targets": jnp.asarray(targets, dtype), "starts": jnp.asarray(starts, dtype)}
        return ridge(model, info.params, data, **fixed, **given, bound=jnp.asarray(bound))

    def back(t: Any) -> np.ndarray:
        return scale_of(what.scale).back(centre + unit * np.asarray(t, float))

    ends = _ends(what, centre, unit)
    profiler = Profiler(run, lanes, spread / unit, float(special.ndtri((1 + level) / 2)), eps**0.3, ends)
    if not profiler.centre.settled:
        raise FitError("no maximum was found near params: fit with a smaller tol and more steps")
    limits = profiler.limits()
    if wanted is None:
        targets = np.linspace(profiler.last(-1, limits[0]), profiler.last(1, limits[1]), lanes)
    else:
        targets = (there(wanted) - centre) / unit
    points = profiler.at(targets.tolist())
    if wanted is not None:
        _require_reached(points, wanted, what)
    status = [Status.converged if point.settled else Status.max_steps_reached for point in points]
    return Profile(
        name=what.name,
        level=level,
        scale=what.scale,
        estimate=estimate,
        lower=_shown(what, 0, limits[0], back),
        upper=_shown(what, 1, limits[1], back),
        values=back(targets) if wanted is None else wanted,
        log_likelihood=np.array([top - point.fall for point in points]),
        maximum=top - profiler.centre.fall,
        params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *(point.params for point in points)),
        status=_statuses(status),
        notes=(*_notes_on_limits(limits, back), *_notes_on_points(points, info)),
    )


def _wanted(values: Any, what: Scalar) -> np.ndarray:
    """Values to profile at, where the scale has a place for them."""
    try:
        wanted = np.atleast_1d(np.asarray(values, float))
    except (TypeError, ValueError):
        raise DataError(f"values must be numbers, got {values!r}") from None
    if wanted.ndim != 1 or wanted.size == 0:
        raise DataError(f"values must be a list of numbers, got shape {wanted.shape}")
    low, high = ENDS[what.scale]
    wrong = np.flatnonzero(~(np.isfinite(wanted) & (wanted > low) & (wanted < high)))
    if len(wrong):
        room = "finite" if what.scale == "identity" else f"between {low:g} and {high:g}"
        raise DataError(f"values[{wrong[0]}] is {wanted[wrong[0]]:g}: values of {what.name} must be {room}")
    return wanted


def _ends(what: Scalar, centre: float, unit: float) -> tuple[float, float]:
    """Where values are as good as those at the ends of the scale, in standard errors from the fit."""
    if what.scale == "identity":
        return -_FAR, _FAR
    high = _NOTHING if what.scale == "logit" else centre + _NOTHING
    return (min(-_NOTHING, centre) - centre) / unit if what.scale == "logit" else -_NOTHING / unit, (
        high - centre
    ) / unit


def _require_reached(points: Sequence[Point], wanted: np.ndarray, what: Scalar) -> None:
    lost = [i for i, point in enumerate(points) if not point.reached]
    if lost:
        raise DataError(
            f"values[{lost[0]}] is {wanted[lost[0]]:g}, which {what.name} does not take anywhere near the fit: "
            "leave it out"
        )


def _point_alone(what: Scalar, level: float, estimate: float, top: float, params: PyTree, reason: str) -> Profile:
    """A profile of which nothing is known but the fit."""
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params)
    at, height, nan = np.array([estimate]), np.array([top]), float("nan")
    status = _statuses([Status.converged])
    return Profile(what.name, level, what.scale, estimate, nan, nan, at, height, top, one, status, (reason,))


def _statuses(status: Sequence[Any]) -> Any:
    return status_from_code(jnp.asarray([int(status_code(one)) for one in status]))


def _shown(what: Scalar, side: int, limit: Limit, back: Callable[[Any], np.ndarray]) -> float:
    """The lower (`side` 0) or upper (1) limit as a value of the function."""
    if limit.kind in ("crossed", "end"):
        return float(back(limit.value))
    return ENDS[what.scale][side] if limit.kind == "open" else float("nan")


def _notes_on_limits(limits: Sequence[Limit], back: Callable[[Any], np.ndarray]) -> list[str]:
    notes = []
    for side, word, limit in zip(("lower", "upper"), ("below", "above"), limits, strict=True):
        deviance = f"{limit.root**2:.3g}"
        if limit.kind == "open":
            notes.append(f"the {side} limit is not reached: the deviance is {deviance} at most, however far")
        elif limit.kind == "end":
            at = f"{float(back(limit.value)):.6g}"
            notes.append(f"the {side} limit is where the function ends: none is {word} {at}, with deviance {deviance}")
        elif limit.kind == "lost":
            at = f"{float(back(limit.value)):.6g}"
            notes.append(f"the {side} limit is not known: no maximum was found {word} {at}, with deviance {deviance}")
        elif limit.kind == "better":
            at = f"{float(back(limit.place)):.6g}"
            notes.append(
                f"the {side} limit is not known: the likelihood is higher at {at} than at the fit, which is another "
                "maximum; fit from the parameters of the profile there"
            )
        if limit.again is not None:
            at = f"{float(back(limit.again)):.6g}"
            notes.append(f"values {word} the {side} limit are likely again at {at}: the likelihood has another part")
    return notes


def _notes_on_points(points: Sequence[Point], info: Information) -> list[str]:
    notes, poor = [], sum(not point.settled for point in points)
    if poor:
        notes.append(f"{poor} of {len(points)} points did not converge: see status")
    if info.boundary:
        notes.append(f"on a bound, and taken as known: {', '.join(info.boundary)}")
    return notes
