"""Two columns: a scatter under the ellipses of the components."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from jaxem._gaussians import Gaussians
from jaxem.plot._density import histogram
from jaxem.plot._style import INK, MUTED, color, dash, halo, label, point_size, reach, thin, tidy, view


def scatter(
    ax: Axes,
    x: Float[np.ndarray, "n 2"],
    components: Gaussians,
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    columns: tuple[str, str] = ("", ""),
    number: bool = True,
) -> Axes:
    """Rows as points, components as ellipses at one (filled) and two standard deviations.

    **Arguments:**

    - `ax`: axes to draw on.
    - `x`: data `[n, 2]`; of many rows an evenly spread part is drawn.
    - `components`: two-dimensional `Gaussians`; their `bounds` are drawn as error bars of the means.
    - `labels`: component of every row, for its colour; grey without.
    - `columns`: labels of the axes.
    - `number`: write each component's number at its mean.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> one = plot.Gaussians(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    >>> ax = plot.scatter(Figure().subplots(), x, one, columns=("a", "b"))
    >>> len(ax.patches)
    2
    """
    rows = thin(len(x))
    shades = MUTED if labels is None else [color(j) for j in np.asarray(labels)[rows]]
    ax.scatter(x[rows, 0], x[rows, 1], s=point_size(len(rows)), c=shades, alpha=0.55, linewidths=0, rasterized=True)
    for j in range(len(components.weights)):
        line = {"edgecolor": color(j), "linestyle": dash(j), "closed": True}
        ax.add_patch(Polygon(components.ellipse(j, 1), facecolor=(color(j), 0.16), linewidth=1.5, **line))
        ax.add_patch(Polygon(components.ellipse(j, 2), facecolor="none", linewidth=1.0, **line))
    if number:
        aside = (0, 0) if components.bounds is None else (8, 8)  # points, clear of the error bars
        style = {"ha": "center", "va": "center", "fontsize": 10, "weight": "bold", "path_effects": halo()}
        for j, mean in enumerate(components.means):
            ax.annotate(str(j), mean, aside, textcoords="offset points", color=color(j), **style)
    if components.bounds is not None:
        for j, mean in enumerate(components.means):
            across = reach(mean, (components.bounds[0][j], components.bounds[1][j]))
            ax.errorbar(
                *mean, xerr=across[:, :1], yerr=across[:, 1:], ecolor=color(j), fmt="none", capsize=2.5, zorder=3
            )
    sds = components.standard_deviations
    xlim, ylim = (view(x[:, i], components.means[:, i], sds[:, i]) for i in range(2))
    ax.set(xlim=xlim, ylim=ylim, xlabel=label(columns[0]), ylabel=label(columns[1]))
    return tidy(ax)


def scatter_with_marginals(
    figure: Figure | SubFigure,
    x: Float[np.ndarray, "n 2"],
    components: Gaussians,
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    columns: tuple[str, str] = ("", ""),
) -> Axes:
    """A `scatter` with a `histogram` of each column along its edges.

    **Arguments:** as for `scatter`, on a whole figure or subfigure.

    **Returns:** the axes of the scatter.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> one = plot.Gaussians(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    >>> figure = Figure(layout="constrained")
    >>> ax = plot.scatter_with_marginals(figure, x, one)
    >>> len(figure.axes)
    3
    """
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4), hspace=0.02, wspace=0.02)
    main = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=main)
    beside = figure.add_subplot(grid[1, 1], sharey=main)
    scatter(main, x, components, labels=labels, columns=columns)
    histogram(above, x[:, 0], components.select([0]))
    histogram(beside, x[:, 1], components.select([1]), horizontal=True)
    above.tick_params(labelbottom=False, labelleft=False, left=False)
    above.spines["left"].set_visible(False)
    beside.tick_params(labelbottom=False, labelleft=False, bottom=False)
    beside.spines["bottom"].set_visible(False)
    return main


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
