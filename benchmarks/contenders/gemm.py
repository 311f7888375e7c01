"""The two bare matrix products of an EM iteration, through JAX: nothing else, everything given."""

import time
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _data


def statistics(x: np.ndarray) -> np.ndarray:
    """1, x and the upper triangle of x x', [n, 1 + d + d (d + 1) / 2]."""
    rows, columns = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones_like(x[:, :1]), x, x[:, rows] * x[:, columns]], axis=1)


class Iterations:
    """potentials = T(x) @ eta' and responsibilities' @ T(x), in the fastest of the four layouts."""

    def __init__(self, spec: dict):
        self.spec = spec
        x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        rng = np.random.default_rng(2)
        rows = spec["k"] * spec["starts"]
        t = statistics(x)
        given = {
            "t": t,
            "eta": rng.standard_normal((rows, t.shape[1])).astype(x.dtype),
            "responsibilities": rng.random((len(x), rows), dtype=x.dtype),
        }
        timed = {}
        for layout in product(("rows", "columns"), repeat=2):
            program, arguments = self.build(*layout, **given)
            timed[layout] = min(self.calls(program, arguments, 1) for _ in range(3))
        best = min(timed, key=timed.__getitem__)
        self.program, self.arguments = self.build(*best, **given)
        flops = 4 * rows * t.size
        self.info = {"note": f"T(x) in {best[0]}, potentials in {best[1]}", "flops": flops}

    def build(self, of_t, of_latent, t, eta, responsibilities):
        """A compiled pair of products. Both arrays are stored so that the layout's name says what is contiguous."""
        over_n, over_t = (0, 1) if of_t == "rows" else (1, 0)
        t = t if of_t == "rows" else t.T
        responsibilities = responsibilities if of_latent == "rows" else responsibilities.T
        rows_first = of_latent == "rows"

        def dot(a, b, axis_a, axis_b):
            axes = (((axis_a,), (axis_b,)), ((), ()))
            return jax.lax.dot_general(a, b, axes, precision=jax.lax.Precision.HIGHEST)

        @jax.jit
        def program(t, eta, r):
            potentials = dot(t, eta, over_t, 1) if rows_first else dot(eta, t, 1, over_t)
            return potentials, dot(r, t, 0 if rows_first else 1, over_n)

        arguments = [jnp.asarray(np.ascontiguousarray(a)) for a in (t, eta, responsibilities)]
        jax.block_until_ready(program(*arguments))
        return program, arguments

    def calls(self, program, arguments, count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(program(*arguments))
        return (time.perf_counter() - began) / count

    def repetition(self) -> dict:
        return {"seconds": self.calls(self.program, self.arguments, self.spec["added"])}


TASKS = {"iterations": Iterations}
