"""Compiled programs of the host entries: what they are compiled for, and that ahead of their first call."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache as once
from functools import cached_property, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._precision import precision_of
from jaxem.engine import cache
from jaxem.engine.kept import Arguments, Kept, Shelf, Signature, name_of, read, save, trace

# Neither changes what is computed. The second turns to the smaller of XLA's two generators of loops.
_LEVEL = "xla_backend_optimization_level"
_QUICKLY = {_LEVEL: 1, "xla_cpu_use_fusion_emitters": False}
_FEW_NUMBERS = 2**13  # in arguments; without optimization a program then runs for some milliseconds at most


_SHELF = Shelf()


class Call(NamedTuple):
    """A call of a program, to be made once."""

    make: Callable[[], Any]
    in_any_thread: bool = False  # false where JAX is to compile, which goes by settings that it holds for each thread

    def __call__(self) -> Any:
        return self.make()


class Program:
    """`eqx.filter_jit(fn)`, which can be compiled in the background before it is called, and kept on disk.

    With `quickly`, little time is spent on optimization: for programs that run a few times in a fit, whose compilation
    takes longer than they do. None at all is spent where their arguments hold few numbers, which takes a third of the
    time and runs three times as long; unless a `level` of LLVM is given.
    """

    def __init__(self, fn: Callable, quickly: bool = False, level: int | None = None):
        self._fn, self._quickly, self._level = fn, quickly, level
        self._pending: list[Future] = []

    def __call__(self, *args: Any) -> Any:
        return self.of(*args)()

    def of(self, *args: Any) -> Call:
        """The call with these arguments; if they `may_be_kept` it is compiled, and can be made in any thread."""
        if self._pending:
            wait(self._pending)  # a compilation that failed will fail again, and say so to whom it concerns
            self._pending = []
        arguments = Arguments(args)
        if not arguments.may_be_kept():
            return Call(partial(self._fn if _tracing() else self._compiled, *args))
        program, dtype = self._kept_for(arguments), jnp.result_type(float)

        def call() -> Any:
            # Threads have settings of their own, by which JAX would round arrays of NumPy.
            with precision_of(dtype):
                return program(arguments)

        return Call(call, in_any_thread=True)

    @cached_property
    def _compiled(self) -> Any:
        options = self._options(None)
        jit: Any = eqx.filter_jit  # its options for `jax.jit` have no types
        return jit(self._fn, compiler_options=options) if options else jit(self._fn)

    def _options(self, arguments: Arguments | None) -> dict[str, Any]:
        if not self._quickly:
            return {}
        options, level = _quick_options(), self._level
        if level is None:
            few = arguments is not None and sum(array.size for array in arguments.arrays) <= _FEW_NUMBERS
            level = 0 if few else 1
        return {**options, _LEVEL: level} if _LEVEL in options else options

    def _kept_for(self, arguments: Arguments, now: bool = True) -> Kept:
        """The program for such arguments: known already, from disk, or compiled `now` or in another thread."""
        known, store = arguments.signature(), cache.store()
        # What was compiled before there was this folder is not in it, and has to be compiled to be written down.
        owner = self, None if store is None else store.folder
        found = _SHELF.find(owner, known)
        if found is not None:
            return found
        options = self._options(arguments)
        name = None if store is None else name_of(self._fn, arguments, options)
        written = read(store, name) if store is not None and name is not None else None
        if written is not None and not now:
            self._pending.append(_thread().submit(lambda: self._shelved(owner, known, written.load())))
            return Kept(None, written.shapes)
        found = self._shelved(owner, known, written and written.load())
        if found is not None:
            return found
        traced = trace(self._fn, arguments, to_keep=name is not None)

        def compiled() -> Kept:
            made = traced.compile(options)
            _SHELF.keep(owner, known, made)
            if store is not None and name is not None:
                save(store, name, made)
            return made

        if now:
            return compiled()
        self._pending.append(_thread().submit(compiled))
        return Kept(None, traced.shapes)

    @staticmethod
    def _shelved(owner: Any, known: Signature, found: Kept | None) -> Kept | None:
        if found is not None:
            _SHELF.keep(owner, known, found)
        return found

    def begin_compiling(self, *args: Any) -> PyTree:
        """Trace the program for arguments such as these, and leave its compilation to another thread, or its loading.

        Returns what it will return, with `jax.ShapeDtypeStruct` for arrays.
        """
        return self._kept_for(Arguments(args), now=False).shapes


def program(*, quickly: bool = False, level: int | None = None) -> Callable[[Callable], Program]:
    """Makes a function a `Program`."""
    return lambda fn: Program(fn, quickly, level)


def blank(shapes: PyTree, key: PRNGKeyArray) -> PyTree:
    """Zeros, for every `jax.ShapeDtypeStruct`; random keys are of the kind of `key`."""

    def zeros(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return np.zeros(leaf.shape, leaf.dtype)
        data = jax.eval_shape(jax.random.key_data, leaf)
        numbers: Any = np.zeros(data.shape, data.dtype)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(key))

    return jax.tree.map(zeros, shapes)


def may_be_kept(*args: Any) -> bool:
    """Whether programs for such arguments are this package's own to keep, and to run in any thread."""
    return Arguments(args).may_be_kept()


def worth_preparing(*args: Any) -> bool:
    """Whether no program has been prepared for such arguments yet, and one may be."""
    arguments = Arguments(args)
    if not arguments.may_be_kept():
        return False
    seen = hash(arguments.signature())
    if seen in _SEEN:
        return False
    _SEEN.add(seen)
    return True


def _tracing() -> bool:
    """Whether JAX is at work on another program, of which this would be a part."""
    return isinstance(jnp.zeros(()), Tracer)


_SEEN: set[int] = set()


@once
def _thread() -> ThreadPoolExecutor:
    # XLA has threads of its own for the parts of a program. Two programs at once took no less time, and more memory.
    return ThreadPoolExecutor(1, thread_name_prefix="jaxem-compile")


@once
def _quick_options() -> dict[str, Any]:
    """Options of `_QUICKLY` that the environment does not set; none but on a CPU whose compiler knows them."""
    options = {name: value for name, value in _QUICKLY.items() if name not in os.environ.get("XLA_FLAGS", "")}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(np.zeros((), np.int32)).compile()
    except jax.errors.JaxRuntimeError:  # they belong to XLA, which may drop them
        return {}
    return options
