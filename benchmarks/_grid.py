"""The cells of the grid of shapes: who runs what in each, and the least that an iteration must compute and read."""

import itertools
from dataclasses import dataclass, field
from typing import Any

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

    @property
    def sizes(self) -> dict[str, Any]:
        """What tells it from the others of its kind."""
        spec = self.entries["jaxem"][2]
        names = ("family", "covariance", "n", "length", "d", "k", "factors", "levels", "missing", "patterns", "starts")
        return {name: spec[name] for name in names if name in spec}


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
        if covariance == "full" and n * k * d <= 5e7:  # it holds as many numbers several times
            entries["gmmx"] = ("gmmx", "iterations", spec)
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


def family(name: str, n: int, d: int, k: int, levels: int = 0) -> Cell:
    """A mixture of another family: products of its statistics with the members' parameters and responsibilities.

    Of categories a row has one of `levels` statistics in each column. Mixed columns are normal and counts, half each.
    """
    flops = {
        "student_t": 2 * n * k * (d + 1) * (d + 2),
        "mixed": n * k * (d / 2 + 1) * (d / 2 + 2) + 2 * n * k * d,
    }.get(name, 4 * n * k * d)
    spec = {"n": n, "d": d, "k": k, "family": name, **_steps(3 * flops, n * k)}
    spec |= {"tails": 5} if name == "student_t" else {"levels": levels} if levels else {}
    what = f"{name.replace('_', ' ')}, n={n:,}, d={d}, k={k}" + (f", {levels} levels" if levels else "")
    return Cell(what, {"jaxem": ("jaxem", "mixture", spec)}, flops, n * d)


def factors(n: int, d: int, q: int, k: int = 1) -> Cell:
    """Factor analysis, or a mixture of it: the factors of every row, and what is added up of them."""
    flops = 8 * n * k * d * q + 4 * n * k * d
    spec = {"n": n, "d": d, "factors": q, "missing": 0.0, "k": k, **_steps(3 * flops)}
    entries = {"jaxem": ("jaxem", "factors", spec)}
    if k == 1:
        entries["scikit-learn"] = ("scikit_learn", "factors", {**spec, "added": min(spec["added"], 5)})
    what = f"{q} factors, n={n:,}, d={d}" + (f", k={k}" if k > 1 else "")
    return Cell(what, entries, flops, n * d)


def states(n: int, length: int, q: int, d: int) -> Cell:
    """A linear Gaussian state space: the filter's and the smoother's products of small matrices at every step."""
    flops = n * length * (12 * q**3 + 4 * q**2 * d + 4 * q * d**2 + d**3)
    spec = {"n": n, "length": length, "d": d, "k": q, **_steps(10 * flops)}
    entries = {"jaxem": ("jaxem", "states", spec), "dynamax": ("dynamax", "states", spec)}
    return Cell(f"state space, {n} x {length:,}, {q} states, d={d}", entries, flops, n * length * (d + q * q))


def groups(quick: bool) -> dict[str, list[Cell]]:
    """The cells by kind of model."""
    if quick:
        return {
            "gaussian": [gaussian(c, 272, 2, 2) for c in COVARIANCES] + [gaussian("full", 300, 16, 2, starts=2)],
            "kmeans": [kmeans(300, 2, 8)],
            "chains": [chain(2, 50, 2)],
            "missing": [missing(200, 3, 2, 0.1, 4)],
            "families": [family("poisson", 200, 3, 2), family("categorical", 200, 3, 2, levels=3)],
            "factors": [factors(200, 5, 2), factors(200, 5, 2, k=2)],
            "states": [states(2, 30, 2, 2)],
        }
    mixtures = [
        gaussian(c, n, d, k)
        for c, d, k in itertools.product(COVARIANCES, (2, 8, 16, 32, 64, 128, 256), (2, 8, 32, 128))
        for n in (272, _rows(c, d, k))
        if n >= k * max(32, 2 * d if c == "full" else 0) and gaussian(c, n, d, k).flops <= 1e11
    ]
    # What tells most comes first, for runs that end by the clock.
    mixtures.sort(key=lambda cell: (cell.sizes["n"] == 272, cell.sizes["k"] == 128, cell.sizes["d"] in (2, 8)))
    mixtures.append(gaussian("full", 1_000_000, 2, 2))
    many = [gaussian("full", min(_rows("full", d, k), 50_000), d, k, starts=16) for d in (2, 16, 64) for k in (2, 16)]
    return {
        "gaussian": mixtures + many,
        "kmeans": [kmeans(100_000, d, k) for d in (2, 16, 128) for k in (8, 64, 1000)]
        + [kmeans(20_000, 16, 64, starts=16)],
        "chains": [chain(n, t, k) for n, t in ((1, 100_000), (100, 500), (10_000, 20)) for k in (2, 5, 20, 50)],
        "missing": [missing(20_000, d, 4, s, p) for d in (8, 16) for s in (0.1, 0.4) for p in (50, None)],
        "families": [family("student_t", n, d, 8) for n, d in ((200_000, 8), (50_000, 32))]
        + [family("poisson", 100_000, d, 8) for d in (2, 20)]
        + [family("categorical", 50_000, 20, 8, levels=5), family("categorical", 5_000, 1_000, 8, levels=2)]
        + [family("bernoulli", 5_000, 1_000, 8), family("mixed", 100_000, 8, 8)],
        "factors": [factors(n, d, 5) for n, d in ((100_000, 20), (20_000, 100), (5_000, 500))]
        + [factors(20_000, 50, 3, k=8)],
        "states": [states(n, t, q, q) for n, t in ((1, 10_000), (100, 200)) for q in (4, 20)],
    }


def _rows(covariance: str, d: int, k: int) -> int:
    """As many rows as an iteration of two GFLOP or a table of 2^23 numbers has, 200,000 at most.

    An exponential counts as much as a thousand operations, which it takes where it is not vectorised.

    No fewer than a member's covariance needs: a run that ends at a singular one is over before it is timed.
    """
    each = gaussian(covariance, 1000, d, k).flops / 1000
    rows = min(2e9 / (each + 1000 * k), 2**23 / d, 2e5)
    size = 10 ** (len(str(int(rows))) - 1)
    return max(int(rows) // size * size, k * max(40, 5 * d if covariance == "full" else 0))
