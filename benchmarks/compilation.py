"""What a first fit compiles: ``python -m benchmarks.compilation [--write] [--lower]``.

Counts, no times: two runs with the same JAX print the same. `--write` puts the tables into benchmarks/README.md;
`--lower` brings the bounds in benchmarks/compilation.json, which a test holds, down to what has fallen.
"""

import argparse
import json
import sys

import jax

from benchmarks import _counts, _report
from benchmarks._report import Section


def fits(groups: dict[str, dict[str, int]]) -> Section:
    names = list(dict.fromkeys(what for found in groups.values() for what in found))
    equations = [what for what in names if what not in ("programs", "operations")]
    rows = [
        [
            group,
            *[str(found.get(what, "-")) for what in equations],
            str(sum(found.get(what, 0) for what in equations)),
            str(found["programs"]),
            str(found["operations"]),
        ]
        for group, found in groups.items()
    ]
    text = (
        f"jaxem.fit from {_counts.STARTS} starts in {_counts.STARTS // 2} lanes, {_counts.ROWS} rows, float64. "
        "Equations of the jaxpr of each program, with all that is nested in it; then how many programs were compiled, "
        "and how many operations outside of them."
    )
    return Section(
        "compilation-fit",
        "What a first fit compiles",
        text,
        ["model", *equations, "equations in all", "programs", "operations"],
        rows,
    )


def solves(found: dict[str, dict[str, int]]) -> Section:
    plain = found["plain EM"]
    rows = [
        [
            name if name == "plain EM" else f'kernel="{name}"',
            *[f"{count} ({count / plain[what]:.1f})" for what, count in counts.items()],
        ]
        for name, counts in found.items()
    ]
    text = (
        f"jax.jit(jaxem.solve) of a diagonal Gaussian mixture of {_counts.COMPONENTS} components in 2 dimensions, "
        "float64, beside EM for the same written by hand (`_plain_em.py`). HLO before optimization. In brackets: "
        "times plain EM."
    )
    return Section("compilation-solve", "What one run compiles", text, ["", *plain], rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compilation", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    parser.add_argument("--lower", action="store_true", help="update benchmarks/compilation.json with what has fallen")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)

    given = sys.argv[1:] if arguments is None else arguments
    backend, kinds = _report.devices()
    origin = _report.provenance(" ".join(["python -m benchmarks.compilation", *given]), backend, kinds)
    print(f"## Compilation on {backend}\n\n{origin}\n", flush=True)
    groups = {name: _counts.measured(name) for name in _counts.MODELS}
    single = _counts.solves()
    for section in (fits(groups), solves(single)):
        print(section.markdown() + "\n", flush=True)
        if options.write:
            _report.write(backend, section.name, f"{section.markdown()}\n\n{origin}")
    groups[_counts.SOLVE] = {name: counts["equations"] for name, counts in single.items()}
    bounds = _counts.read_bounds()
    if options.lower:
        _counts.BOUNDS.write_text(json.dumps(_counts.lowered(groups, bounds), indent=2) + "\n")
    for group, found in groups.items():
        for line in _counts.grown(group, found, bounds if bounds else _counts.read_bounds()):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
