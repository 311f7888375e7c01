"""What an iteration moves between devices: ``python -m benchmarks.scaling [--quick] [--write]``.

Counts from programs that are compiled for many devices and not run: bytes that enter collective operations in an
iteration of EM, on each device, and the memory that each needs beside its rows.
"""

import argparse
import json
import os
import re
import subprocess
import sys

from benchmarks import _report

COLUMNS, MEMBERS = 16, 16
SIZES = {  # devices: numbers of rows
    1: (10**6, 10**9),
    8: (10**6, 10**9, 10**10),
    64: (10**6, 10**9, 10**11),
    1024: (1024 * 10**3, 1024 * 10**6, 10**12),
}
QUICK = {2: (10**4, 10**6)}
_BYTES = {"pred": 1, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8}
_KINDS = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"


def computations(text: str) -> dict[str, str]:
    """The computations of a compiled program, by name."""
    found = re.findall(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{$(.*?)^\}", text, re.M | re.S)
    return dict(found)


def called(parts: dict[str, str], name: str) -> set[str]:
    """A computation and all that it calls."""
    seen, left = set(), [name]
    while left:
        own = left.pop()
        if own in parts and own not in seen:
            seen.add(own)
            left += re.findall(r"(?:body|condition|calls|to_apply|computation)=%?([\w.\-]+)", parts[own])
            left += re.findall(
                r"%([\w.\-]+)", " ".join(re.findall(r"(?:branch_computations|calls)=\{(.*?)\}", parts[own]))
            )
    return seen


def moved(text: str) -> tuple[int, int, bool]:
    """Collective operations of an iteration, the bytes in them, and whether one is in a loop within the iteration."""
    parts = computations(text)
    bodies = {name: re.findall(r"body=%?([\w.\-]+)", part) for name, part in parts.items()}
    inside = {name: called(parts, name) for found in bodies.values() for name in found}
    outer = [name for name in inside if not any(name in other for key, other in inside.items() if key != name)]
    runs = [name for name in outer if any(re.search(rf" ({_KINDS})(-start)?\(", parts[own]) for own in inside[name])]
    nested = {
        own for name in runs for own in inside[name] for loop in bodies.get(own, []) for own in called(parts, loop)
    }
    count, size, again = 0, 0, False
    for name in runs:
        for own in inside[name]:
            for shape, _ in re.findall(rf"= (.*?) ({_KINDS})(?:-start)?\(", parts[own]):
                count += 1
                again = again or own in nested
                for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape):
                    numbers = 1
                    for each in filter(None, dims.split(",")):
                        numbers *= int(each)
                    size += numbers * _BYTES[kind]
    return count, size, again


def counted(rows: int) -> dict[str, int | bool]:
    """Of `jaxem.solve` under `jit` on as many rows, spread over all devices."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    import jaxem

    mesh = jax.make_mesh((jax.device_count(),), ("rows",))
    spread = NamedSharding(mesh, PartitionSpec("rows", None))
    x = jax.ShapeDtypeStruct((rows, COLUMNS), jnp.float32, sharding=spread)
    model = jaxem.GaussianMixture(MEMBERS)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1000, COLUMNS), jnp.float32))

    def run(params, x):
        return jaxem.solve(model, params, x, kernel="fast", history_size=1)

    compiled = jax.jit(run).lower(shapes, x).compile()
    operations, size, again = moved(compiled.as_text())
    memory = compiled.memory_analysis()
    return {"operations": operations, "bytes": size, "again": again, "memory": int(memory.temp_size_in_bytes)}


def measured(devices: int, rows: int) -> dict[str, int | bool]:
    """`counted`, in a process that has so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", "--count", str(rows)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAXEM_CACHE": "off", "JAX_ENABLE_X64": "0"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{devices} devices, {rows} rows: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def section(sizes: dict[int, tuple[int, ...]]) -> _report.Section:
    rows, several = [], []
    for devices, numbers in sizes.items():
        for n in numbers:
            found = measured(devices, n)
            read = n // devices * COLUMNS * 4
            rows.append(
                [
                    f"{devices} x {n:.3g} rows",
                    f"{read / 1e6:.3g} MB",
                    str(found["operations"]),
                    f"{found['bytes'] / 1e3:.3g} kB",
                    f"{found['memory'] / 1e6:.3g} MB",
                ]
            )
            print(rows[-1], flush=True)
            if devices > 1:
                several.append(found)
    sizes_moved = [found["bytes"] for found in several]
    claims = [
        ("bytes in collectives, the most over the least", max(sizes_moved) / min(sizes_moved), "<=", 1.0),
        ("cases in which something moves for each chunk", float(sum(found["again"] for found in several)), "<=", 0.0),
    ]
    text = (
        f"jaxem.solve under jit: a Gaussian mixture of {MEMBERS} full covariances, {COLUMNS} columns, float32, rows "
        "spread over devices. Per device and iteration: bytes of rows that are read, collective operations and the "
        "bytes in them (a ring moves at most twice as many), memory beside the rows. Compiled, not run."
    )
    headers = ["devices, rows", "rows read", "collectives", "in them", "memory"]
    return _report.Section("scaling", "What an iteration moves", text, headers, rows, claims)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two devices, to see that it runs")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.count:
        print(json.dumps(counted(options.count)))
        return 0
    given = sys.argv[1:] if arguments is None else arguments
    origin = _report.provenance(" ".join(["python -m benchmarks.scaling", *given]), "cpu", ["virtual devices"])
    found = section(QUICK if options.quick else SIZES)
    print(found.markdown(), flush=True)
    if options.write:
        _report.write("cpu", found.name, f"{found.markdown()}\n\n{origin}")
    return int(any(not _report.met(value, sign, bound) for _, value, sign, bound in found.claims))


if __name__ == "__main__":
    sys.exit(main())
