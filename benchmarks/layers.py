"""Forward and backward time and memory of a layer of soft clustering, against soft k-means that is unrolled by hand.

`python -m benchmarks.layers` prints a table: for each number of iterations the milliseconds of the value and of value
and gradient, and the megabytes that the program of the gradient takes beside its arguments and results.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxem.adjoint import OneStep
from jaxem.layers import Fitting, soft_clustering


def by_hand(x: Any, codes: Any, temperature: Any, steps: int, checkpoint: bool) -> tuple[Any, Any]:
    """Soft k-means as one writes it: a loop of so many steps, with the prior of the layer."""

    def shares(codes: Any) -> Any:
        squares = jnp.sum((x[:, None] - codes[None]) ** 2, -1)
        return jax.nn.softmax(-squares / (2 * temperature), 1)

    def step(now: Any, _: Any) -> tuple[Any, None]:
        r = shares(now)
        return (r.T @ x + codes) / (jnp.sum(r, 0)[:, None] + 1), None

    step = jax.checkpoint(step) if checkpoint else step
    found = jax.lax.scan(step, codes, length=steps)[0]
    return shares(found), found


def contenders(steps: int) -> dict[str, Callable]:
    """Functions of rows, codes and temperature, whose answers are responsibilities and codes."""

    def layer(fitting: Fitting) -> Callable:
        return lambda x, codes, t: soft_clustering(x, codes, temperature=t, fitting=fitting)[:2]

    return {
        "by hand": lambda x, codes, t: by_hand(x, codes, t, steps, False),
        "by hand, checkpoints": lambda x, codes, t: by_hand(x, codes, t, steps, True),
        "layer, unrolled": layer(Fitting(steps=steps)),
        "layer, one step": layer(Fitting(steps=steps, adjoint=OneStep())),
        "layer, implicit": layer(Fitting(max_steps=steps)),
    }


def milliseconds(program: Callable, *args: Any, repeats: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(program(*args))
        times.append(time.perf_counter() - begun)
    return 1000 * float(np.median(times))


def measure(steps: int, batch: int, n: int, k: int, d: int, repeats: int = 5) -> list[dict[str, Any]]:
    """A row for each contender."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((k, d))
    x = jnp.asarray(centres[rng.integers(k, size=(batch, n))] + rng.standard_normal((batch, n, d)), jnp.float32)
    codes, temperature = jnp.asarray(rng.standard_normal((k, d)), jnp.float32), jnp.float32(1.0)
    rows = []
    for name, run in contenders(steps).items():

        def value(x: Any, codes: Any, temperature: Any, run: Callable = run) -> Any:
            shares, found = jax.vmap(run, (0, None, None))(x, codes, temperature)
            return jnp.mean(shares[..., 0] ** 2) + jnp.mean(found**2)

        forward = jax.jit(value).lower(x, codes, temperature).compile()
        backward = jax.jit(jax.value_and_grad(value, (0, 1, 2))).lower(x, codes, temperature).compile()
        memory = backward.memory_analysis()
        rows.append(
            {
                "contender": name,
                "steps": steps,
                "forward_ms": milliseconds(forward, x, codes, temperature, repeats=repeats),
                "backward_ms": milliseconds(backward, x, codes, temperature, repeats=repeats),
                "megabytes": memory.temp_size_in_bytes / 1e6,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 50, 200], help="numbers of iterations")
    parser.add_argument("--shape", type=int, nargs=4, default=[32, 256, 8, 8], metavar=("BATCH", "N", "K", "D"))
    options = parser.parse_args()
    print(f"{'contender':22s}{'steps':>6s}{'forward ms':>12s}{'and backward':>14s}{'MB':>10s}")
    for steps in options.steps:
        for row in measure(steps, *options.shape):
            print(
                f"{row['contender']:22s}{steps:6d}{row['forward_ms']:12.1f}{row['backward_ms']:14.1f}"
                f"{row['megabytes']:10.1f}"
            )


if __name__ == "__main__":
    main()
