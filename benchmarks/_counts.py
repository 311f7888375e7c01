"""What a first fit has to trace and compile, in equations and programs: the same on any machine with the same JAX.

`MODELS` holds the problems; the file `BOUNDS` how much each may have.
"""

import contextlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from benchmarks._plain_em import Diagonal, plain_em
from jaxem.engine import programs as _programs
from jaxem.engine.programs import Program, blank
from jaxem.engine.search import Search

BOUNDS = Path(__file__).with_name("compilation.json")
PACKAGES = ("jax", "equinox")  # their functions are part of every program
SOLVE = "solve of a diagonal Gaussian mixture"
KERNELS = ("auto", "fast", "accurate")
ROWS, COMPONENTS, STARTS = 200, 3, 8


def _table(columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, columns))


def _chain() -> tuple[Any, Any]:
    return jaxem.HMM(jaxem.Gaussian("full"), num_states=COMPONENTS), _table(2)[None]


def _topics() -> tuple[Any, Any]:
    words = np.random.default_rng(0).integers(0, 30, (ROWS, 8))
    return jaxem.LDA(COMPONENTS, 30), jaxem.Documents(words, np.ones(words.shape))


def _regressions() -> tuple[Any, Any]:
    x = _table(3)
    return jaxem.Mixture(jaxem.LinearRegression(), COMPONENTS), jaxem.Responses(x[:, :2], x[:, 2])


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "Gaussian mixture, full": lambda: (jaxem.GaussianMixture(COMPONENTS, "full"), _table(2)),
    "Gaussian mixture, diagonal": lambda: (jaxem.GaussianMixture(COMPONENTS, "diagonal"), _table(2)),
    "Gaussian HMM": _chain,
    "factor analysis": lambda: (jaxem.FactorAnalysis(2), _table(6)),
    "latent Dirichlet allocation": _topics,
    "mixture of regressions": _regressions,
}


def equations(jaxpr: Any) -> int:
    """Equations of a jaxpr and of all that it calls, loops over or branches to, each as often as it stands there."""
    return sum(1 + sum(map(equations, _nested(eqn.params.values()))) for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns)


def _nested(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _nested(value)
        elif hasattr(getattr(value, "jaxpr", value), "eqns"):
            yield value


class _Prepared(Exception):
    """Every program of the fit has been traced."""


def programs(name: str) -> dict[str, int]:
    """Equations of each program that a fit of the model from several starts prepares; nothing is compiled."""
    found: dict[str, int] = {}

    def traced(program: Program, *args: Any) -> Any:
        jaxpr, arrays, rest = eqx.filter_make_jaxpr(program._fn)(*args)
        found[_named(program)] = equations(jaxpr)
        return eqx.combine(arrays, rest)

    def zeros(program: Program, *args: Any) -> Any:
        return blank(traced(program, *args), jax.random.key(0))

    prepare = Search.prepare

    def prepared(search: Search, *args: Any) -> None:
        prepare(search, *args)
        raise _Prepared

    model, data = MODELS[name]()
    with (
        patch.object(Program, "__call__", zeros),
        patch.object(Program, "begin_compiling", traced),
        patch.object(Search, "prepare", prepared),
        patch.object(_programs, "_SEEN", set()),
        contextlib.suppress(_Prepared),
    ):
        jaxem.fit(model, data, key=jax.random.key(0), restarts=STARTS, lanes=STARTS // 2)
    return found


def _named(program: Program) -> str:
    return program._fn.__name__.strip("_")


def compilations(name: str) -> dict[str, int]:
    """How many of its own programs a first fit of the model compiles, and how many operations beside them."""
    called: list[str] = []
    call, begin = Program.__call__, Program.begin_compiling

    def noted(original: Any) -> Any:
        def run(program: Program, *args: Any) -> Any:
            called.append(program._fn.__name__)
            return original(program, *args)

        return run

    model, data = MODELS[name]()
    key = jax.random.key(0)
    jax.clear_caches()
    _programs._quick_options()  # compiles a program to try them, once in a process
    with (
        patch.object(Program, "__call__", noted(call)),
        patch.object(Program, "begin_compiling", noted(begin)),
        patch.object(_programs, "_SEEN", set()),
        compiled() as names,
    ):
        fit = jaxem.fit(model, data, key=key, restarts=STARTS, lanes=STARTS // 2, max_steps=10, throw=False)
        jax.block_until_ready(fit.params)
        _programs._thread().submit(int).result()  # those that no one has called for
    own = sum(any(name in (fn, f"jit({fn})", f"jit_{fn}") for fn in called) for name in names)
    return {"programs": own, "operations": len(names) - own}


def solves() -> dict[str, dict[str, int]]:
    """Equations, and lines of HLO before optimization, of `jax.jit(jaxem.solve)` of a diagonal Gaussian mixture: with
    each kernel, and of `plain_em` of the same."""
    x = jnp.asarray(_table(2))
    weights, variance = jnp.full(COMPONENTS, 1 / COMPONENTS, x.dtype), jnp.ones((COMPONENTS, 2), x.dtype)
    model = jaxem.GaussianMixture(COMPONENTS, "diagonal")
    start = jaxem.models.MixtureParams(weights, jaxem.families.GaussianParams(x[:COMPONENTS], variance))
    runs = {kernel: (jax.jit(partial(jaxem.solve, model, kernel=kernel, tol=1e-8)), (start, x)) for kernel in KERNELS}
    runs["plain EM"] = (
        jax.jit(partial(plain_em, tol=1e-8, max_steps=1000)),
        (Diagonal(weights, x[:COMPONENTS], variance), x),
    )
    found = {}
    for name, (run, args) in runs.items():
        traced = run.trace(*args)
        hlo = traced.lower().as_text("hlo")
        found[name] = {"equations": equations(traced.jaxpr), "lines of HLO": len(hlo.splitlines())}
    return found


_listening: list[list[str]] = []


def _listen(event: str, duration: float, fun_name: str = "?", **_: Any) -> None:
    if event.endswith("/backend_compile_duration"):
        for names in _listening:
            names.append(fun_name)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def compiled() -> Iterator[list[str]]:
    """Names of what is compiled from here on, in any thread."""
    names: list[str] = []
    _listening.append(names)
    try:
        yield names
    finally:
        _listening.remove(names)


def measured(name: str, whole: bool = True) -> dict[str, int]:
    """Equations of each program of a first fit; with `whole` also how many programs and operations it compiles."""
    return programs(name) | (compilations(name) if whole else {})


def versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def grown(group: str, found: dict[str, int], bounds: dict[str, Any]) -> list[str]:
    """What has more than `bounds` allows, a line each.

    Under other versions of JAX and Equinox than those of `bounds` a quarter more is allowed.
    """
    allowed, slack = bounds[group], 1.0 if bounds["versions"] == versions() else 1.25
    return [
        f"{group}: {what} has grown by {count - allowed.get(what, 0)}, from {allowed.get(what, 0)} to {count}"
        for what, count in found.items()
        if count > slack * allowed.get(what, 0)
    ]


def lowered(groups: dict[str, dict[str, int]], bounds: dict[str, Any]) -> dict[str, Any]:
    """`bounds` with all that has fallen; what has grown stays as it was, unless that was under other versions."""
    same = bounds.get("versions") == versions()
    kept = {
        group: {
            what: min(count, bounds.get(group, {}).get(what, count)) if same else count for what, count in f.items()
        }
        for group, f in groups.items()
    }
    return {"versions": versions(), **kept}


def read_bounds() -> dict[str, Any]:
    return json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
