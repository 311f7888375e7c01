"""Mixtures beside their peers: ``python -m benchmarks.mixtures [--quick] [--only NAME ...] [--write]``.

Needs the `bench` extra. Every contender runs in a process of its own; repetitions of different contenders
alternate, so that a slow spell of the machine falls on all of them. Prints tables in Markdown; `--write` puts
them into benchmarks/README.md, in place of earlier ones from the same kind of device.
"""

import sys

from benchmarks import _command
from benchmarks.scenarios import SCENARIOS


def main(arguments: list[str] | None = None) -> int:
    return _command.main("benchmarks.mixtures", __doc__.splitlines()[0], "Mixtures", SCENARIOS, arguments)


if __name__ == "__main__":
    sys.exit(main())
