"""The package itself."""

import time
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from benchmarks import _data, _memory
from benchmarks.contenders import _jaxem_models
from benchmarks.contenders._solve import Solve


def parameters(weights, means, covariances):
    return jaxem.models.MixtureParams(
        jnp.asarray(weights), jaxem.families.GaussianParams(jnp.asarray(means), jnp.asarray(covariances))
    )


def described(params, seconds: float) -> dict:
    return {
        "seconds": seconds,
        "weights": np.asarray(params.weights, float).tolist(),
        "means": np.asarray(params.components.mean, float).tolist(),
        "covariances": np.asarray(params.components.covariance, float).tolist(),
    }


class Iterations(Solve):
    """A Gaussian mixture with full covariances, from one start or several."""

    def problem(self):
        spec = self.spec
        x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        start = parameters(*_data.starts(x, spec["k"], spec["starts"]))
        start = jax.tree.map(lambda leaf: leaf[0], start) if spec["starts"] == 1 else start
        return jaxem.GaussianMixture(spec["k"]), start, jnp.asarray(x)


class Restarts:
    """Many starts of one model to convergence, as its users write it."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.model = jaxem.GaussianMixture(spec["k"])

    def solve(self, x):
        return jaxem.fit(
            self.model,
            x,
            key=jax.random.key(self.spec["seed"]),
            restarts=self.spec["starts"],
            tol=self.spec["tol"],
            max_steps=self.spec["max_steps"],
        )

    def repetition(self) -> dict:
        began = time.perf_counter()
        fit = self.solve(np.load(self.spec["path"]))
        params = jax.block_until_ready(fit.params)
        return described(params, time.perf_counter() - began)


class Lockstep(Restarts):
    """Starts of the same kind in one `vmap` of `solve`: every lane runs until the last one stops."""

    def __init__(self, spec: dict):
        super().__init__(spec)
        model = self.model

        @jax.jit
        def program(keys, x, tol, max_steps):
            def run(key):
                params = model.init(key, x, jnp.ones(x.shape[0], x.dtype))
                return jaxem.solve(model, params, x, tol=tol, max_steps=max_steps)

            fits = jax.vmap(run)(keys)
            objective = jnp.where(jnp.isfinite(fits.objective), fits.objective, -jnp.inf)
            return jax.tree.map(lambda leaf: leaf[jnp.argmax(objective)], fits)

        self.program = program

    def solve(self, x):
        keys = jax.random.split(jax.random.key(self.spec["seed"]), self.spec["starts"])
        return self.program(keys, jnp.asarray(x), self.spec["tol"], self.spec["max_steps"])


class Memory:
    """Peak memory of `fit` on a large table, start drawn from the data."""

    def __init__(self, spec: dict):
        self.spec = spec
        jnp.zeros(1).block_until_ready()

    def repetition(self) -> dict:
        before = _memory.resident()
        x = np.load(self.spec["path"], mmap_mode=self.spec.get("mmap_mode"))
        loaded = _memory.resident()
        began = time.perf_counter()
        fit = jaxem.fit(
            jaxem.GaussianMixture(self.spec["k"]),
            x,
            key=jax.random.key(0),
            max_steps=self.spec["max_steps"],
            throw=False,
        )
        jax.block_until_ready(fit.params)
        elapsed = time.perf_counter() - began
        if fit.num_steps != self.spec["max_steps"] or fit.params.weights.dtype != x.dtype:
            raise RuntimeError(f"asked for {self.spec['max_steps']} iterations, got {fit.num_steps}")
        result = {"seconds": elapsed, "before": before, "loaded": loaded, "peak": _memory.peak()}
        statistics = jax.local_devices()[0].memory_stats()
        if statistics:
            result["device"] = statistics["peak_bytes_in_use"] / 1e6
        return result


class Retrace:
    """What JAX traces and compiles in a first fit, and in a second of the same shapes with other settings."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        self.events: dict[str, list[str]] = defaultdict(list)
        jax.monitoring.register_event_duration_secs_listener(self.listen)

    def listen(self, event: str, duration: float, fun_name: str = "?", **_) -> None:
        self.events[event.rsplit("/", 1)[-1]].append(fun_name)

    def fit(self, seed: int, tol: float, max_steps: int) -> dict:
        self.events.clear()
        began = time.perf_counter()
        fit = jaxem.fit(
            jaxem.GaussianMixture(self.spec["k"]),
            self.x,
            key=jax.random.key(seed),
            restarts=self.spec["starts"],
            tol=tol,
            max_steps=max_steps,
            throw=False,
        )
        jax.block_until_ready(fit.params)
        seconds = time.perf_counter() - began
        return {
            "seconds": seconds,
            "traces": self.events["jaxpr_trace_duration"],
            "compilations": self.events["backend_compile_duration"],
        }

    def repetition(self) -> dict:
        return {"first": self.fit(0, 1e-4, 60), "second": self.fit(1, 3e-5, 80)}


class Bootstrap:
    """Refits to bootstrap samples from one start: by `fit_many`, or in `lockstep` by `vmap` of `solve`."""

    def __init__(self, spec: dict):
        self.spec = spec
        x, weights, start = _data.bootstrap(spec)
        k, self.x, self.weights = spec["k"], jnp.asarray(x), jnp.asarray(weights)
        self.model = jaxem.GaussianMixture(k, "diagonal")
        self.start = parameters(*start)
        options = {"tol": spec["tol"], "max_steps": spec["max_steps"], "termination": jaxem.termination.Gain()}
        if spec.get("lockstep"):

            def one(w, x):
                return jaxem.solve(self.model, self.start, x, weights=w, **options)

            program = jax.jit(jax.vmap(one, in_axes=(0, None)))
            self.fits = lambda: program(self.weights, self.x)
        else:
            self.fits = lambda: jaxem.fit_many(
                self.model, self.x, key=jax.random.key(0), weights=self.weights, init=self.start, **options
            )
        self.repetition()

    def repetition(self) -> dict:
        began = time.perf_counter()
        fits = jax.block_until_ready(self.fits())
        elapsed = time.perf_counter() - began
        steps = np.asarray(fits.num_steps)
        return {"seconds": elapsed, "useful": int(steps.sum()), "made": int(steps.max()) * len(steps)}


class ManyTables:
    """`fit_many` of many small tables, as its users write it."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.tables(spec)
        self.repetition()

    def repetition(self) -> dict:
        began = time.perf_counter()
        fits = jaxem.fit_many(jaxem.GaussianMixture(self.spec["k"]), self.x, key=jax.random.key(1))
        jax.block_until_ready(fits.params)
        steps = np.asarray(fits.num_steps)
        return {"seconds": time.perf_counter() - began, "useful": int(steps.sum())}


TASKS = {
    "bootstrap": Bootstrap,
    "many-tables": ManyTables,
    "iterations": Iterations,
    "restarts": Restarts,
    "lockstep": Lockstep,
    "memory": Memory,
    "retrace": Retrace,
    **_jaxem_models.TASKS,
}
