"""What factors have in common with columns."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jaxem.plot._style import MUTED, label, reach, tidy, title

Bounds = tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]


def loadings(
    figure: Figure | SubFigure,
    values: Float[np.ndarray, "d q"],
    communality: Float[np.ndarray, " d"],
    *,
    columns: Sequence[str],
    bounds: Bounds | None = None,
    communality_bounds: Bounds | None = None,
) -> list[Axes]:
    """Correlations of columns with factors as shaded cells, beside the share of each column that factors explain.

    **Arguments:**

    - `figure`: a figure or subfigure to fill.
    - `values`: correlations `[d, q]`, between -1 and 1.
    - `communality`: shares `[d]`, between 0 and 1.
    - `columns`: names of the columns.
    - `bounds`: lower and upper ones of the correlations, `[d, q]` each, written below these. Where all are NaN, since
        the data do not determine how the factors are turned, the axis says so.
    - `communality_bounds`: those of the shares, `[d]` each, drawn as error bars. One less a share is the column's
        uniqueness, with the same bars.

    **Returns:** the two axes.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> values = np.array([[0.9], [-0.5]])
    >>> axes = plot.loadings(Figure(), values, (values**2).sum(1), columns=["a", "b"])
    >>> [label.get_text() for label in axes[0].get_yticklabels()]
    ['a', 'b']
    """
    d, q = values.shape
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    left.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1)
    if d * q <= 120:
        for j, i in np.ndindex(d, q):
            ink = "white" if abs(values[j, i]) > 0.6 else "black"
            text = f"{values[j, i]:.2f}"
            if bounds is not None and np.isfinite([part[j, i] for part in bounds]).all():
                text += f"\n{bounds[0][j, i]:.2f} to {bounds[1][j, i]:.2f}"
            left.text(i, j, text, ha="center", va="center", fontsize=8, color=ink)
    every = max(1, int(np.ceil(d / 40)))
    left.set_yticks(range(0, d, every), [label(column) for column in columns[::every]])
    left.set_xticks(range(q), [str(i) for i in range(q)])
    turns = bounds is not None and not any(np.isfinite(part).any() for part in bounds)
    left.set_xlabel("factor\n(no errors: they may be turned)" if turns else "factor")
    title(left, "correlation with the factors")
    right.barh(range(d), communality, color=MUTED, height=0.7)
    if communality_bounds is not None:
        across = reach(communality, communality_bounds)
        right.errorbar(communality, range(d), xerr=across, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    right.set(xlim=(0, 1))
    title(right, "communality")
    for ax in (left, right):
        tidy(ax)
        ax.spines[:].set_visible(False)
    right.tick_params(labelleft=False, left=False)
    return [left, right]
