"""What factors have in common with columns."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jaxem.plot._style import MUTED, label, tidy, title


def loadings(
    figure: Figure | SubFigure,
    values: Float[np.ndarray, "d q"],
    communality: Float[np.ndarray, " d"],
    *,
    columns: Sequence[str],
) -> list[Axes]:
    """Correlations of columns with factors as shaded cells, beside the share of each column that factors explain.

    **Arguments:**

    - `figure`: a figure or subfigure to fill.
    - `values`: correlations `[d, q]`, between -1 and 1.
    - `communality`: shares `[d]`, between 0 and 1.
    - `columns`: names of the columns.

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
            left.text(i, j, f"{values[j, i]:.2f}", ha="center", va="center", fontsize=8, color=ink)
    every = max(1, int(np.ceil(d / 40)))
    left.set_yticks(range(0, d, every), [label(column) for column in columns[::every]])
    left.set_xticks(range(q), [str(i) for i in range(q)])
    left.set_xlabel("factor")
    title(left, "correlation with the factors")
    right.barh(range(d), communality, color=MUTED, height=0.7)
    right.set(xlim=(0, 1))
    title(right, "communality")
    for ax in (left, right):
        tidy(ax)
        ax.spines[:].set_visible(False)
    right.tick_params(labelleft=False, left=False)
    return [left, right]
