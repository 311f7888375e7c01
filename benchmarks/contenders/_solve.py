"""`jaxem.solve`, or `jaxem.fit`, timed by the iteration."""

import time
from typing import Any

import jax

import jaxem
from benchmarks.contenders._timed import Timed, lists


class Solve(Timed):
    """`solve`, compiled once; `problem` says what of. Several starts run side by side by `vmap`.

    With `sees_rows` it is `fit`, which looks for patterns of missing entries before anything is compiled.
    """

    algorithm: jaxem.Algorithm | None = None

    @property
    def sees_rows(self) -> bool:
        return False

    def problem(self) -> tuple[Any, Any, Any]:
        """The model, its start and the data."""
        raise NotImplementedError

    def parameters(self, params: Any) -> dict[str, Any]:
        """What the yardstick of the scenario takes."""
        raise NotImplementedError

    def __init__(self, spec: dict):
        self.spec = spec
        model, self.start, self.x = self.problem()

        rules = {"algorithm": self.algorithm, "termination": jaxem.termination.FixedSteps()}

        def run(params, x, steps):
            if self.sees_rows:
                fit = jaxem.fit(model, x, key=jax.random.key(0), init=params, max_steps=steps, **rules)
            else:
                fit = jaxem.solve(model, params, x, max_steps=steps, **rules)
            return (fit.params if fit.posterior is None else fit.posterior), fit.log_likelihood, fit.num_steps

        one = spec.get("starts", 1) == 1
        self.program = run if self.sees_rows else jax.jit(run if one else jax.vmap(run, in_axes=(0, None, None)))
        self.run(1)
        if "check" in spec:
            self.run(spec["check"])
            self.info = {"found": lists(**self.parameters(self.found))}

    def run(self, steps: int) -> float:
        began = time.perf_counter()
        self.found, value, num_steps = jax.block_until_ready(self.program(self.start, self.x, steps))
        elapsed = time.perf_counter() - began
        if not (num_steps == steps).all() or value.dtype != self.spec["dtype"]:
            raise RuntimeError(f"asked for {steps} iterations in {self.spec['dtype']}, got {num_steps}, {value.dtype}")
        return elapsed
