"""The picture of a fit: its data on the left, how it was found on the right."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure, SubFigure

from jaxem._gaussians import Gaussians
from jaxem.plot._density import histogram
from jaxem.plot._scatter import MAX_COLUMNS, pairs, scatter_with_marginals
from jaxem.plot._starts import criterion, history, starts
from jaxem.plot._style import INK, label, thinned_note

_LONGEST_TITLE = 100


def summary(
    draw: Callable[[SubFigure], object],
    *,
    size: float = 5.6,
    title: str = "",
    objective: Float[np.ndarray, " r"],
    steps: Float[np.ndarray, " s"],
    tolerance: float = 0.0,
    criteria: Mapping[int, float] | None = None,
    chosen: int = 0,
    criterion_name: str = "BIC",
) -> Figure:
    """What `draw` puts on the left; on the right `starts`, `history` and, where there was a choice, `criterion`.

    **Arguments:**

    - `draw`: fills the subfigure it is given; see `gaussian_panel`.
    - `size`: height of the figure in inches, and width of its left part.
    - `title`: written above everything.
    - `objective`, `tolerance`: as for `starts`.
    - `steps`: objective at every step of the best start, as for `history`.
    - `criteria`, `chosen`, `criterion_name`: as for `criterion`; left out for fewer than two values.

    **Returns:** the figure; write it with `figure.savefig(path)`.

    **Example**

    >>> import numpy as np
    >>> from jaxem import plot
    >>> left = lambda figure: figure.subplots().plot([1, 2])
    >>> figure = plot.summary(left, objective=np.array([-3.0, -2.0]), steps=np.array([-9.0, -2.0]))
    >>> len(figure.subfigs)
    2
    """
    chooses = criteria is not None and len(criteria) > 1
    figure = Figure(figsize=(size + 3.9, size), dpi=144, layout="constrained", facecolor="white")
    figure.suptitle(label(title, _LONGEST_TITLE), fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    left, right = np.ravel(figure.subfigures(1, 2, width_ratios=(size, 3.9), wspace=0.03))  # pyright: ignore
    draw(left)
    axes = np.atleast_1d(right.subplots(2 + chooses, 1))
    if criteria is not None and chooses:
        criterion(axes[0], criteria, chosen=chosen, name=criterion_name)
    starts(axes[-2], np.asarray(objective), tolerance=tolerance)
    history(axes[-1], np.asarray(steps))
    right.align_ylabels(axes)
    return figure


def gaussian_panel(
    x: Float[np.ndarray, "n d"], components: Gaussians, *, labels: Int[np.ndarray, " n"], columns: Sequence[str]
) -> tuple[Callable[[SubFigure], object], float]:
    """The `draw` and `size` for `summary` that suit Gaussian components in `d` dimensions."""
    n, d = x.shape
    if d == 1:

        def draw(left: SubFigure):
            ax = histogram(left.subplots(), x[:, 0], components, column=columns[0])
            ax.set_ylabel("density")

        return draw, 5.0
    if d == 2:

        def draw(left: SubFigure):
            main = scatter_with_marginals(left, x, components, labels=labels, columns=(columns[0], columns[1]))
            main.set_xlabel(label(columns[0]) + thinned_note(n))

        return draw, 6.2
    return (lambda left: pairs(left, x, components, labels=labels, columns=columns)), 2.2 + 1.2 * min(d, MAX_COLUMNS)
