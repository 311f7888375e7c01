"""StepMix's own bootstrap test of the number of latent classes."""

import time

from stepmix import StepMix
from stepmix.bootstrap import blrt

from benchmarks import _data


class Classes:
    """Seconds of a few samples more, and of the fits to the data: a test of one sample less that of a sample.

    A sample is fitted by both models, from as many starts.
    """

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.binary_items(spec["n"], spec["d"], spec["k"])

    def test(self, samples: int) -> float:
        spec = self.spec
        models = [
            StepMix(
                spec["k"] + more,
                measurement="binary",
                n_init=spec["restarts"],
                max_iter=2000,
                abs_tol=spec["tol"],
                progress_bar=0,
                random_state=0,
            )
            for more in (0, 1)
        ]
        began = time.perf_counter()
        blrt(*models, self.x, n_repetitions=samples, random_state=0)
        return time.perf_counter() - began

    def repetition(self) -> dict:
        few = self.spec["few"]
        first = self.test(1)
        each = (self.test(1 + few) - first) / few
        return {"seconds": first - each + self.spec["replicates"] * each, "each": each}


TASKS = {"classes": Classes}
