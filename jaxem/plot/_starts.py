"""How the search went: the objective of every start, of every step, and of every number of components."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxem.plot._style import INK, MUTED, color, halo, label, tidy, title, whole_numbers

_BLUE, _ORANGE = color(0), color(1)


def starts(ax: Axes, objective: Float[np.ndarray, " r"], *, tolerance: float = 0.0) -> Axes:
    """Final objective of every start, best first; those within `tolerance` of the best are marked.

    **Arguments:**

    - `ax`: axes to draw on.
    - `objective`: final objective of each start; not finite for a start that failed.
    - `tolerance`: how far below the best still counts as the same optimum.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> ax = plot.starts(Figure().subplots(), np.array([-10.0, -12.5, -10.0]), tolerance=1e-3)
    >>> ax.get_title(loc="left")
    'best: -10, 2 of 3 starts'
    """
    objective = np.asarray(objective, float)
    ranked = np.sort(objective[np.isfinite(objective)])[::-1]
    rank = np.arange(1, len(ranked) + 1)
    if len(ranked):
        found = ranked >= ranked[0] - tolerance
        ax.plot(rank, ranked, color=MUTED, linewidth=1, zorder=1)
        size = float(np.clip(400 / len(ranked), 5, 22))
        ax.scatter(rank[~found], ranked[~found], s=size, color=MUTED, linewidths=0, zorder=2)
        ax.scatter(rank[found], ranked[found], s=size, color=_BLUE, linewidths=0, zorder=3)
        low, high = ranked[-1], ranked[0]
        # Starts that agree to rounding must look alike, so the axis never zooms in on the last digits.
        pad = 0.08 * max(high - low, 20 * tolerance, 1e-4 * abs(high), 1e-9)
        ax.set_ylim(low - pad, high + 2 * pad)
        ax.ticklabel_format(axis="y", useOffset=False)
        note = f"best: {high:.6g}, {found.sum()} of {len(objective)} starts"
        failed = len(objective) - len(ranked)
        title(ax, note + (f" ({failed} failed)" if failed else ""))
    else:
        title(ax, f"all {len(objective)} starts failed")
    ax.set(xlabel="start, best first", ylabel="final objective")
    ax.margins(x=0.03)
    whole_numbers(ax)
    return tidy(ax)


def history(ax: Axes, objective: Float[np.ndarray, " steps"]) -> Axes:
    """Objective of the best start at every step.

    **Arguments:**

    - `ax`: axes to draw on.
    - `objective`: values at steps 0, 1, ...; a tail that is not finite is left out.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> ax = plot.history(Figure().subplots(), np.array([-30.0, -12.0, -10.5, -10.1]))
    >>> ax.get_title(loc="left")
    'best start: 3 steps'
    """
    objective = np.asarray(objective, float)
    finite = np.isfinite(objective)
    steps = np.arange(len(objective))[finite]
    values = objective[finite]
    ax.plot(steps, values, color=_BLUE, linewidth=1.5)
    if len(values):
        ax.plot(steps[-1], values[-1], "o", color=_BLUE, markersize=4, clip_on=False)
        ax.ticklabel_format(axis="y", useOffset=False)
        title(ax, f"best start: {steps[-1]} steps")
    ax.set(xlabel="step", ylabel="objective")
    ax.margins(x=0.03)
    whole_numbers(ax)
    return tidy(ax)


def criterion(ax: Axes, values: Mapping[int, float], *, chosen: int, name: str = "BIC") -> Axes:
    """A criterion (smaller is better) over the number of components.

    **Arguments:**

    - `ax`: axes to draw on.
    - `values`: criterion by number of components; not finite where the fit failed.
    - `chosen`: the number that was chosen.
    - `name`: label of the axis.

    **Returns:** `ax`.

    **Example**

    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> ax = plot.criterion(Figure().subplots(), {1: 2607.6, 2: 2322.2, 3: 2333.0}, chosen=2)
    >>> ax.get_title(loc="left")
    'BIC (smaller is better)'
    """
    k = np.array(sorted(values))
    value = np.array([values[i] for i in k], float)
    ax.plot(k, value, "o-", color=MUTED, markersize=4, linewidth=1)
    ax.plot(chosen, values[chosen], "o", color=_ORANGE, markersize=8)
    side = "left" if chosen == k[0] else "right" if chosen == k[-1] else "center"
    place = {"xytext": (0, 9), "textcoords": "offset points", "ha": side}
    ax.annotate(f"k = {chosen}", (chosen, values[chosen]), **place, fontsize=8.5, color=INK, path_effects=halo())
    title(ax, f"{name} (smaller is better)")
    ax.set(xlabel="components", ylabel=label(name))
    ax.margins(x=0.06, y=0.15)
    whole_numbers(ax)
    return tidy(ax)
