"""hmmlearn's GaussianHMM."""

import time
from itertools import product

import numpy as np
from hmmlearn.hmm import GaussianHMM
from threadpoolctl import threadpool_limits

from benchmarks import _chains
from benchmarks.contenders._timed import Timed, lists


class HiddenMarkov(Timed):
    """The faster of its two implementations of the forward and backward passes, with the threads that NumPy takes or
    with one, which is faster for small products; no prior, no early stop."""

    def __init__(self, spec: dict):
        self.spec = spec
        x = _chains.sequences(spec["n"], spec["length"], spec["d"], spec["k"], spec["dtype"])
        self.x, self.lengths = x.reshape(-1, spec["d"]), [spec["length"]] * spec["n"]
        self.start = _chains.start(x, spec["k"])
        seconds = {}
        for self.way in product(("log", "scaling"), (None, 1)):
            self.run(1)
            seconds[self.way] = min(self.run(2) for _ in range(3))
        self.way = min(seconds, key=seconds.__getitem__)
        self.run(spec["check"])
        found = self.found
        self.info = {
            "note": f"implementation={self.way[0]!r}, {'one thread' if self.way[1] else 'threads'} for matrix products",
            "found": lists(
                initial=found.startprob_, transition=found.transmat_, means=found.means_, covariances=found.covars_
            ),
        }

    def run(self, steps: int) -> float:
        implementation, threads = self.way
        model = GaussianHMM(
            self.spec["k"],
            "full",
            covars_prior=0.0,
            covars_weight=0.0,
            n_iter=steps,
            tol=-np.inf,
            init_params="",
            implementation=implementation,
        )
        model.startprob_, model.transmat_, model.means_, model.covars_ = self.start
        with threadpool_limits(threads):
            began = time.perf_counter()
            self.found = model.fit(self.x, self.lengths)
            elapsed = time.perf_counter() - began
        if model.monitor_.iter != steps or model.means_.dtype != self.spec["dtype"]:
            raise RuntimeError(f"asked for {steps} iterations in {self.spec['dtype']}, got {model.monitor_.iter}")
        return elapsed


TASKS = {"chains": HiddenMarkov}
