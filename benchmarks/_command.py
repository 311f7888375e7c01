"""What ``python -m benchmarks.mixtures`` and ``python -m benchmarks.models`` have in common."""

import argparse
import shutil
import sys
from collections.abc import Callable

from benchmarks import _harness, _report
from benchmarks._report import Section


def add_interpreters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--python",
        nargs="+",
        default=[],
        metavar="CONTENDER=PATH",
        help="the interpreter of a contender that has an environment of its own",
    )


def use_interpreters(parser: argparse.ArgumentParser, interpreters: list[str]) -> None:
    for given in interpreters:
        contender, _, path = given.partition("=")
        if not shutil.which(path):
            parser.error(f"--python takes CONTENDER=PATH of an interpreter, got {given}")
        _harness.INTERPRETERS[contender] = path


def shown(words: list[str], interpreters: list[str]) -> list[str]:
    """Arguments without the paths: where an interpreter lies on this machine is nobody else's business."""
    return [f"{word.partition('=')[0]}=PYTHON" if word in interpreters else word for word in words]


def main(
    module: str,
    description: str,
    title: str,
    scenarios: dict[str, Callable[[bool, int], Section]],
    arguments: list[str] | None = None,
) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=scenarios, metavar="NAME", help=f"of {', '.join(scenarios)}")
    parser.add_argument("--repetitions", type=int, help="of every contender (default 7; 2 with --quick)")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    add_interpreters(parser)
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--quick measures nothing worth writing down")
    repetitions = options.repetitions or (2 if options.quick else 7)
    if repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {repetitions}")
    use_interpreters(parser, options.python)
    given = sys.argv[1:] if arguments is None else arguments
    command = " ".join([f"python -m {module}", *shown(given, options.python)])
    backend, kinds = _report.devices()
    origin = _report.provenance(command, backend, kinds)
    print(f"## {title} on {backend}\n\n{origin}\n", flush=True)
    for name in options.only or scenarios:
        section = scenarios[name](options.quick, repetitions)
        if options.quick:
            section.claims = []  # they are about the full sizes
        print(section.markdown() + "\n", flush=True)
        if options.write:
            _report.write(backend, name, f"{section.markdown()}\n\n{origin}")
    return 0
