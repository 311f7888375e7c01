"""Peak memory of a fit of a large table."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import _harness
from benchmarks._report import Section

NAME = "memory"
ALLOWANCE = 600  # MB beyond the data
MAPPED = "jaxem, file memory-mapped"


def save(path: Path, n: int, d: int, k: int) -> None:
    """Write overlapping clusters block by block, so that this process stays small."""
    rng = np.random.default_rng(3)
    means = rng.standard_normal((k, d))
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for first in range(0, n, 100_000):
        block = array[first : first + 100_000]
        block[:] = means[rng.integers(k, size=len(block))] + rng.standard_normal(block.shape)
    array.flush()


def run(quick: bool, repetitions: int) -> Section:
    n, d, k = (20_000, 4, 3) if quick else (4_000_000, 8, 32)
    data = n * d * 4 / 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.npy"
        save(path, n, d, k)
        spec = {"path": str(path), "k": k, "max_steps": 3, "dtype": "float32"}
        entries = {
            "jaxem": ("jaxem", "memory", spec),
            MAPPED: ("jaxem", "memory", {**spec, "mmap_mode": "r"}),
            "scikit-learn": ("scikit_learn", "memory", {**spec, "max_steps": 1}),
        }
        results, missing = _harness.fresh(entries, 1)
    rows = []
    for label, (result,) in results.items():
        device = f"{result['device']:.0f}" if "device" in result else "-"
        memory = [result["before"], result["loaded"], result["peak"], result["peak"] - result["before"]]
        rows.append([label, *(f"{value:.0f}" for value in memory), device, f"{result['seconds']:.1f}"])
    claims = []
    for label in ("jaxem", MAPPED):
        ours = results[label][0]
        claims.append((f"{label}: peak of the whole process, MB", ours["peak"], "<=", data + ALLOWANCE))
        claims.append((f"{label}: peak above imports, MB", ours["peak"] - ours["before"], "<=", data + ALLOWANCE))
    return Section(
        NAME,
        "Peak memory",
        f"Full covariances, n={n:,}, d={d}, k={k}, float32: data of {data:.0f} MB; {spec['max_steps']} iterations "
        "from a start drawn from the data (scikit-learn: one, from random rows). Resident memory of the process in MB. "
        "An array that NumPy has read is held twice, since it need not be aligned as JAX wants it; a mapped one once.",
        ["contender", "after imports", "with data", "peak", "peak - imports", "device peak", "fit, s"],
        rows,
        claims,
        [f"- not installed: {name}." for name in missing],
    )
