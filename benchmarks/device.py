"""The device at hand, in some minutes: ``python -m benchmarks.device [--quick] [--write] [--seconds S]``.

First whether its answers are right, in both precisions: far data in single precision, published maxima, a sample of
models. Then how fast: large mixtures, many small fits, chains, k-means, each beside the limits of the device, which are
measured in the same run. Needs no network; rows are drawn on the device. Once the seconds are over nothing new is
begun, and what is left out is named.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from benchmarks import _report
from jaxem.kernels import linalg
from tests.helpers import product
from tests.helpers.published import MAXIMA

# Milliseconds that an H100 is asked for, and seconds for the small fits.
TARGETS = {"full": 14.0, "spherical": 15.0, "small fits": 1.0, "short chains": 0.5, "long chains": 2.0}
SAMPLE = ("full", "poisson", "chain", "Student t", "factors", "missing")
PUBLISHED = ("faithful-full-2", "faithful-tied-3", "galaxies-full-3", "london-times-2")


class Speed(NamedTuple):
    """A model, its start and rows on the device, and what an iteration has to compute and to read."""

    model: Any
    start: Any
    x: Any
    flops: float
    numbers: float
    algorithm: Any = None
    added: int = 20  # iterations


def rows(n: int, d: int, clusters: int) -> jax.Array:
    """Overlapping clusters, drawn on the device."""
    keys = jax.random.split(jax.random.key(0), 3)
    centres = 2 * jax.random.normal(keys[0], (clusters, d))

    @jax.jit
    def draw():
        return centres[jax.random.randint(keys[1], (n,), 0, clusters)] + jax.random.normal(keys[2], (n, d))

    return draw()


def mixture(covariance: str, n: int, d: int, k: int) -> Speed:
    x = rows(n, d, k)
    shape = {"full": (k, d, d), "spherical": (k,)}[covariance]
    scale = jnp.broadcast_to(2 * jnp.eye(d, dtype=x.dtype) if covariance == "full" else jnp.asarray(2, x.dtype), shape)
    params = jaxem.families.GaussianParams(x[:k], scale)
    start = jaxem.models.MixtureParams(jnp.full(k, 1 / k, x.dtype), params)
    flops = {"full": 2 * n * k * (d + 1) * (d + 2), "spherical": 8 * n * k * d}[covariance]
    return Speed(jaxem.GaussianMixture(k, covariance), start, x, flops, n * d)


def chains(n: int, length: int, k: int, d: int = 2) -> Speed:
    x = rows(n * length, d, k).reshape(n, length, d)
    weights = jnp.full(k, 1 / k, x.dtype)
    params = jaxem.families.GaussianParams(x[0, :k], jnp.broadcast_to(2 * jnp.eye(d, dtype=x.dtype), (k, d, d)))
    transition = 0.5 * jnp.eye(k, dtype=x.dtype) + 0.5 / k
    start = jaxem.models.HMMParams(weights, transition, params)
    flops = 2 * n * length * k * (d + 1) * (d + 2) + 6 * n * length * k * k
    return Speed(jaxem.HMM(jaxem.Gaussian(), k), start, x, flops, n * length * (d + k))


def kmeans(n: int, d: int, k: int) -> Speed:
    found = mixture("spherical", n, d, k)
    model = jaxem.GaussianMixture(k, "spherical", frozen=("weights", "components.covariance"))
    return found._replace(model=model, algorithm=jaxem.hard_em(), flops=2 * n * k * d + n * d, added=8)


def seconds_of(speed: Speed) -> float:
    """Of an iteration: two runs of other lengths, so that what is done once cancels; the least of three."""

    def run(params, x, steps):
        options = {"algorithm": speed.algorithm, "termination": jaxem.termination.FixedSteps(), "kernel": "fast"}
        fit = jaxem.solve(speed.model, params, x, max_steps=steps, history_size=1, **options)
        return fit.params, fit.num_steps

    program = jax.jit(run)

    def timed(steps: int) -> float:
        began = time.perf_counter()
        _, done = jax.block_until_ready(program(speed.start, speed.x, steps))
        if int(done) != steps:
            raise RuntimeError(f"asked for {steps} iterations, got {int(done)}")
        return time.perf_counter() - began

    timed(1)
    few = 2
    return max(min((timed(few + speed.added) - timed(few)) / speed.added for _ in range(3)), 1e-9)


def limits(size: int, numbers: int) -> tuple[float, float]:
    """Operations and bytes a second, in single precision."""
    a, x = jnp.ones((size, size), jnp.float32), jnp.ones(numbers, jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST))
    reading = jax.jit(jnp.sum)

    def least(call: Callable[[], Any]) -> float:
        found = []
        for _ in range(6):
            began = time.perf_counter()
            jax.block_until_ready(call())
            found.append(time.perf_counter() - began)
        return min(found[1:])

    return 2 * size**3 / least(lambda: product(a)), 4 * numbers / least(lambda: reading(x))


def far(ratio: float) -> tuple[float, float]:
    """The error of covariances in single precision, of two clusters so many widths from the origin."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3)) + 40 * (np.arange(4000) % 2)[:, None]
    x = (x + ratio).astype(np.float32)
    fit = jaxem.fit(jaxem.GaussianMixture(2), x, key=jax.random.key(0), restarts=4)
    order = np.argsort(np.asarray(fit.params.components.mean)[:, 0])
    found = np.asarray(fit.params.components.covariance, float)[order]
    exact = np.stack([np.cov(x[i::2].astype(float).T, bias=True) for i in range(2)])
    return float(np.abs(found - exact).max() / np.abs(exact).max()), 1e-3


def published(name: str) -> tuple[float, float]:
    """The distance from a published maximum of the likelihood, in nats."""
    case = next(case for case in MAXIMA if case.name == name)
    problem = case.problem()
    model = jaxem.GaussianMixture(len(problem.start.weights), problem.family.covariance)
    given = {} if problem.weights is None else {"weights": problem.weights}
    fit = jaxem.fit(model, problem.x, key=jax.random.key(0), restarts=64, tol=1e-10, max_steps=20_000, **given)
    return abs(float(fit.log_likelihood) - case.log_likelihood), max(1e-6, case.accuracy)


def alike(name: str) -> tuple[float, float]:
    """How far the objective of a model in single precision is from that in double precision, a unit of weight."""
    options = {"termination": jaxem.termination.FixedSteps(), "max_steps": 20}
    with jax.enable_x64(True):
        cell = product.models()[name]
        wide = jaxem.solve(cell.model, cell.start, cell.x, weights=cell.weights, **options)
        objective, total = float(wide.objective), float(np.sum(np.asarray(cell.weights)))
        trees = jax.tree.map(np.asarray, (cell.start, cell.x, cell.weights))

    def single(leaf: Any) -> Any:
        return leaf.astype(np.float32) if leaf.dtype.kind == "f" else leaf

    with jax.enable_x64(False):
        start, x, weights = jax.tree.map(single, trees)
        narrow = jaxem.solve(cell.model, start, x, weights=weights, **options)
        return abs(float(narrow.objective) - objective) / total, 1e-3


def checks(quick: bool) -> dict[str, Callable[[], tuple[float, float]]]:
    """What is checked, and the error with its bound."""
    ratios, names, models = ((1e3,), PUBLISHED[:1], SAMPLE[:1]) if quick else ((10.0, 1e3, 1e4), PUBLISHED, SAMPLE)

    def in_precision(wide: bool, check: Callable, argument: Any) -> Callable[[], tuple[float, float]]:
        def call() -> tuple[float, float]:
            with jax.enable_x64(wide):
                return check(argument)

        return call

    single = {f"float32, {r:g} widths away: error of covariances": in_precision(False, far, r) for r in ratios}
    double = {
        f"float64, {name}: nats from the published maximum": in_precision(True, published, name) for name in names
    }
    both = {f"{name}: objective in float32 beside float64, a row": partial(alike, name) for name in models}
    return {**single, **double, **both}


def speeds(quick: bool) -> dict[str, tuple[str, Callable[[], Speed]]]:
    """What is timed: its size, and how it is made."""
    sizes = {
        "full": ((2_000_000, 64, 32), (2000, 8, 4)),
        "spherical": ((1_000_000, 128, 1024), (2000, 8, 16)),
        "short chains": ((100, 500, 5), (10, 50, 3)),
        "long chains": ((10, 5000, 5), (2, 200, 3)),
        "k-means": ((4_000_000, 128, 1000), (2000, 8, 16)),
    }
    makers = {
        "full": lambda *size: mixture("full", *size),
        "spherical": lambda *size: mixture("spherical", *size),
        "short chains": chains,
        "long chains": chains,
        "k-means": kmeans,
    }
    found = {}
    for name, both in sizes.items():
        size = both[1] if quick else both[0]
        found[name] = (f"{name}, {' x '.join(f'{each:,}' for each in size)}", lambda n=name, s=size: makers[n](*s))
    return found


def small_fits(count: int) -> float:
    """Seconds of so many fits of 200 x 2 rows, three components each; the second call."""
    x = np.asarray(rows(count * 200, 2, 3)).reshape(count, 200, 2)
    found = []
    for seed in range(2):
        began = time.perf_counter()
        fits = jaxem.fit_many(jaxem.GaussianMixture(3), x, key=jax.random.key(seed))
        jax.block_until_ready(fits.params)
        found.append(time.perf_counter() - began)
    return found[-1]


class Report:
    """The table and the claims so far, and what was left out once the seconds were over."""

    def __init__(self, seconds: float, asked: bool):
        self.until, self.asked = time.perf_counter() + seconds, asked
        self.rows: list[list[str]] = []
        self.times: list[tuple[str, float, str, float]] = []
        self.errors: list[tuple[str, float, str, float]] = []
        self.skipped: list[str] = []

    def late(self, what: str) -> bool:
        over = time.perf_counter() > self.until
        if over:
            self.skipped.append(what)
        return over

    def time(self, name: str, row: list[str], value: float) -> None:
        self.rows.append(row)
        print(*row, sep=" | ", flush=True)
        if self.asked and name in TARGETS:
            self.times.append((row[0], value, "<=", TARGETS[name]))

    def error(self, what: str, value: float, bound: float) -> None:
        self.errors.append((what, value, "<=", bound))
        print(f"{what}: {value:.3g} (at most {bound:g})", flush=True)


def time_all(report: Report, quick: bool, rate: float, reading: float) -> None:
    """An iteration of each model, in single precision, and many small fits."""
    for name, (label, make) in speeds(quick).items():
        if report.late(label):
            continue
        speed = make()
        speed = speed._replace(added=200) if quick else speed
        found, size = seconds_of(speed), 4 * speed.numbers
        share = max(speed.flops / rate, size / reading) / found
        numbers = [f"{1e3 * found:.3g} ms", f"{speed.flops / 1e9:.3g}", f"{size / 1e6:.3g}", f"{100 * share:.0f}%"]
        report.time(name, [label, *numbers], 1e3 * found)
    count = 32 if quick else 10_000
    if not report.late("small fits"):
        found = small_fits(count)
        report.time("small fits", [f"{count:,} fits of 200 x 2, k = 3", f"{found:.3g} s", "", "", ""], found)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    parser.add_argument("--precision", choices=linalg.PRESETS, help="of products in single precision; full by default")
    parser.add_argument("--seconds", type=float, default=330.0, help="after which nothing new is begun (default 330)")
    options = parser.parse_args(arguments)
    with jax.default_matmul_precision(options.precision):
        return measure(options, sys.argv[1:] if arguments is None else arguments)


def measure(options: argparse.Namespace, given: list[str]) -> int:
    """Whether the answers are right, and how fast; 1 if they are not."""
    began, device = time.perf_counter(), jax.devices()[0]
    kind = device.device_kind
    origin = _report.provenance(" ".join(["python -m benchmarks.device", *given]), device.platform, [kind])
    print(f"## {kind}\n\n{origin}\n", flush=True)
    report = Report(options.seconds, not options.quick and any(name in kind for name in ("H100", "H200")))
    for what, check in checks(options.quick).items():
        if not report.late(what):
            report.error(what, *check())
    with jax.enable_x64(False):
        rate, reading = limits(256, 2**18) if options.quick else limits(8192, 2**28)
        time_all(report, options.quick, rate, reading)
    preset = "" if options.precision is None else f", products of matrices by {options.precision}"
    text = (
        f"Single precision{preset}, an iteration of jaxem.solve. Limits: {rate / 1e12:.3g} TFLOP/s of a large product, "
        f"{reading / 1e9:.4g} GB/s of reading. {time.perf_counter() - began:.0f} s in all."
    )
    notes = [f"Left out for lack of time: {', '.join(report.skipped)}."] if report.skipped else []
    headers = ["model, size", "an iteration", "GFLOP", "MB", "of the limit"]
    claims = [*report.times, *report.errors]
    section = _report.Section("device", f"On {kind}", text, headers, report.rows, claims, notes)
    print(f"\n{section.markdown()}", flush=True)
    if options.write and not options.quick:
        _report.write(device.platform, section.name, f"{section.markdown()}\n\n{origin}")
    return int(not all(_report.met(*claim[1:]) for claim in report.errors))


if __name__ == "__main__":
    sys.exit(main())
