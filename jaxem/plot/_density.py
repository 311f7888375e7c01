"""One column: a histogram under the fitted density and its components."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxem._gaussians import Gaussians
from jaxem.plot._style import FAINT, INK, color, dash, label, reach, tidy, view


def histogram(
    ax: Axes,
    x: Float[np.ndarray, " n"],
    components: Gaussians,
    *,
    column: str = "",
    horizontal: bool = False,
) -> Axes:
    """Histogram of `x` on the density scale, the mixture density and each component times its weight.

    **Arguments:**

    - `ax`: axes to draw on.
    - `x`: data `[n]`.
    - `components`: one-dimensional `Gaussians` (`means [k, 1]`), such as `components.select([column])`; their
        `bounds` are drawn as error bars of the means.
    - `column`: label of the axis.
    - `horizontal`: let the density grow to the right, for a margin beside a scatter.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> x = np.random.default_rng(0).normal(size=200)
    >>> one = plot.Gaussians(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    >>> ax = plot.histogram(Figure().subplots(), x, one, column="minutes")
    >>> ax.get_xlabel()
    'minutes'
    """
    low, high = view(x, components.means, components.standard_deviations)
    height, edges = np.histogram(x, bins=num_bins(x), range=(np.min(x), np.max(x)), density=True)
    grid = _grid(components, low, high)
    parts = component_density(components, grid)
    total = parts.sum(0)
    _curve(ax, grid, total, horizontal, color=INK, linewidth=1.4, zorder=3)
    for j, part in enumerate(parts):
        style = {"color": color(j), "linestyle": dash(j), "linewidth": 1.3, "zorder": 2}
        _curve(ax, grid, part, horizontal, **style)
        fill = ax.fill_betweenx if horizontal else ax.fill_between
        if components.bounds is not None:
            _bar(ax, components, j, float(part.max()), horizontal)
        fill(grid, 0, part, color=color(j), alpha=0.18, linewidth=0)
    bars = ax.barh if horizontal else ax.bar
    bars(edges[:-1], height, np.diff(edges), align="edge", color=FAINT, edgecolor="white", linewidth=0.4, zorder=0)
    # A narrow component may rise far above the bars; it must not flatten them.
    top = 1.06 * max(height.max(), min(total.max(), 2 * height.max()))
    if horizontal:
        ax.set(ylim=(low, high), xlim=(0, top), ylabel=label(column))
    else:
        ax.set(xlim=(low, high), ylim=(0, top), xlabel=label(column))
    return tidy(ax)


def _bar(ax: Axes, components: Gaussians, j: int, height: float, horizontal: bool) -> None:
    """The bounds of a component's mean, at half the height of its density."""
    assert components.bounds is not None
    mean = components.means[j, :1]
    across = reach(mean, (components.bounds[0][j, :1], components.bounds[1][j, :1]))
    style: Any = {"ecolor": color(j), "fmt": "none", "capsize": 2.5, "zorder": 4}
    if horizontal:
        ax.errorbar([height / 2], mean, yerr=across, **style)
    else:
        ax.errorbar(mean, [height / 2], xerr=across, **style)


def component_density(components: Gaussians, grid: np.ndarray) -> np.ndarray:
    """Density `[k, len(grid)]` of each one-dimensional component times its weight."""
    mean = components.means[:, :1]
    sd = components.standard_deviations[:, :1]
    z = (grid - mean) / sd
    return components.weights[:, None] * np.exp(-0.5 * z**2) / (sd * np.sqrt(2 * np.pi))


def num_bins(x: np.ndarray) -> int:
    """The finer of the rules of Freedman and Diaconis (1981) and of Rice, kept between 8 and 60."""
    rice = 2 * len(x) ** (1 / 3)
    quartiles = float(np.subtract(*np.percentile(x, [75, 25])))
    width = 2 * quartiles / len(x) ** (1 / 3)
    fine = float(np.max(x) - np.min(x)) / width if width > 0 else rice
    return int(np.clip(np.ceil(max(fine, rice)), 8, 60))


def _grid(components: Gaussians, low: float, high: float) -> np.ndarray:
    near = components.means[:, :1] + components.standard_deviations[:, :1] * np.linspace(-5, 5, 101)
    return np.unique(np.clip(np.concatenate([np.linspace(low, high, 400), near.ravel()]), low, high))


def _curve(ax: Axes, grid: np.ndarray, values: np.ndarray, horizontal: bool, **style) -> None:
    ax.plot(*((values, grid) if horizontal else (grid, values)), **style)
