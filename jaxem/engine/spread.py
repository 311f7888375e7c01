"""Rows that lie on several devices, in this process: they stay where they are."""

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def in_auto_mesh(x: jax.Array) -> jax.Array:
    """An array on the same devices, of a mesh whose axes XLA looks after: programs name no sharding of their own."""
    sharding = getattr(x, "sharding", None)
    if not isinstance(sharding, NamedSharding) or isinstance(x, Tracer):
        return x
    mesh = sharding.mesh
    if not isinstance(mesh, Mesh) or all(kind is AxisType.Auto for kind in mesh.axis_types):
        return x
    auto = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))
    return jax.device_put(x, NamedSharding(auto, sharding.spec, memory_kind=sharding.memory_kind))


def is_spread(data: PyTree) -> bool:
    """Whether rows lie on several devices, some on each."""
    shardings = [getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(data)]
    return any(isinstance(each, NamedSharding) and not each.is_fully_replicated for each in shardings)


def beside(data: PyTree, values: np.ndarray) -> jax.Array:
    """One number for each row, on the devices that the rows lie on."""
    leaf = jax.tree.leaves(data)[0]
    if not is_spread(leaf):
        return jax.device_put(values)
    sharding = leaf.sharding
    rows = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))
    return jax.make_array_from_callback(values.shape, rows, lambda index: values[index])
