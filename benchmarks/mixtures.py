"""Mixtures beside their peers: ``python -m benchmarks.mixtures [--quick] [--only NAME ...] [--write]``.

Needs the `bench` extra. Every contender runs in a process of its own; repetitions of different contenders
alternate, so that a slow spell of the machine falls on all of them. Prints tables in Markdown; `--write` puts
them into benchmarks/README.md, in place of earlier ones from the same kind of device.
"""

import argparse
import sys

from benchmarks import _report
from benchmarks.scenarios import SCENARIOS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixtures", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--repetitions", type=int, help="of every contender (default 7; 2 with --quick)")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--quick measures nothing worth writing down")
    repetitions = options.repetitions or (2 if options.quick else 7)
    if repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {repetitions}")

    given = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python -m benchmarks.mixtures", *given])
    backend, kinds = _report.devices()
    origin = _report.provenance(command, backend, kinds)
    print(f"## Mixtures on {backend}\n\n{origin}\n", flush=True)
    for name in options.only or SCENARIOS:
        section = SCENARIOS[name](options.quick, repetitions)
        if options.quick:
            section.claims = []  # they are about the full sizes
        print(section.markdown() + "\n", flush=True)
        if options.write:
            _report.write(backend, name, f"{section.markdown()}\n\n{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
