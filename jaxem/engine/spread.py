"""Rows that lie on several devices: they stay where they are."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxem.engine.processes import own_numbers


def in_auto_mesh(x: jax.Array) -> jax.Array:
    """An array on the same devices, of a mesh whose axes XLA looks after: programs name no sharding of their own."""
    sharding = getattr(x, "sharding", None)
    if not isinstance(sharding, NamedSharding) or isinstance(x, Tracer):
        return x
    mesh = sharding.mesh
    if not isinstance(mesh, Mesh) or all(kind is AxisType.Auto for kind in mesh.axis_types):
        return x
    return jax.device_put(x, NamedSharding(auto_mesh(mesh), sharding.spec, memory_kind=sharding.memory_kind))


def auto_mesh(mesh: Mesh) -> Mesh:
    """The mesh, with axes that XLA looks after."""
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def explicit_mesh(tree: PyTree) -> Any:
    """The mesh, of explicit axes, that an array under a trace lies on; `None` if there is none."""
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(jax.typeof(leaf), "sharding", None) if isinstance(leaf, Tracer) else None
        if sharding is not None and AxisType.Explicit in sharding.mesh.axis_types:
            return sharding.mesh
    return None


def with_auto_axes(fn: Callable, mesh: Any, n: int, *args: PyTree) -> PyTree:
    """`fn(*args)` under a trace, within which XLA looks after the axes of the mesh.

    What comes out with a leading axis of `n` rows is spread like the first array that goes in with one.
    """
    arrays, rest = eqx.partition(args, eqx.is_array)
    spec = next(jax.typeof(leaf).sharding.spec for leaf in jax.tree.leaves(arrays) if leaf.shape[:1] == (n,))

    def inner(arrays: PyTree) -> PyTree:
        return eqx.filter(fn(*eqx.combine(arrays, rest)), eqx.is_array)

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arrays)
    out = eqx.filter_eval_shape(lambda arrays: fn(*eqx.combine(arrays, rest)), shapes)
    slots, static = eqx.partition(out, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def lies(slot: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(spec[0]) if slot.shape[:1] == (n,) else PartitionSpec())

    found = jax.sharding.auto_axes(inner, out_sharding=jax.tree.map(lies, slots))(arrays)
    return eqx.combine(found, static)


def is_spread(data: PyTree) -> bool:
    """Whether rows lie on several devices, some on each."""
    shardings = [getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(data)]
    return any(isinstance(each, NamedSharding) and not each.is_fully_replicated for each in shardings)


def spread_alike(data: PyTree) -> PyTree:
    """The tables of `data`, those that lie on no several devices spread like the rows of the first that does."""
    leaves = jax.tree.leaves(data)
    first = next((leaf for leaf in leaves if is_spread(leaf)), None)
    if first is None or not first.is_fully_addressable or any(isinstance(leaf, Tracer) for leaf in leaves):
        return data
    lies = _of_rows(first.sharding)
    return jax.tree.map(lambda leaf: leaf if is_spread(leaf) else jax.device_put(leaf, lies), data)


def placed(leaf: Any) -> jax.Array:
    """An array on the device, unless it lies on a mesh of them.

    Without a copy where JAX can do without: nothing that is returned may refer to it.
    """
    there = isinstance(getattr(leaf, "sharding", None), NamedSharding)
    return leaf if there else jax.device_put(leaf, may_alias=True)


def beside(data: PyTree, values: Any) -> jax.Array:
    """One number for each row, on the devices that the rows lie on; of those that lie with this process."""
    leaf = jax.tree.leaves(data)[0]
    if not is_spread(leaf):
        return jax.device_put(values)
    if isinstance(values, jax.Array) and values.shape == leaf.shape[:1]:
        return jax.device_put(values, _of_rows(leaf.sharding))
    numbers = own_numbers(leaf)

    def part(index: Any) -> Any:
        first = int(np.searchsorted(numbers, index[0].start or 0))
        return values[first : first + len(range(*index[0].indices(leaf.shape[0])))]

    return jax.make_array_from_callback(leaf.shape[:1], _of_rows(leaf.sharding), part)


def ones_beside(data: PyTree, dtype: Any) -> Any:
    """A one for each row, on the devices that the rows lie on; on the host where these do not lie on several."""
    leaf = jax.tree.leaves(data)[0]
    if not is_spread(leaf):
        return np.ones(leaf.shape[0], dtype)
    return beside(data, np.ones(len(own_numbers(leaf)), dtype))


def _of_rows(sharding: NamedSharding) -> NamedSharding:
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))
