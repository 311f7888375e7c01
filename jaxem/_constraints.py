"""Where parameters lie, said by name."""

from typing import Any

import jax
from jaxtyping import PyTree

from jaxem import _bijections as bijections
from jaxem._paths import covers, leaf_name


class Constraints(tuple):
    """Pairs of a parameter's name and the name of a bijection."""


def by_name(constraints: Any) -> Constraints:
    """Constraints from a tree of names of bijections, or a dictionary from names of parameters to these."""
    if isinstance(constraints, Constraints):
        return constraints
    leaves = jax.tree_util.tree_leaves_with_path(constraints)
    pairs = Constraints((leaf_name(path), kind) for path, kind in leaves)
    for name, kind in pairs:
        if kind not in bijections.NAMED:
            raise ValueError(f"constraints: {name or 'params'}: {kind!r} is none of {', '.join(bijections.NAMED)}")
    return pairs


def mapped(constraints: Constraints, tree: PyTree, direction: int) -> PyTree:
    """A tree of parameters in unconstrained coordinates (`direction` 0), or back (1)."""
    names = tuple(leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree))
    for prefix, _ in constraints:
        require_name(prefix, names, "constraints")
    kinds = dict(sorted(constraints, key=lambda pair: len(pair[0])))

    def one(path, leaf):
        name, kind = leaf_name(path), "real"
        for prefix, candidate in kinds.items():
            kind = candidate if covers_or_all(prefix, name) else kind
        return bijections.NAMED[kind][direction](leaf)

    return jax.tree_util.tree_map_with_path(one, tree)


def covers_or_all(prefix: str, name: str) -> bool:
    """Whether `prefix` names the leaf `name`, or a tree that it belongs to; the empty name is that of all."""
    return prefix == "" or covers(prefix, name)


def require_name(prefix: str, names: tuple[str, ...], argument: str) -> None:
    """Raise `ValueError` where no parameter goes by the name `prefix`."""
    if not any(covers_or_all(prefix, name) for name in names):
        raise ValueError(f"{argument}: unknown parameter {prefix!r}; choose from {', '.join(names)}")
