"""More than two columns: every pair of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from jaxem.plot._components import Gaussians
from jaxem.plot._density import histogram
from jaxem.plot._scatter import scatter
from jaxem.plot._style import INK, color, dash, label

MAX_COLUMNS = 6


def pairs(
    figure: Figure | SubFigure,
    x: Float[np.ndarray, "n d"],
    components: Gaussians,
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    columns: Sequence[str] = (),
    max_columns: int = MAX_COLUMNS,
) -> np.ndarray:
    """A triangle of scatters, one for each pair of columns, with histograms on its diagonal.

    **Arguments:**

    - `figure`: figure or subfigure to fill.
    - `x`: data `[n, d]`.
    - `components`: `d`-dimensional `Gaussians`; each panel shows their marginals.
    - `labels`: component of every row, for its colour.
    - `columns`: names of the `d` columns.
    - `max_columns`: with more columns than this the first ones are drawn, and the picture says so.

    **Returns:** array `[d, d]` of axes, `None` above the diagonal.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> one = plot.Gaussians(np.ones(1), np.zeros((1, 3)), np.eye(3)[None])
    >>> axes = plot.pairs(Figure(layout="constrained"), x, one, columns=("a", "b", "c"))
    >>> axes[2, 0].get_xlabel(), axes[2, 0].get_ylabel()
    ('a', 'c')
    """
    total = x.shape[1]
    d = min(total, max_columns)
    names = [label(name) for name in columns] or [f"x{i}" for i in range(total)]
    grid = figure.add_gridspec(d, d)
    axes = np.full((d, d), None, dtype=object)
    for i in range(d):
        for j in range(i + 1):
            ax = axes[i, j] = figure.add_subplot(grid[i, j])
            if i == j:
                histogram(ax, x[:, i], components.select([i]))
                ax.tick_params(left=False, labelleft=False)
                ax.spines["left"].set_visible(False)
            else:
                scatter(ax, x[:, [j, i]], components.select([j, i]), labels=labels, number=False)
            ax.tick_params(labelsize=7)
            ax.locator_params(nbins=4)
            if i == d - 1:
                ax.set_xlabel(names[j], fontsize=9)
            else:
                ax.tick_params(labelbottom=False)
            if j == 0 and i > 0:
                ax.set_ylabel(names[i], fontsize=9)
            elif j > 0:
                ax.tick_params(labelleft=False)
    figure.align_labels()
    _legend(figure, grid, components, d)
    if d < total:
        figure.suptitle(f"the first {d} of {total} columns", fontsize=9.5, color=INK, x=0.02, ha="left")
    return axes


def _legend(figure: Figure | SubFigure, grid, components: Gaussians, d: int) -> None:
    free = figure.add_subplot(grid[: d - 1, 1:])
    free.set_axis_off()
    free.set_zorder(-1)
    k = len(components.weights)
    shown = [Line2D([], [], color=color(j), linestyle=dash(j), linewidth=2) for j in range(k)]
    names = [f"{j}   {weight:.3f}" for j, weight in enumerate(components.weights)]
    size = {"fontsize": 8, "title_fontsize": 8.5, "ncols": 1 + (k - 1) // 10}
    free.legend(shown, names, title="component, weight", loc="upper right", frameon=False, **size)
