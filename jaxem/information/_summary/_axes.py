"""Parameters with their axes: which of them are those of members, columns and so on, and what is along each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._paths import covers, leaf_name
from jaxem.families import OneOf, Product
from jaxem.information._summary._labels import default_labels, given_labels, named_in
from jaxem.information._summary._letters import MEMBERS, letters_of, siblings_of, word_of
from jaxem.models.joined import AbstractJoined

_MEMBER_WORDS = {"components": "component", "emission": "state", "experts": "expert"}


class Leaf(NamedTuple):
    """One array of the parameters.

    - `name`: as `frozen` has it; `short`: without the field of the members.
    - `values`: its numbers, without an axis that says nothing.
    - `axes`: the names of its axes, all different; `labels`: what is along each.
    - `by_member`: whether the first axis is that of members; `member`: the only one whom it concerns, if there is.
    - `symmetric`: whether the entries above the diagonal of the last two axes say all.
    - `domain`: where it lies, as `model.domains` has it.
    """

    name: str
    short: str
    values: np.ndarray
    axes: tuple[str, ...]
    labels: tuple[list[Any], ...]
    by_member: bool
    member: Any
    symmetric: bool
    domain: str


class Parameters(NamedTuple):
    """All leaves in their order; `word` is what members are called, and `members` are their labels."""

    leaves: tuple[Leaf, ...]
    word: str
    members: tuple[Any, ...]


def described(model: Any, params: PyTree, data: Any, width: int | None, columns: Any) -> Parameters:
    """The parameters of a model, whose rows have `width` columns (if they are tables)."""
    word, count = _members(model, params)
    found = [
        _raw(model, params, path, np.asarray(leaf), word, width)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
    lengths: dict[str, int] = {}
    for axes, values in ((raw.axes, raw.values) for raw in found):
        for axis, size in zip(axes, values.shape, strict=True):
            lengths[axis] = max(size, lengths.get(axis, 0))
    if count is not None and word not in lengths:
        lengths[word] = count
    blocks = _blocks(model)
    if blocks:
        lengths["column"] = sum(map(len, blocks.values()))
    given, seen = given_labels(columns, lengths), named_in(data)

    def labels(word: str, size: int) -> list[Any]:
        block, _, rest = word.rpartition("_")
        for names in (given, seen):
            own = names.get(word) or (names.get(rest) if block in ("gate", "next") else None) or []
            if len(own) == lengths.get(word, size) or len(own) == size:
                return own[:size]
            if block in blocks and rest == "column" and len(names.get(rest, ())) == lengths[rest]:
                return [names[rest][i] for i in blocks[block]]
        if block in blocks and rest == "column":
            return [f"x{i}" for i in blocks[block]]
        return default_labels(word, size)

    members = tuple(labels(word, count or 0))
    if isinstance(model, AbstractJoined) and isinstance(model.distribution, OneOf) and word not in given:
        members = model.distribution.names
    shorts, leaves = [raw.short for raw in found], []
    for raw in found:
        sized = zip(raw.axes, raw.values.shape, strict=True)
        own = tuple([*members[:size]] if axis == word else labels(axis, size) for axis, size in sized)
        leaf = raw._replace(labels=own, axes=_different(raw.axes))
        leaf = leaf._replace(member=None if raw.member is None else members[raw.member])
        leaves.append(leaf._replace(short=leaf.name) if shorts.count(leaf.short) > 1 else leaf)
    return Parameters(tuple(leaves), word, members)


def _members(model: Any, params: PyTree) -> tuple[str, int | None]:
    """What members are called and how many there are, `None` for a model without."""
    if isinstance(model, AbstractJoined):
        structure = model.structure
        if not structure.members:
            return "member", None
        return _MEMBER_WORDS.get(structure.members, structure.members), structure.num_members
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        letters = letters_of(params, path, np.ndim(leaf))
        if letters and letters[0] in ("k", "K"):
            return word_of(params, path, letters[0]) or "component", np.shape(leaf)[0]
    return "member", None


def _raw(model: Any, params: PyTree, path: Any, values: np.ndarray, word: str, width: int | None) -> Leaf:
    """A leaf without labels; `member` is the number of the only one whom it concerns."""
    name = leaf_name(path)
    domain = model.domains.get(name, "real")
    letters = letters_of(params, path, values.ndim)
    short, by_member, member, block, square = name, False, None, "", False
    if isinstance(model, AbstractJoined):
        structure, family = model.structure, model.distribution
        prefix = f"{structure.members}." if structure.members else ""
        if prefix and not name.startswith(prefix):
            by_member = values.ndim > 0
            square = values.shape == (structure.num_members,) * 2
            block, width = "gate" if name == "gate" else "", None
        else:
            short = name.removeprefix(prefix) or name
            part = short.partition(".")[0]
            if isinstance(family, OneOf):
                member, values = family.names.index(part), values.reshape(values.shape[1:])
                letters = letters and (letters[1:] if letters[:1] == ("k",) else letters)
            else:
                shared = any(covers(common, short) for common in family.shared)
                by_member = bool(prefix) and not shared and values.ndim > 0
                block = part if isinstance(family, Product) else ""
    else:
        by_member = bool(letters) and letters[0] in ("k", "K") and word != "member"
    axes = [word] if by_member else []
    rest = values.shape[1:] if by_member else values.shape
    if letters is not None and by_member and letters[:1] and letters[0] in (*MEMBERS, "K"):
        letters = letters[1:]
    if square:
        axes.append(f"next_{word}")
    elif letters is not None and len(letters) == len(rest):
        axes += [_worded(params, path, letter, block, short) for letter in letters]
    else:
        axes += _guessed(params, path, rest, domain, width, block, short)
    return Leaf(name, short, values, tuple(axes), (), by_member, member, domain == "definite", domain)


def _worded(params: PyTree, path: Any, letter: str, block: str, short: str) -> str:
    word = word_of(params, path, letter)
    return f"{short}_{letter}" if word is None else f"{block}_{word}" if block else word


def _guessed(
    params: PyTree, path: Any, sizes: Sequence[int], domain: str, width: int | None, block: str, short: str
) -> list[str]:
    """Names of axes that no annotation names: those of the same length as one beside, or as a row."""
    known = siblings_of(params, path)
    letters = [letter for letter in known if letter not in MEMBERS]
    if domain == "definite" and "d" in known | ({} if width is None else {"d": width}):
        letters, known = ["d"], {"d": sizes[-1]}
    elif "d" not in known and width is not None:
        letters, known = [*letters, "d"], {**known, "d": width}
    axes = []
    for i, size in enumerate(sizes):
        letter = next((letter for letter in letters if known[letter] == size), None)
        axes.append(f"{short}_axis_{i}" if letter is None else _worded(params, path, letter, block, short))
    return axes


def _different(axes: tuple[str, ...]) -> tuple[str, ...]:
    """The same names, a second one of a kind with a number."""
    counts = [axes[:i].count(axis) for i, axis in enumerate(axes)]
    return tuple(f"{axis}_{count + 1}" if count else axis for axis, count in zip(axes, counts, strict=True))


def _blocks(model: Any) -> dict[str, tuple[int, ...]]:
    """The columns of each block of mixed columns that are one table."""
    family = model.distribution if isinstance(model, AbstractJoined) else None
    return dict(family.columns or ()) if isinstance(family, Product) else {}


def require_one_fit(fit: Any) -> None:
    """Raise `DataError` for parameters in the place of a fit, and for many fits."""
    if not (hasattr(fit, "params") and hasattr(fit, "status")):
        raise DataError(f"fit must be what jaxem.fit or jaxem.solve returns, got {type(fit).__name__}")
    if np.ndim(fit.objective):
        raise DataError(
            f"fit holds {np.size(fit.objective)} fits: pass one of them, jax.tree.map(lambda leaf: leaf[i], fit)"
        )
