"""Colours and small helpers shared by the pictures."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from jaxem._text import plain

# Okabe and Ito (2008), Color Universal Design, without the yellow that is too faint on white.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))
INK = "#222222"
MUTED = "#8A8A8A"
FAINT = "#D5D5D5"
MAX_POINTS = 20_000
_LONGEST_NAME = 32


def color(component: int) -> str:
    """Colour of a component; the same in every panel."""
    return _PALETTE[component % len(_PALETTE)]


def dash(component: int):
    """Line style of a component: changes when the colours start again."""
    return _DASHES[component // len(_PALETTE) % len(_DASHES)]


def label(name: object, limit: int | None = _LONGEST_NAME) -> str:
    """A name as pictures show it: one line of printable characters, shortened, and no mathematics between dollars."""
    return plain(name, limit).replace("$", r"\$")


def tidy(ax: Axes) -> Axes:
    """Axes without a box, in small print; returns them."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(colors=INK, labelsize=8, length=3, color=MUTED)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(9)
    return ax


def whole_numbers(ax: Axes, most: int = 6) -> None:
    """At most so many ticks of the horizontal axis, at whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def title(ax: Axes, text: str) -> None:
    """A title over the left end of the axes."""
    ax.set_title(label(text, None), fontsize=9.5, color=INK, loc="left")


def halo(width: float = 2.5):
    """White outline that keeps text readable over points."""
    return [withStroke(linewidth=width, foreground="white")]


def thin(n: int) -> np.ndarray:
    """Indices of the rows to draw: all, or `MAX_POINTS` spread evenly."""
    return np.arange(n) if n <= MAX_POINTS else np.linspace(0, n - 1, MAX_POINTS).astype(int)


def thinned_note(n: int) -> str:
    """What a title adds where not all of `n` rows are drawn."""
    return "" if n <= MAX_POINTS else f" ({MAX_POINTS:,} of {n:,} rows drawn)"


def view(values: np.ndarray, means: np.ndarray, sds: np.ndarray) -> tuple[float, float]:
    """Axis limits around a column and the ellipses of its components; a very wide component may stick out."""
    low, high = float(np.min(values)), float(np.max(values))
    width = high - low or max(abs(high), 1.0)
    low = max(min(low - 0.06 * width, float(np.min(means - 2.1 * sds))), low - 0.3 * width)
    high = min(max(high + 0.06 * width, float(np.max(means + 2.1 * sds))), high + 0.3 * width)
    return low, high


def point_size(n: int) -> float:
    """Area of a point among `n`, in square points."""
    return float(np.clip(600 / np.sqrt(max(n, 1)), 3, 22))


def reach(
    values: Float[np.ndarray, " k"], bounds: tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]
) -> Float[np.ndarray, "2 k"]:
    """How far error bars reach to both sides of the values; 0 where a bound is not known."""
    away = np.stack([values - bounds[0], bounds[1] - values])
    return np.where(np.isfinite(away), np.maximum(away, 0), 0)
