"""What this machine can do: the rate of a large matrix product, and of reading memory."""

import time

import jax
import jax.numpy as jnp
import numpy as np


class Product:
    """Seconds of a square product, through JAX."""

    def __init__(self, spec: dict):
        size = spec["size"]
        a = jnp.asarray(np.random.default_rng(0).random((size, size), spec["dtype"]))
        self.program, self.a = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST)), a
        self.repetition()

    def repetition(self) -> dict:
        began = time.perf_counter()
        jax.block_until_ready(self.program(self.a))
        return {"seconds": time.perf_counter() - began}


class Reading:
    """Seconds of summing numbers that no cache holds."""

    def __init__(self, spec: dict):
        self.x = jnp.ones(spec["numbers"], spec["dtype"])
        self.program = jax.jit(jnp.sum)
        self.repetition()

    def repetition(self) -> dict:
        began = time.perf_counter()
        jax.block_until_ready(self.program(self.x))
        return {"seconds": time.perf_counter() - began}


TASKS = {"product": Product, "reading": Reading}
