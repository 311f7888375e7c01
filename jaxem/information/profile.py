"""`profile`: intervals from the profile likelihood of a parameter, or of a function of the parameters."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
from jaxem.information._limits import Limit, Point
from jaxem.information._names import is_named
from jaxem.information._one_sided import Inside, inside
from jaxem.information._profile import Profile
from jaxem.information._scalar import ENDS, Scalar, scalar
from jaxem.information._scales import scale_of
from jaxem.information._search import Search
from jaxem.information.observed import observed


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
    through `params`. A parameter on a bound of its range, such as a probability of 0, has one limit, and that bound as
    the other. A limit that the likelihood does not have, or that lies where the function ends, is said in `notes`.

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
    value, jacobian = derivatives(model, info.params, what.fn)
    estimate, jacobian = float(value), np.asarray(jacobian, float)
    eps = float(jnp.finfo(info.matrix.dtype).eps)
    search = functools.partial(
        Search, model=model, data=data, weights=weights, what=what, max_steps=max_steps, lanes=lanes
    )
    asked = _Asked(what, search, wanted, estimate, top, level, float(special.ndtri((1 + level) / 2)), info.boundary)
    if what.entry is not None and is_named(info.boundary, *what.entry):
        held = info.fixed is not None and bool(np.any(jacobian[:, np.asarray(info.fixed)]))
        place = inside(model, info.params, data, weights, what, estimate, held=held, level=asked.quantile)
        if place is not None:
            return _from_bound(asked, place)
        reason = f"{what.name} lies on a bound, where the likelihood has no top: no profile goes through it"
        return _point_alone(what, level, estimate, top, info.params, reason)
    if not np.any(jacobian):
        raise DataError(f"{what.name} does not depend on any parameter that is estimated: there is nothing to profile")
    if moves(jacobian, info.spectrum, eps).any():
        reason = f"{what.name} is not determined by the data: the likelihood is as large for other values of it"
        return _point_alone(what, level, estimate, top, info.params, reason)
    return _around(asked, info, jacobian)


class _Asked(NamedTuple):
    """What is asked for, and what is known of the fit: its value of the function and of the objective (`top`)."""

    what: Scalar
    search: Callable[..., Search]
    wanted: np.ndarray | None
    estimate: float
    top: float
    level: float
    quantile: float
    boundary: tuple[str, ...]

    def told(
        self, ends: Sequence[float], values: np.ndarray, points: Sequence[Point], top: float, **known: Any
    ) -> Profile:
        """What the points say; `top` is the objective where their `fall` is 0."""
        codes = [status_code(Status.converged if point.settled else Status.max_steps_reached) for point in points]
        return Profile(
            name=self.what.name,
            level=self.level,
            scale=self.what.scale,
            estimate=self.estimate,
            lower=ends[0],
            upper=ends[1],
            values=values,
            log_likelihood=np.array([top - point.fall for point in points]),
            params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *(point.params for point in points)),
            status=status_from_code(jnp.asarray([int(code) for code in codes])),
            **known,
        )


def _around(asked: _Asked, info: Information, jacobian: np.ndarray) -> Profile:
    """The profile on both sides of the fit."""
    what, (low, high), scale = asked.what, ENDS[asked.what.scale], scale_of(asked.what.scale)
    if not low < asked.estimate < high:
        raise DataError(f"scale={what.scale!r} does not fit: {what.name} is {asked.estimate:.6g} at params")
    at = np.asarray(asked.estimate)
    spread = (jacobian @ info.spectrum.root)[0] * float(scale.slope(at))
    unit = float(np.linalg.norm(spread))
    search = asked.search(params=info.params, root=info.spectrum.root, centre=float(scale.there(at)), unit=unit)
    profiler = search.profiler(spread / unit, asked.quantile)
    if not profiler.centre.settled:
        raise FitError("no maximum was found near params: fit with a smaller tol and more steps")
    limits = profiler.limits()
    if asked.wanted is None:
        targets = np.linspace(profiler.last(-1, limits[0]), profiler.last(1, limits[1]), search.lanes)
    else:
        targets = search.there(asked.wanted)
    points = profiler.at(targets.tolist())
    if asked.wanted is not None:
        _require_reached(points, asked.wanted, what)
    return asked.told(
        [_shown(what, side, limit, search.back) for side, limit in enumerate(limits)],
        search.back(targets) if asked.wanted is None else asked.wanted,
        points,
        asked.top,
        maximum=asked.top - profiler.centre.fall,
        notes=(
            *_notes_on_limit(0, limits[0], search.back),
            *_notes_on_limit(1, limits[1], search.back),
            *_notes_on_points(points, asked.boundary),
        ),
    )


def _from_bound(asked: _Asked, place: Inside) -> Profile:
    """The profile of a parameter that lies on its bound: one limit, and the bound as the other."""
    what, side = asked.what, (place.side + 1) // 2
    search = asked.search(params=place.params, root=place.root, centre=place.centre, unit=place.unit)
    profiler = search.profiler(place.tangent, asked.quantile, place.side, place.fit)
    limit = profiler.limits()[side]
    ends = [place.bound, place.bound]
    ends[side] = _shown(what, side, limit, search.back)
    values = asked.wanted
    if values is None:
        far = ends[side] if np.isfinite(ends[side]) else float(search.back(profiler.last(place.side, limit)))
        values = np.linspace(place.bound, far, search.lanes)[1:]
    points = profiler.at(search.there(values).tolist())
    if asked.wanted is None:  # the fit itself comes first
        values, points = np.array([asked.estimate, *values]), [profiler.centre, *points]
    else:
        _require_reached(points, values, what)
    assert what.entry is not None
    word, others = ("upper", "lower")[side], [name for name in asked.boundary if not is_named((name,), *what.entry)]
    return asked.told(
        ends,
        values,
        points,
        asked.top + place.fit.fall,
        maximum=asked.top,
        notes=(
            f"{what.name} lies on a bound: the {word} limit is that bound, {place.bound:.6g}",
            *_notes_on_limit(side, limit, search.back),
            *_notes_on_points(points, others),
        ),
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
    status = status_from_code(jnp.asarray([int(status_code(Status.converged))]))
    return Profile(what.name, level, what.scale, estimate, nan, nan, at, height, top, one, status, (reason,))


def _shown(what: Scalar, side: int, limit: Limit, back: Callable[[Any], np.ndarray]) -> float:
    """The lower (`side` 0) or upper (1) limit as a value of the function."""
    if limit.kind in ("crossed", "end"):
        return float(back(limit.value))
    return ENDS[what.scale][side] if limit.kind == "open" else float("nan")


def _notes_on_limit(side: int, limit: Limit, back: Callable[[Any], np.ndarray]) -> list[str]:
    notes, deviance = [], f"{limit.root**2:.3g}"
    end, word = ("lower", "upper")[side], ("below", "above")[side]
    if limit.kind == "open":
        notes.append(f"the {end} limit is not reached: the deviance is {deviance} at most, however far")
    elif limit.kind == "end":
        at = f"{float(back(limit.value)):.6g}"
        notes.append(f"the {end} limit is where the function ends: none is {word} {at}, with deviance {deviance}")
    elif limit.kind == "lost":
        at = f"{float(back(limit.value)):.6g}"
        notes.append(f"the {end} limit is not known: no maximum was found {word} {at}, with deviance {deviance}")
    elif limit.kind == "better":
        at = f"{float(back(limit.place)):.6g}"
        notes.append(
            f"the {end} limit is not known: the likelihood is higher at {at} than at the fit, which is another "
            "maximum; fit from the parameters of the profile there"
        )
    if limit.again is not None:
        at = f"{float(back(limit.again)):.6g}"
        notes.append(f"values {word} the {end} limit are likely again at {at}: the likelihood has another part")
    return notes


def _notes_on_points(points: Sequence[Point], boundary: Sequence[str]) -> list[str]:
    notes, poor = [], sum(not point.settled for point in points)
    if poor:
        notes.append(f"{poor} of {len(points)} points did not converge: see status")
    if boundary:
        notes.append(f"on a bound, and taken as known: {', '.join(boundary)}")
    return notes
