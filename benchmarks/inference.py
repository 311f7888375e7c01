"""Inference beside its peers: ``python -m benchmarks.inference [--quick] [--only NAME ...] [--write]``.

Standard errors beside the fit itself, a bootstrap beside a loop over scikit-learn, a test of the number of latent
classes beside StepMix's, a sweep of numbers of components beside the largest alone. Every measurement is that of a
fresh process. Needs the `bench` extra, and StepMix, here or by `--python stepmix=PATH`. Three repetitions are enough:
all of it takes minutes each time.
"""

import sys

from benchmarks import _command
from benchmarks.scenarios.inference import INFERENCE


def main(arguments: list[str] | None = None) -> int:
    return _command.main("benchmarks.inference", __doc__.splitlines()[0], "Inference", INFERENCE, arguments)


if __name__ == "__main__":
    sys.exit(main())
