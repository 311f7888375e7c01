"""A mesh of devices that a fit is given: its rows lie over one axis, its runs over the other."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem.engine.convert import as_data, as_weights, float_dtype
from jaxem.engine.processes import agreed, any_of, gathered
from jaxem.engine.spread import auto_mesh, is_spread

_AXES = ("rows", "lanes")


def require_mesh(mesh: Any) -> Mesh:
    """A mesh whose axes XLA looks after, or `DataError` for what is none with the axes that a fit knows."""
    if not isinstance(mesh, Mesh):
        raise DataError(f'mesh must be a jax.sharding.Mesh, such as jax.make_mesh((8,), ("rows",)), got {mesh!r}')
    if not mesh.axis_names or not set(mesh.axis_names) <= set(_AXES):
        raise DataError(f"mesh has axes {mesh.axis_names}: a fit knows the axes 'rows' and 'lanes'")
    return auto_mesh(mesh)


def of_lanes(mesh: Mesh | None) -> NamedSharding | None:
    """How runs side by side lie on the mesh; `None` where it has no axis for them."""
    if mesh is None or "lanes" not in mesh.axis_names:
        return None
    return NamedSharding(mesh, PartitionSpec("lanes"))


def on_mesh(mesh: Mesh, data: Any, weights: Any) -> tuple[PyTree, Any]:
    """Data over the axis of rows, filled up with rows of weight 0 to as many for each device, and their weights.

    Each of several processes gives rows of its own. Without such an axis all rows lie with every device.
    """
    several = len({device.process_index for device in mesh.devices.flat}) > 1

    def converted() -> tuple[PyTree, Any]:
        table = as_data(data, warn=True)
        if is_spread(table):
            raise DataError("mesh: data are spread over devices already: leave mesh out, or pass rows on the host")
        n = jax.tree.leaves(table)[0].shape[0]
        return jax.tree.map(np.asarray, table), as_weights(weights, n, None, some=not several)

    rows, w = agreed(converted) if several else converted()
    if "rows" not in mesh.axis_names:
        if several:
            raise DataError("mesh: several processes have rows of their own: give it an axis 'rows'")
        return jax.device_put(rows, NamedSharding(mesh, PartitionSpec())), w
    n = jax.tree.leaves(rows)[0].shape[0]
    own = [device.process_index == jax.process_index() for device in mesh.devices.flat]
    share = mesh.size // sum(own) if several else 1
    if several and mesh.shape["rows"] % share:
        raise DataError(f"mesh: {mesh.shape['rows']} rows of devices cannot be shared by {share} processes")
    most = int(gathered(np.asarray([n], np.int64)).max()) if several else n
    total = -(-most // mesh.size) * mesh.size  # which any number of devices divides
    short = any_of(total > n)[0] if several else total > n
    if short and w is None:
        w = np.ones(n, float_dtype(rows))
    if short and w is not None:
        w = np.concatenate([w, np.zeros(total - n, w.dtype)])
        rows = jax.tree.map(lambda leaf: leaf[np.arange(total) % n], rows)

    def placed(leaf: np.ndarray) -> jax.Array:
        sharding = NamedSharding(mesh, PartitionSpec("rows"))
        return jax.make_array_from_process_local_data(sharding, leaf) if several else jax.device_put(leaf, sharding)

    return jax.tree.map(placed, rows), w
