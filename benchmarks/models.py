"""Other models beside their peers: ``python -m benchmarks.models [--quick] [--only NAME ...] [--write]``.

Needs the `bench` extra, hmmlearn and dynamax; a contender that is not installed is left out, and the report says so.
`--python dynamax=PATH` runs a contender by the interpreter of another environment. The rest is as in
`benchmarks.mixtures`.
"""

import sys

from benchmarks import _command
from benchmarks.scenarios import MODELS


def main(arguments: list[str] | None = None) -> int:
    return _command.main("benchmarks.models", __doc__.splitlines()[0], "Models", MODELS, arguments)


if __name__ == "__main__":
    sys.exit(main())
