"""A sequence and the states behind it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jaxem.plot._style import FAINT, MUTED, color, label, thin, tidy

MAX_SERIES = 4


def sequence(
    figure: Figure | SubFigure,
    x: Float[np.ndarray, "t d"],
    labels: Int[np.ndarray, " t"],
    probabilities: Float[np.ndarray, "t k"],
    means: Float[np.ndarray, "k d"],
    *,
    columns: Sequence[str],
    bounds: tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d"]] | None = None,
) -> list[Axes]:
    """Columns over time with the mean of the most probable path, above the probability of each state.

    **Arguments:**

    - `figure`: a figure or subfigure to fill.
    - `x`: the steps, `[t, d]`, NaN where there is nothing to draw; the first four columns are drawn.
    - `labels`: the state of every step, `[t]`.
    - `probabilities`: of each state at every step, `[t, k]`.
    - `means`: of the columns in each state, `[k, d]`.
    - `columns`: their names.
    - `bounds`: lower and upper ones of the means, `[k, d]` each, drawn as bands.

    **Returns:** the axes, the probabilities last.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> path, chance = np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    >>> means = np.array([[1.0], [5.0]])
    >>> axes = plot.sequence(Figure(), means[path], path, chance, means, columns=["level"])
    >>> len(axes)
    2
    """
    d = min(x.shape[1], MAX_SERIES)
    axes: list[Axes] = list(np.ravel(figure.subplots(d + 1, 1, sharex=True, height_ratios=[3] * d + [1.2])))  # pyright: ignore
    steps = np.arange(len(x))
    drawn = thin(len(x))
    edges = np.flatnonzero(np.diff(labels)) + 1
    for i, ax in enumerate(axes[:-1]):
        ax.plot(drawn, x[drawn, i], color=FAINT, linewidth=0.8, zorder=0)
        ax.scatter(drawn, x[drawn, i], s=8, c=[color(j) for j in labels[drawn]], linewidths=0, rasterized=True)
        for start, end in zip([0, *edges], [*edges, len(x)], strict=True):
            state = labels[start]
            ax.plot([start - 0.5, end - 0.5], [means[state, i]] * 2, color=color(state), linewidth=1.6)
            if bounds is not None:
                low, high = (float(part[state, i]) for part in bounds)
                ax.fill_between([start - 0.5, end - 0.5], low, high, color=color(state), alpha=0.25, linewidth=0)
        ax.set_ylabel(label(columns[i]))
        tidy(ax)
    last = axes[-1]
    shades = [color(j) for j in range(probabilities.shape[1])]
    last.stackplot(steps[drawn], probabilities[drawn].T, colors=shades, linewidth=0)
    last.set(xlabel="step", ylabel="state", ylim=(0, 1), xlim=(-0.5, len(x) - 0.5))
    tidy(last)
    if x.shape[1] > d:
        last.text(1, -0.45, f"the first {d} of {x.shape[1]} columns", transform=last.transAxes, ha="right", color=MUTED)
    return axes
