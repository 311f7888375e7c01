"""The criterion of several models over their sizes, a line for each kind."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxem._titles import kind_of, sizes_in
from jaxem.plot._style import INK, color, dash, halo, label, tidy, title, whole_numbers

_SOUND = ("converged", "completed", "max_steps_reached")


def selection(ax: Axes, selection: Any, *, names: Any = None) -> Axes:
    """The criterion of each model over its number of components (states, factors ...), a line for each kind of model.

    The model chosen has a ring and its number. Hollow marks are fits that are not sound, degenerate ones for instance,
    or that have folds which failed; models without a fit are counted in the title. Under cross-validation it is the log
    density of an observation left out (larger is better), with a standard error up and down.

    **Arguments:**

    - `ax`: axes to draw on.
    - `selection`: what `jaxem.select` returned.
    - `names`: the name of the line of each model, in their order; by default what the model says of itself.

    **Returns:** `ax`.

    Such a picture is what `plot.mclustBIC` draws (Fraley and Raftery 2002).

    **Example**

    >>> import jax, jaxem
    >>> from matplotlib.figure import Figure
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> models = [jaxem.GaussianMixture(k, shape) for shape in ("full", "tied") for k in (1, 2)]
    >>> found = jaxem.select(models, x, key=jax.random.key(0))
    >>> ax = jaxem.plot.selection(Figure().subplots(), found)
    >>> ax.get_title(loc="left"), [line.get_text() for line in ax.get_legend().get_texts()]
    ('BIC (smaller is better)', ['Mixture of Gaussian (full)', 'Mixture of Gaussian (tied)'])
    """
    crossed = selection.criterion == "cv"
    lines: dict[str, list[int]] = {}
    for i, name in enumerate(_names(selection.models) if names is None else names):
        lines.setdefault(str(name), []).append(i)
    column = "cv" if crossed else "criterion"
    for j, (name, own) in enumerate(lines.items()):
        rows = [(_size(selection.models[i]), selection.table[i]) for i in own]
        rows = sorted((row for row in rows if _drawn(row[1][column])), key=lambda row: row[0])
        if not rows:
            continue
        x, y = np.array([size for size, _ in rows]), np.array([row[column] for _, row in rows], float)
        ax.plot(x, y, color=color(j), linestyle=dash(j), linewidth=1.2, label=label(name))
        if crossed:
            errors = np.array([row["cv_standard_error"] for _, row in rows], float)
            ax.errorbar(x, y, np.where(np.isfinite(errors), errors, 0), color=color(j), fmt="none", linewidth=0.8)
        sound = np.array([row["status"] in _SOUND and not row.get("failed_folds") for _, row in rows])
        ax.plot(x[sound], y[sound], "o", color=color(j), markersize=4)
        ax.plot(x[~sound], y[~sound], "o", color=color(j), markerfacecolor="white", markersize=5)
    _mark(ax, selection, column)
    lost = sum(not _drawn(row[column]) for row in selection.table)
    what = "log density of a row left out (larger" if crossed else f"{selection.criterion.upper()} (smaller"
    title(ax, f"{what} is better)" + (f"; {lost} of {len(selection.table)} models have none" if lost else ""))
    words = list(dict.fromkeys(word for model in selection.models for word in [*sizes_in(model)][:1]))
    ax.set(xlabel=label(" or ".join(f"{word}s" for word in words) or "model"))
    ax.set_ylabel("log density" if crossed else label(selection.criterion.upper()))
    ax.margins(x=0.08, y=0.15)
    whole_numbers(ax)
    if len(lines) > 1:
        ax.legend(fontsize=8, frameon=False)
    return tidy(ax)


def _mark(ax: Axes, selection: Any, column: str) -> None:
    """The model chosen."""
    size, value = _size(selection.best), selection.table[selection.index][column]
    ax.plot(size, value, "o", color=INK, markerfacecolor="none", markersize=11, markeredgewidth=1.4)
    place = {"xytext": (0, 11), "textcoords": "offset points", "ha": "center"}
    ax.annotate(str(size), (size, value), **place, fontsize=8.5, color=INK, path_effects=halo())


def _names(models: Any) -> list[str]:
    """What each model is, but for its size; with a number where two of a size would be on one line."""
    names: list[str] = []
    seen: list[tuple[str, int]] = []
    for model in models:
        others = [f"{count} {word}{'s' * (count != 1)}" for word, count in [*sizes_in(model).items()][1:]]
        name, size = ", ".join([kind_of(model), *others]), _size(model)
        again = seen.count((name, size))
        seen.append((name, size))
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def _size(model: Any) -> int:
    """The first of its numbers; 1 for a model without."""
    return next(iter(sizes_in(model).values()), 1)


def _drawn(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))
