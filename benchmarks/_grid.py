"""The cells of the grid of shapes: who runs what in each, and the least that an iteration must compute and read."""

import itertools
from dataclasses import dataclass, field

COVARIANCES = ("full", "tied", "diagonal", "spherical")
DOUBLE_ONLY = ("hmmlearn",)  # what computes in double precision whatever it is given


@dataclass
class Cell:
    """`entries` maps a label to (contender, task, specification); `flops` and `bytes` are those of one iteration of the
    form that needs the fewest, with `size` bytes a number; `starts` is how many runs go side by side."""

    label: str
    entries: dict[str, tuple[str, str, dict]]
    flops: float
    numbers: float  # that have to be read or written once
    starts: int = 1
    notes: list[str] = field(default_factory=list)


def _steps(flops: float, exponentials: float = 0.0) -> dict[str, int]:
    """Iterations that take about a quarter of a second at 20 GFLOP/s; an exponential is as much as 200 operations."""
    return {"few": 2, "added": int(min(max(5e9 / (flops + 200 * exponentials), 2), 200))}


def gaussian(covariance: str, n: int, d: int, k: int, starts: int = 1) -> Cell:
    """A Gaussian mixture. Full: the packed square of each row once for each member, in both products."""
    flops = {
        "full": 2 * n * k * (d + 1) * (d + 2),
        "tied": 8 * n * k * d + 2 * n * d * (d + 1),
        "diagonal": 16 * n * k * d,
        "spherical": 8 * n * k * d + 4 * n * d,
    }[covariance]
    spec = {"n": n, "d": d, "k": k, "covariance": covariance, **_steps(flops * starts, n * k * starts)}
    entries = {"jaxem": ("jaxem", "shapes", {**spec, "starts": starts})}
    if starts == 1:
        entries["scikit-learn"] = ("scikit_learn", "iterations", spec)
    else:
        entries["scikit-learn, one start"] = ("scikit_learn", "iterations", {**spec, **_steps(flops, n * k)})
    label = f"{covariance}, n={n:,}, d={d}, k={k}" + (f", {starts} starts" if starts > 1 else "")
    return Cell(label, entries, flops, n * d, starts)


def kmeans(n: int, d: int, k: int, starts: int = 1) -> Cell:
    """Lloyd's iterations: distances by one product, sums by adding rows."""
    flops = 2 * n * k * d + n * d
    # Few: a small table converges soon, and a run that does is an error.
    steps = {"few": 1, "added": min(_steps(flops * starts)["added"], 2 if n < 1000 else 10)}
    spec = {"n": n, "d": d, "k": k, **steps}
    entries = {
        "jaxem": ("jaxem", "kmeans", {**spec, "starts": starts}),
        "scikit-learn, Lloyd": ("scikit_learn", "kmeans", {**spec, "how": "lloyd"}),
        "scikit-learn, Elkan": ("scikit_learn", "kmeans", {**spec, "how": "elkan"}),
    }
    label = f"k-means, n={n:,}, d={d}, k={k}" + (f", {starts} starts" if starts > 1 else "")
    return Cell(label, entries, flops, n * d, starts)


def chain(n: int, length: int, k: int, d: int = 2) -> Cell:
    """A Gaussian hidden Markov model: the products of the emission, and two passes over the steps."""
    rows = n * length
    flops = 2 * rows * k * (d + 1) * (d + 2) + 6 * rows * k * k
    spec = {"n": n, "length": length, "d": d, "k": k, "check": 2, **_steps(3 * flops, rows * k)}
    entries = {label: (label, "chains", spec) for label in ("jaxem", "hmmlearn", "dynamax")}
    return Cell(f"HMM, {n:,} x {length:,}, k={k}", entries, flops, rows * (d + k))


def missing(n: int, d: int, k: int, share: float, patterns: int | None) -> Cell:
    """Rows with gaps beside complete ones; `patterns` is how many different ones there are, if few."""
    flops = 2 * n * k * (d + 1) * (d + 2)
    spec = {"n": n, "d": d, "k": k, "family": "gaussian", **_steps(5 * flops, n * k)}
    gaps = {"missing": share, **({"patterns": patterns} if patterns else {})}
    entries = {"jaxem": ("jaxem", "mixture", {**spec, **gaps}), "jaxem, complete": ("jaxem", "mixture", spec)}
    what = f"{patterns} patterns" if patterns else "all rows different"
    return Cell(f"{share:.0%} missing, {what}, n={n:,}, d={d}, k={k}", entries, flops, n * d)


def groups(quick: bool) -> dict[str, list[Cell]]:
    """The cells by kind of model."""
    if quick:
        return {
            "gaussian": [gaussian(c, 272, 2, 2) for c in COVARIANCES] + [gaussian("full", 300, 16, 2, starts=2)],
            "kmeans": [kmeans(300, 2, 8)],
            "chains": [chain(2, 50, 2)],
            "missing": [missing(200, 3, 2, 0.1, 4)],
        }
    mixtures = [
        gaussian(c, n, d, k)
        for c, d, k in itertools.product(COVARIANCES, (2, 8, 16, 32, 64, 128, 256), (2, 8, 32, 128))
        for n in (272, _rows(c, d, k))
        if n >= 32 * k and gaussian(c, n, d, k).flops <= 1e11
    ]
    mixtures.insert(0, gaussian("full", 1_000_000, 2, 2))
    many = [gaussian("full", min(_rows("full", d, k), 50_000), d, k, starts=16) for d in (2, 16, 64) for k in (2, 16)]
    return {
        "gaussian": mixtures + many,
        "kmeans": [kmeans(100_000, d, k) for d in (2, 16, 128) for k in (8, 64, 1000)]
        + [kmeans(20_000, 16, 64, starts=16)],
        "chains": [chain(n, t, k) for n, t in ((1, 100_000), (100, 500), (10_000, 20)) for k in (2, 5, 20, 50)],
        "missing": [missing(20_000, d, 4, s, p) for d in (8, 16) for s in (0.1, 0.4) for p in (50, None)],
    }


def _rows(covariance: str, d: int, k: int) -> int:
    """As many rows as an iteration of two GFLOP or a table of 2^23 numbers has, 200,000 at most.

    An exponential counts as much as a thousand operations, which it takes where it is not vectorised.

    No fewer than a member's covariance needs: a run that ends at a singular one is over before it is timed.
    """
    each = gaussian(covariance, 1000, d, k).flops / 1000
    rows = min(2e9 / (each + 1000 * k), 2**23 / d, 2e5)
    size = 10 ** (len(str(int(rows))) - 1)
    return max(int(rows) // size * size, k * max(40, 2 * d if covariance == "full" else 0))
