"""What samples gave: a histogram of replicates, with the value of the fit and the ends of an interval."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxem.plot._density import num_bins
from jaxem.plot._style import FAINT, INK, color, label, tidy, title


def replicates(
    ax: Axes,
    values: Float[np.ndarray, " b"],
    value: float,
    *,
    interval: Sequence[float] | None = None,
    name: str = "",
) -> Axes:
    """Histogram of the replicates of a bootstrap or of a test, with a line at the value of the fit to the data.

    **Arguments:**

    - `ax`: axes to draw on.
    - `values`: one number for each replicate, `[b]`; those that are not finite are counted in the title.
    - `value`: that of the fit, or the statistic of a test.
    - `interval`: its lower and upper end, which are shaded.
    - `name`: label of the axis.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> values = np.random.default_rng(0).normal(2.0, 0.3, 200)
    >>> ax = plot.replicates(Figure().subplots(), values, 2.0, interval=(1.4, 2.6), name="minutes")
    >>> ax.get_title(loc="left")
    'fit: 2, interval 1.4 to 2.6, 200 replicates'
    """
    values, value = np.asarray(values, float), float(value)
    finite = values[np.isfinite(values)]
    if len(finite):
        height, edges = np.histogram(finite, bins=num_bins(finite))
        ax.bar(
            edges[:-1], height, np.diff(edges), align="edge", color=FAINT, edgecolor="white", linewidth=0.4, zorder=1
        )
    ax.axvline(value, color=INK, linewidth=1.4, zorder=3)
    text = f"fit: {value:.4g}"
    if interval is not None:
        low, high = (float(end) for end in interval)
        ax.axvspan(low, high, color=color(0), alpha=0.15, linewidth=0, zorder=0)
        text += f", interval {low:.4g} to {high:.4g}"
    lost = len(values) - len(finite)
    title(ax, f"{text}, {len(values)} replicates" + (f" ({lost} not finite)" if lost else ""))
    ax.set(xlabel=label(name), ylabel="replicates")
    ax.margins(x=0.03)
    return tidy(ax)
