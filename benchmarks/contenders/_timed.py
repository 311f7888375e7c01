"""What contenders that are timed by the iteration have in common; needs NumPy alone."""

from pathlib import Path
from typing import Any

import numpy as np


class Timed:
    """Seconds per iteration (and start): two runs from the same start, one with more iterations.

    `run(steps)` makes exactly so many and returns its seconds.
    """

    spec: dict
    info: dict[str, Any]

    def run(self, steps: int) -> float:
        raise NotImplementedError

    def repetition(self) -> dict:
        few, added = self.spec["few"], self.spec["added"]
        return {"seconds": (self.run(few + added) - self.run(few)) / added / self.spec.get("starts", 1)}


class Passes(Timed):
    """The same for topics of documents, a pass over these being an iteration and each repetition another start.

    `restart(seed)` draws it, and `run` leaves the concentrations of the posterior in `topics`, which go to files.
    """

    topics: Any
    seed = 0

    def restart(self, seed: int) -> None:
        raise NotImplementedError

    def repetition(self) -> dict:
        few, added = self.spec["few"], self.spec["added"]
        self.restart(self.seed)
        seconds, files = [], []
        for passes in (few, few + added):
            seconds.append(self.run(passes))
            files.append(str(Path(self.spec["folder"]) / f"{self.spec['label']}-{self.seed}-{passes}.npy"))
            np.save(files[-1], self.topics)
        self.seed += 1
        return {"seconds": (seconds[1] - seconds[0]) / added, "topics": files}


def lists(**arrays: Any) -> dict[str, Any]:
    """Arrays as JSON holds them, to the last bit."""
    return {name: np.asarray(array, float).tolist() for name, array in arrays.items()}
