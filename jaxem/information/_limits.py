"""Where a profile likelihood crosses a level: points on both sides of the maximum, brackets, and roots in them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem.information._ridge import Ridge

_REACH = 1.5  # times the distance at which a parabola would cross the level: how far the first points reach
_FARTHER = 1.5  # each next point, where that was not far enough
_PASSES = 8  # of points until a limit is given up
_ROOM = 1e-3  # standard errors between the last value that the function takes and the first that it does not
_CLOSE = 1e-4  # of the signed root to the level: a step of Newton's leaves the square of it
_AGAIN = 0.97  # of the level: less, and what lies beyond a limit is likely again
_JUMP = 0.02  # of the signed root between neighbours is a jump from one maximum to another


class Point(NamedTuple):
    """A maximum for one value of the function, in standard errors from the fit's on its scale.

    `root` is the signed root of the deviance, and `slope` its derivative in the value.
    """

    value: float
    root: float
    slope: float
    fall: float
    place: np.ndarray
    reached: bool
    settled: bool
    steps: int
    params: PyTree


class Limit(NamedTuple):
    """Where the level is crossed; `kind` is `"crossed"`, or what stands in the way.

    `"open"`: it is not crossed, however far; `"end"`: the function takes no value beyond; `"lost"`: the maximum was not
    found beyond; `"better"`: the objective is higher there than at the fit. `root` is that of the last point before.
    """

    value: float
    kind: str
    root: float
    again: float | None = None  # where the deviance is below the level once more
    place: float = np.nan  # where it is better


class Profiler:
    """Points of a profile, found `lanes` at a time by `run(targets, starts, bound)`.

    Beyond `ends` there is no need to look: values there are those at the ends of the scale, but for rounding. `fit` is
    the maximum, where that lies on a bound; else it is looked for.
    """

    def __init__(
        self,
        run: Callable[..., Ridge],
        lanes: int,
        tangent: np.ndarray,
        level: float,
        slack: float,
        ends: tuple[float, float],
        fit: Point | None = None,
    ):
        self._run, self._lanes, self._tangent, self._ends = run, lanes, tangent, ends
        self._level, self._slack = level, slack
        self._points: list[Point] = []
        self._centre, free = fit, fit is None
        span = np.linspace(-1, 1, lanes - free) * _REACH * level
        found = self._solve([*span, 0.0][:lanes], [*(t * tangent for t in span), 0 * tangent][:lanes], bound=len(span))
        if free:
            self._centre = found.pop()
        self._points = [self._rooted(point) for point in found]
        self._again([point for point in self._points if not self._good(point)])

    @property
    def centre(self) -> Point:
        """The maximum without any constraint."""
        assert self._centre is not None
        return self._centre

    def limits(self) -> tuple[Limit, Limit]:
        """The lower and the upper limit."""
        found: dict[int, Limit] = {}
        for last in [*[False] * _PASSES, True]:
            wanted: list[float] = []
            for side in (-1, 1):
                if side not in found:
                    asked = self._look(side, last)
                    if isinstance(asked, Limit):
                        found[side] = asked
                    else:
                        wanted.extend(asked)
            if not wanted:
                break
            self.at(wanted)
        return found[-1], found[1]

    def last(self, side: int, limit: Limit) -> float:
        """Where a grid ends: at the limit, or at the last of the first points on a side that has none."""
        if np.isfinite(limit.value):
            return limit.value
        far = self.centre.value + side * _REACH * self._level
        near = [p.value for p in self._points if self._good(p) and side * (p.value - far) <= 1e-9]
        return side * max((side * value for value in near), default=side * self.centre.value)

    def at(self, values: Sequence[float]) -> list[Point]:
        """The points for these values, from starts between those that are known."""
        made: list[Point] = []
        for first in range(0, len(values), self._lanes):
            part = list(values[first : first + self._lanes])
            found = [self._rooted(point) for point in self._solve(part, [self._start(t) for t in part])]
            self._points.extend(found)
            made.extend(found)
        poor = {point.value for point in made if point.reached and not self._good(point)}
        if poor:
            better = {point.value: point for point in self._again([p for p in made if p.value in poor])}
            made = [better.get(point.value, point) for point in made]
        return made

    def _again(self, poor: list[Point]) -> list[Point]:
        """Points that did not settle, once more from starts between those that did; these take their place."""
        poor = [point for point in poor if point.reached]
        made: list[Point] = []
        for first in range(0, len(poor), self._lanes):
            part = [point.value for point in poor[first : first + self._lanes]]
            found = self._solve(part, [self._start(t) for t in part])
            made.extend(self._rooted(point)._replace(value=t) for point, t in zip(found, part, strict=True))
        self._points = [point for point in self._points if not any(point is old for old in poor)] + made
        return made

    def _good(self, point: Point) -> bool:
        return point.reached and point.settled

    def _rooted(self, point: Point) -> Point:
        """The same, with the root of the deviance from the centre."""
        rise = point.fall - self.centre.fall
        root = np.copysign(np.sqrt(2 * max(rise, 0)), point.value - self.centre.value)
        slope = point.slope / root if root else 1.0
        return point._replace(root=float(root), slope=float(slope))

    def _start(self, t: float) -> np.ndarray:
        """Between the two points next to a value, or on the line through the last two."""
        known = sorted([*filter(self._good, self._points), self.centre], key=lambda point: point.value)
        values = np.array([point.value for point in known])
        if len(known) == 1:
            return t * self._tangent
        at = int(np.clip(np.searchsorted(values, t), 1, len(known) - 1))
        left, right = known[at - 1], known[at]
        # Beyond the last, no farther than the last two are apart: the way is not straight.
        share = np.clip((t - left.value) / max(right.value - left.value, 1e-12), -1, 2)
        return left.place + share * (right.place - left.place)

    def _solve(self, targets: list[float], starts: list[np.ndarray], bound: int | None = None) -> list[Point]:
        count, rest = len(targets), self._lanes - len(targets)
        bound = count if bound is None else bound
        targets, starts = [*targets, *[0.0] * rest], [*starts, *[0 * self._tangent] * rest]
        found = jax.tree.map(np.asarray, self._run(np.array(targets), np.array(starts), np.arange(self._lanes) < bound))
        return [
            Point(
                float(targets[i] if i < bound and found.reached[i] else found.value[i] if i >= bound else targets[i]),
                0.0,
                float(found.slope[i]),
                float(found.fall[i]),
                np.asarray(found.place[i], float),
                bool(found.reached[i]),
                bool(found.settled[i]),
                int(found.steps[i]),
                jax.tree.map(lambda leaf: leaf[i], found.params),  # noqa: B023
            )
            for i in range(count)
        ]

    def _look(self, side: int, last: bool) -> Limit | list[float]:
        """The limit on a side, or values at which to look for it; what is known of it, if this is the `last` time."""
        ordered = sorted(
            (p for p in self._points if side * (p.value - self.centre.value) > 0), key=lambda p: side * p.value
        )
        inner, more = self.centre, self._lanes // 2
        for i, point in enumerate(ordered):
            if not self._good(point):
                if point.reached and any(map(self._good, ordered[i + 1 :])):
                    continue  # what lies beyond was found
                return self._before(side, inner, point, last)
            if point.fall < self.centre.fall - self._slack:
                return Limit(inner.value, "better", point.root, None, point.value)
            if _jumps(inner, point):
                self._points = [p for p in self._points if p is not point]
                if last or abs(point.value - inner.value) < _ROOM:
                    return Limit(inner.value, "lost", inner.root)
                return list(np.linspace(inner.value, point.value, more + 1)[1:])
            if abs(point.root) >= self._level:
                beyond = [p for p in ordered[i:] if self._good(p) and abs(p.root) < _AGAIN * self._level]
                again = beyond[0].value if beyond else None
                return self._between(side, inner, point, last, again)
            inner = point
        end = self._ends[(side + 1) // 2]
        if last or side * (end - inner.value) <= 0:
            return Limit(side * np.inf, "open", inner.root)
        far = max(abs(inner.value - self.centre.value), self._level)
        values = [self.centre.value + side * far * _FARTHER ** (j + 1) for j in range(more)]
        return [value for value in values if side * (end - value) > 0] or [end]

    def _before(self, side: int, inner: Point, wall: Point, last: bool) -> Limit | list[float]:
        if last or abs(wall.value - inner.value) < _ROOM:
            return Limit(inner.value, "lost" if wall.reached else "end", inner.root)
        return list(np.linspace(inner.value, wall.value, self._lanes // 2 + 2)[1:-1])

    def _between(self, side: int, inner: Point, outer: Point, last: bool, again: float | None) -> Limit | list[float]:
        aim = side * self._level
        near = min((inner, outer), key=lambda point: abs(point.root - aim))
        wide = outer.value - inner.value
        if (last or abs(wide) < 1e-9) and abs(near.root - aim) > _JUMP:
            return Limit(inner.value, "lost", inner.root)
        if abs(near.root - aim) < _CLOSE or last or abs(wide) < 1e-9:
            step = (aim - near.root) / near.slope if near.slope > 0 else 0.0
            low, high = sorted((inner.value, outer.value))
            return Limit(float(np.clip(near.value + step, low, high)), "crossed", aim, again)
        root = _crossing(inner, outer, aim)
        offsets = np.array([0.0, 0.01, -0.01, 0.1, -0.1, 0.3, -0.3, 0.5, -0.5])[: self._lanes // 2]
        share = np.clip((root - inner.value) / wide + offsets, 0.02, 0.98)
        return list(inner.value + wide * np.unique(share))


def _jumps(inner: Point, outer: Point) -> bool:
    """Whether a point is far worse than its neighbour makes likely: another maximum, from a start that was too far."""
    return abs(outer.root - inner.root) > 1 + 5 * abs(inner.slope * (outer.value - inner.value))


def _crossing(inner: Point, outer: Point, aim: float) -> float:
    """Where the root of the deviance is `aim`: cubic in it between two points, as far as that lies between them."""
    span = outer.root - inner.root
    if span == 0:
        return (inner.value + outer.value) / 2
    s = (aim - inner.root) / span
    line = inner.value + s * (outer.value - inner.value)
    if min(inner.slope, outer.slope) <= 0:
        return line
    left, right = span / inner.slope, span / outer.slope
    cubic = (1 + 2 * s) * (1 - s) ** 2 * inner.value + s**2 * (3 - 2 * s) * outer.value
    cubic += s * (1 - s) ** 2 * left + s**2 * (s - 1) * right
    low, high = sorted((inner.value, outer.value))
    return float(cubic) if low < cubic < high else float(line)
