"""Names of the leaves of a tree."""

from typing import Any

import jax
from jaxtyping import PyTree


def leaf_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf as a dotted name."""
    return ".".join(str(getattr(entry, "name", getattr(entry, "key", getattr(entry, "idx", "")))) for entry in path)


def covers(prefix: str, name: str) -> bool:
    """Whether `prefix` names the leaf `name`, or a tree that it belongs to."""
    return name == prefix or name.startswith(f"{prefix}.")


def parameter_names(params: PyTree) -> tuple[str, ...]:
    """Names of the leaves of `params` (or of its coordinates), in their order, such as `"components.mean"`."""
    return tuple(leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))


def leaves_but(frozen: tuple[str, ...], tree: PyTree) -> PyTree:
    """A tree of booleans like `tree` (parameters, or their coordinates): false for what `frozen` names."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not any(covers(prefix, leaf_name(path)) for prefix in frozen), tree
    )
