"""How well a model fits: sorted values against quantiles, and frequencies of counts."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from jaxem.plot._style import (
    FAINT,
    INK,
    MUTED,
    color,
    label,
    point_size,
    thin,
    thinned_note,
    tidy,
    title,
    whole_numbers,
)

if TYPE_CHECKING:
    from jaxem.goodness import QQ, Rootogram


def qq(ax: Axes, found: "QQ", *, column: str = "", detrended: bool = False) -> Axes:
    """Sorted values against the quantiles of a distribution, with a band that each lies in with probability `level`.

    **Arguments:**

    - `ax`: axes to draw on.
    - `found`: what `jaxem.goodness.qq` returns.
    - `column`: what the values are; label of the axis.
    - `detrended`: draw how far values lie above the quantiles: a worm plot (van Buuren and Fredriks 2001).

    **Returns:** `ax`.

    **Example**

    >>> from matplotlib.figure import Figure
    >>> from jaxem import goodness, plot
    >>> ax = plot.qq(Figure().subplots(), goodness.qq([0.2, -1.0, 1.4]), column="residual")
    >>> ax.get_ylabel()
    'residual'
    """
    x, base = found.theoretical, found.theoretical if detrended else np.zeros_like(found.theoretical)
    inside = np.isfinite(x)
    ends = np.array([x[inside].min(), x[inside].max()]) if inside.any() else np.zeros(2)
    ax.fill_between(x[inside], (found.lower - base)[inside], (found.upper - base)[inside], color=FAINT, linewidth=0)
    ax.plot(ends, [0, 0] if detrended else ends, color=INK, linewidth=1)
    shown = thin(len(x))
    ax.scatter(
        x[shown], (found.sample - base)[shown], s=point_size(len(x)), color=color(0), linewidths=0, alpha=0.8, zorder=2
    )
    drawn = label(column) or "value"
    ax.set(xlabel="quantile", ylabel=f"{drawn} less quantile" if detrended else drawn)
    if thinned_note(len(x)):
        title(ax, thinned_note(len(x)).strip())
    return tidy(ax)


def rootogram(ax: Axes, found: "Rootogram", *, style: str = "hanging", column: str = "") -> Axes:
    """Frequencies of counts as bars, and those that a model expects as a curve, on the scale of square roots.

    On that scale a difference is as large where counts are rare as where they are frequent. Hanging bars that end above
    0 are counts that occur less often than expected.

    **Arguments:**

    - `ax`: axes to draw on.
    - `found`: what `jaxem.goodness.rootogram` returns.
    - `style`: `"hanging"`, `"standing"` or `"suspended"`; see `jaxem.goodness.Rootogram`.
    - `column`: label of the axis.

    **Returns:** `ax`. Kleiber and Zeileis (2016).

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import goodness, plot
    >>> found = goodness.Rootogram(np.arange(3.0), np.array([4.0, 3.0, 1.0]), np.array([3.5, 3.0, 1.2]))
    >>> ax = plot.rootogram(Figure().subplots(), found, column="deaths")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('deaths', 'square root of frequency')
    """
    start, height = found.bars(style)
    ax.bar(found.counts, height, 0.8, bottom=start, color=FAINT, edgecolor=MUTED, linewidth=0.5, zorder=0)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(found.counts) <= 60 else {}
    ax.plot(found.counts, np.sqrt(found.expected), color=color(1), linewidth=1.4, zorder=2, **marker)
    ax.axhline(0, color=INK, linewidth=0.8, zorder=1)
    ax.set(xlabel=label(column), ylabel="square root of frequency")
    whole_numbers(ax, 10)
    return tidy(ax)
