"""Data that are no real numbers: counts, and profiles of discrete columns."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxem.plot._style import FAINT, INK, color, dash, label, reach, tidy, title, whole_numbers

_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def counts(
    ax: Axes,
    x: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " k"],
    rates: Float[np.ndarray, " k"],
    theta: Float[np.ndarray, " k"] | None = None,
    *,
    column: str = "",
    bounds: tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]] | None = None,
) -> Axes:
    """Relative frequency of counts with the probabilities of a mixture and of its components.

    **Arguments:**

    - `ax`: axes to draw on.
    - `x`: non-negative integers `[n]`.
    - `weights`, `rates`: shares and means of the components, `[k]`.
    - `theta`: of negative binomial components, `[k]`: variances are `rate + rate^2 / theta`. Poisson ones without.
    - `column`: label of the axis.
    - `bounds`: lower and upper ones of the means, `[k]` each, drawn as error bars.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> deaths = np.array([0, 1, 1, 2, 5])
    >>> ax = plot.counts(Figure().subplots(), deaths, np.array([0.5, 0.5]), np.array([1.0, 4.0]), column="deaths")
    >>> ax.get_xlabel()
    'deaths'
    """
    low, high = int(np.min(x)), int(np.max(x))
    step = max(1, (high - low) // 60)
    edges = np.arange(low, high + step + 1, step)
    share = np.histogram(x, bins=edges)[0] / len(x) / step
    ax.bar(edges[:-1] + (step - 1) / 2, share, 0.8 * step, color=FAINT, zorder=0)
    grid = np.arange(low, high + 1)
    rate = np.maximum(np.asarray(rates, float)[:, None], np.finfo(float).tiny)
    parts = np.asarray(weights, float)[:, None] * np.exp(_log_probability(grid, rate, theta))
    marker = {"marker": "o", "markersize": 3} if len(grid) <= 40 else {}
    for j, part in enumerate(parts):
        ax.plot(grid, part, color=color(j), linestyle=dash(j), linewidth=1.2, **marker)
    if bounds is not None:
        mean = np.asarray(rates, float)
        across = reach(mean, bounds)
        for j, part in enumerate(parts):
            style = {"ecolor": color(j), "fmt": "none", "capsize": 2.5, "zorder": 4}
            ax.errorbar(mean[j], part.max() / 2, xerr=across[:, j : j + 1], **style)
    ax.plot(grid, parts.sum(0), color=INK, linewidth=1.5, **marker)
    ax.set(xlabel=label(column), ylabel="relative frequency")
    ax.set_ylim(bottom=0)
    whole_numbers(ax, 10)
    return tidy(ax)


def _log_probability(grid: np.ndarray, rate: np.ndarray, theta: np.ndarray | None) -> np.ndarray:
    """Of the counts in `grid` `[m]` under means `rate` `[k, 1]`: `[k, m]`."""
    if theta is None:
        return grid * np.log(rate) - rate - _log_gamma(grid + 1.0)
    shape = np.asarray(theta, float)[:, None]
    ways = _log_gamma(grid + shape) - _log_gamma(shape) - _log_gamma(grid + 1.0)
    return ways - shape * np.log1p(rate / shape) - grid * np.log1p(shape / rate)


def profiles(
    ax: Axes,
    values: Float[np.ndarray, "k m"],
    weights: Float[np.ndarray, " k"],
    *,
    columns: Sequence[str],
    name: str,
    bounds: tuple[Float[np.ndarray, "k m"], Float[np.ndarray, "k m"]] | None = None,
) -> Axes:
    """One row of shaded cells for each component: its rates or probabilities over the columns.

    **Arguments:**

    - `ax`: axes to draw on.
    - `values`: `[k, m]`.
    - `weights`: of the components, `[k]`.
    - `columns`: the `m` names below the cells.
    - `name`: what the values are; the title.
    - `bounds`: lower and upper ones of the values, `[k, m]` each, written below these.

    **Returns:** `ax`.

    **Example**

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from jaxem import plot
    >>> chance = np.array([[0.9, 0.1], [0.2, 0.7]])
    >>> ax = plot.profiles(Figure().subplots(), chance, np.array([0.4, 0.6]), columns=["a", "b"], name="probability")
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['a', 'b']
    """
    values = np.asarray(values, float)
    k, m = values.shape
    # Probabilities share one scale; rates of different columns need not be alike, so each column has its own.
    shared = values.max() <= 1
    shade = values if shared else values / np.maximum(values.max(0), np.finfo(float).tiny)
    image = ax.imshow(shade, aspect="auto", cmap="cividis", vmin=0, vmax=1)
    if m <= 10 and k <= 12:
        for j, i in np.ndindex(k, m):
            style = ".2f" if shared else ".3g"
            text = f"{values[j, i]:{style}}"
            if bounds is not None and np.isfinite([part[j, i] for part in bounds]).all():
                text += f"\n{bounds[0][j, i]:{style}} to {bounds[1][j, i]:{style}}"
            ink = "white" if shade[j, i] < 0.55 else "black"
            ax.text(i, j, text, ha="center", va="center", fontsize=8, color=ink)
    else:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.6)
        bar.set_label("" if shared else "share of the largest in the column", fontsize=8.5)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)  # pyright: ignore
    every = max(1, int(np.ceil(m / 30)))
    ax.set_xticks(range(0, m, every), [label(column) for column in columns[::every]], rotation=0 if m <= 6 else 90)
    ax.set_yticks(range(k), [f"{j}  ({weight:.3f})" for j, weight in enumerate(weights)])
    ax.set_ylabel("component (weight)")
    title(ax, name)
    tidy(ax)
    ax.spines[:].set_visible(False)
    return ax
