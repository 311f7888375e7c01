"""Exact passes over files: ``python -m benchmarks.files [--rows N] [--repetitions N] [--quick] [--write]``.

A pass of `jaxem.fit_stream(algorithm=jaxem.em())` beside a bare read of the same file by the same batches, and an
iteration of `jaxem.fit` on the same rows in memory; and the peak memory of processes that read files of other lengths.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _harness, _memory, _report

COLUMNS, BATCH, STEPS = 16, 65_536, 8
MEMBERS = (2, 16)
FORMATS = {"npy": "`.npy`, mapped", "parquet": "Parquet", "csv": "CSV"}


def make(folder: Path, rows: int, kinds: list[str]) -> None:
    """The same table in several formats: float32, of overlapping clusters."""
    import numpy as np
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((16, COLUMNS))
    x = (centres[rng.integers(0, 16, rows)] + rng.standard_normal((rows, COLUMNS))).astype(np.float32)
    table = pyarrow.table({f"x{j}": x[:, j] for j in range(COLUMNS)})
    if "npy" in kinds:
        np.save(folder / "rows.npy", x)
    if "parquet" in kinds:
        pyarrow.parquet.write_table(table, folder / "rows.parquet", row_group_size=2 * BATCH)
    if "csv" in kinds:
        pyarrow.csv.write_csv(table, folder / "rows.csv")


def timed(path: Path, members: int, repetitions: int) -> dict[str, float]:
    """Medians of seconds: of a bare read, of a pass, and of an iteration in memory, which take turns."""
    import jax
    import numpy as np

    import jaxem

    model, key, stream = jaxem.GaussianMixture(members), jax.random.key(0), jaxem.batches(path, BATCH)
    x = np.concatenate([batch for batch, _ in stream]).astype(np.float32)
    start = jaxem.fit(model, x[:BATCH], key=key, max_steps=2).params
    options = {"key": key, "init": start, "termination": jaxem.termination.FixedSteps()}

    def seconds(call) -> float:
        began = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - began

    def each(call) -> float:
        """Of one iteration: by two runs of different lengths, so that all else cancels."""
        return (seconds(lambda: call(2 + STEPS)) - seconds(lambda: call(2))) / STEPS

    def streamed(steps):
        return jaxem.fit_stream(model, stream, algorithm=jaxem.em(), max_steps=steps, **options).params

    def whole(steps):
        return jaxem.fit(model, x, max_steps=steps, **options).params

    def bare():
        for _ in stream:
            pass
        return ()

    streamed(1), whole(1)
    found = [(seconds(bare), each(streamed), each(whole)) for _ in range(repetitions)]
    return dict(zip(("bare", "pass", "memory"), map(statistics.median, zip(*found, strict=True)), strict=True))


def peak(path: Path) -> dict[str, float]:
    """Resident memory, in MB, of this process after the imports and at its highest in a fit of three passes."""
    import jax

    import jaxem

    before = _memory.resident()
    stream, options = jaxem.batches(path, BATCH), {"algorithm": jaxem.em(), "max_steps": 2, "throw": False}
    jaxem.fit_stream(jaxem.GaussianMixture(16), stream, key=jax.random.key(0), **options)
    return {"imports": before, "peak": _memory.peak()}


def ask(task: str, path: Path, *arguments: int) -> dict[str, float]:
    """What a fresh process finds, in float32."""
    command = [sys.executable, "-m", "benchmarks.files", "--worker", json.dumps([task, str(path), *arguments])]
    env = {**_harness.environment("float32"), "JAXEM_CACHE": "off"}
    done = subprocess.run(command, env=env, cwd=_harness.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[-1]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def passes(rows: int, repetitions: int) -> _report.Section:
    lines = []
    with tempfile.TemporaryDirectory() as place:
        make(Path(place), rows, list(FORMATS))
        for kind, label in FORMATS.items():
            path = Path(place, f"rows.{kind}")
            size = path.stat().st_size / 1e6
            for members in MEMBERS[: 1 if kind == "csv" else None]:  # text takes minutes, whatever is made of it
                found = ask("timed", path, members, repetitions)
                rates = [f"{size / found[name]:.0f}" for name in ("bare", "pass")]
                more = f"{found['pass'] / max(found['bare'], found['memory']):.2f}"
                cells = [f"{1000 * found[name]:.0f}" for name in ("bare", "pass", "memory")]
                lines.append([f"{label}, k={members}", f"{size:.0f}", *cells, *rates, more])
                print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    return _report.Section(
        "files",
        "Exact passes over files",
        f"Full covariances, n={rows:,}, d={COLUMNS}, float32 (text in CSV), batches of {BATCH:,} rows, files in the "
        f"system's cache. Medians of {repetitions}, in milliseconds; MB are those of the file. The last column is a "
        "pass beside the longer of a bare read and an iteration in memory, which is what reading beside computing "
        "could come to at best.",
        ["file", "MB", "bare read", "pass", "iteration in memory", "MB/s, bare", "MB/s, pass", "pass / the longer"],
        lines,
    )


def memory(rows: int) -> _report.Section:
    lines = []
    for kind in ("npy", "parquet"):
        for n in (rows // 4, rows):
            with tempfile.TemporaryDirectory() as place:
                make(Path(place), n, [kind])
                path = Path(place, f"rows.{kind}")
                found = ask("peak", path)
                size = path.stat().st_size / 1e6
            lines.append(
                [f"{FORMATS[kind]}, n={n:,}", f"{size:.0f}", f"{found['imports']:.0f}", f"{found['peak']:.0f}"]
            )
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    return _report.Section(
        "files-memory",
        "Memory of exact passes",
        f"Resident memory of a fresh process in MB: a mixture of 16, batches of {BATCH:,} rows, start drawn. Pages of "
        "a mapped file count as long as the system keeps them, though they are its own to drop.",
        ["file", "MB", "after imports", "peak"],
        lines,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        task, path, *given = json.loads(options.worker)
        print(json.dumps((timed if task == "timed" else peak)(Path(path), *given)))
        return 0
    rows, repetitions = (4 * BATCH, 1) if options.quick else (options.rows, options.repetitions)
    backend, kinds = _report.devices()
    origin = _report.provenance(f"python -m benchmarks.files --rows {rows}", backend, kinds)
    for section in (passes(rows, repetitions), memory(rows)):
        print(f"{section.markdown()}\n\n{origin}\n", flush=True)
        if options.write and not options.quick:
            _report.write(backend, section.name, f"{section.markdown()}\n\n{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
