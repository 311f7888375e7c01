"""A number that depends on the parameters: an entry by its name, or any function of them, on a scale."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, PyTree

from jaxem._errors import DataError
from jaxem.information._names import leaves_of
from jaxem.information._scales import scale_names

_NAME = re.compile(r"(?P<leaf>[^\[\]]*?)\s*(?:\[(?P<index>[^\[\]]*)\])?")

# By scale, what lies at both ends of it.
ENDS = {"identity": (-np.inf, np.inf), "log": (0.0, np.inf), "logit": (0.0, 1.0)}
LOGIT = list(ENDS).index("logit")


class Entry(eqx.Module):
    """One number of the parameters, by its place among all: so that one program does for each of them."""

    place: Int[Array, ""]

    def __call__(self, params: PyTree) -> Array:
        return ravel_pytree(params)[0][self.place]


def on_scale(x: Array, number: Int[Array, ""]) -> Array:
    """A number on the scale of which this is the number in `ENDS`."""
    return jax.lax.switch(number, [lambda x: x, jnp.log, lambda x: jnp.log(x) - jnp.log1p(-x)], x)


class Scalar(NamedTuple):
    """A function of the parameters, what it is called, and its scale; `entry` is the leaf's name and the index."""

    fn: Callable[[PyTree], Array]
    name: str
    scale: str
    entry: tuple[str, tuple[int, ...]] | None


def scalar(model: Any, params: PyTree, name: Any, scale: str | None) -> Scalar:
    """The number that is called `name`, such as `"components.mean[1, 0]"`, or is a function of the parameters."""
    if scale is not None and scale not in ENDS:
        raise DataError(f"scale must be one of {', '.join(map(repr, ENDS))}, got {scale!r}")
    if callable(name):
        shown = getattr(name, "__name__", type(name).__name__)
        made = jax.eval_shape(name, params)
        if not hasattr(made, "shape") or made.shape != () or not jnp.issubdtype(made.dtype, jnp.floating):
            what = f"an array of shape {made.shape}" if hasattr(made, "shape") else f"a {type(made).__name__}"
            raise DataError(f"name is a function that returns {what}; it must return one real number, of shape ()")
        fn: Any = name
        return Scalar(fn, "function" if shown == "<lambda>" else shown, scale or "identity", None)
    if not isinstance(name, str):
        raise DataError(f"name must be that of a parameter, or a function of the parameters, got {name!r}")
    leaf, index = _found(params, name)
    own, values = leaves_of(params)[leaf]
    known = scale_names(model, params)[own]
    if known == "log diagonal":
        known = "log" if index[-1] == index[-2] else "identity"
    shown = (own or "params") + (f"[{', '.join(map(str, index))}]" if values.ndim else "")
    before = sum(values.size for _, values in leaves_of(params)[:leaf])
    place = before + int(np.ravel_multi_index(index, values.shape)) if index else before
    return Scalar(Entry(jnp.asarray(place, jnp.int32)), shown, scale or known, (own, index))


class Entries(eqx.Module):
    """Numbers of the parameters, by their places among all."""

    places: Int[Array, " m"]

    def __call__(self, params: PyTree) -> Array:
        return ravel_pytree(params)[0][self.places]


def entries(params: PyTree, names: Any) -> Entries:
    """All numbers of the parameters with these names, of whole parameters or of parts of them."""
    names = [names] if isinstance(names, str) else list(names)
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"constraint must be a function, a name or several names of parameters, got {names!r}")
    known, places = leaves_of(params), []
    before = np.cumsum([0, *(values.size for _, values in known)])
    for name in names:
        leaf, index = _parsed(known, name)
        values = known[leaf][1]
        inside = np.arange(values.size).reshape(values.shape)
        if len(index) > values.ndim or any(not -n <= i < n for i, n in zip(index, values.shape, strict=False)):
            raise DataError(f"name {name!r} is out of range: {known[leaf][0] or 'params'} has shape {values.shape}")
        places.append(before[leaf] + np.ravel(inside[index]))
    return Entries(jnp.asarray(np.unique(np.concatenate(places)), jnp.int32))


def _found(params: PyTree, name: str) -> tuple[int, tuple[int, ...]]:
    """Which leaf has this name, and the index in it."""
    known = leaves_of(params)
    leaf, index = _parsed(known, name)
    values = known[leaf][1]
    if values.size == 1 and not index:
        index = (0,) * values.ndim
    if len(index) != values.ndim:
        shape = f"{known[leaf][0] or 'params'} has shape {values.shape}"
        raise DataError(
            f"name {name!r} must be that of one number: {shape}, so that an entry has {values.ndim} indices"
        )
    for at, size in zip(index, values.shape, strict=True):
        if not -size <= at < size:
            raise DataError(f"name {name!r} is out of range: {known[leaf][0] or 'params'} has shape {values.shape}")
    return leaf, tuple(at % size for at, size in zip(index, values.shape, strict=True))


def _parsed(known: list[tuple[str, np.ndarray]], name: str) -> tuple[int, tuple[int, ...]]:
    """The number of the leaf that a name has, and the index in it as it is written."""
    names = [own or "params" for own, _ in known]
    match = _NAME.fullmatch(name.strip())
    if match is None or match["leaf"] not in names:
        shapes = ", ".join(f"{own}{list(values.shape)}" for own, (_, values) in zip(names, known, strict=True))
        raise DataError(f"name {name!r} is no parameter; there are {shapes}: an entry is written {_example(known)!r}")
    try:
        index = tuple(int(part) for part in (match["index"] or "").split(",") if part.strip())
    except ValueError:
        raise DataError(f"name {name!r}: an index is whole numbers, as in {_example(known)!r}") from None
    return names.index(match["leaf"]), index


def _example(known: list[tuple[str, np.ndarray]]) -> str:
    own, values = known[0]
    return (own or "params") + (f"[{', '.join('0' * values.ndim)}]" if values.ndim else "")
