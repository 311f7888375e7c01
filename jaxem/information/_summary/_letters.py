"""The letters of the axes of parameters, as the annotations of their types have them: `Float[Array, "k d"]`."""

from typing import Any, get_args, get_type_hints

from jaxtyping import PyTree

# What annotations do not say: a starred letter stands for an axis that may be absent.
_UNSAID = {
    ("HMMParams", "transition"): "k *j *q",
    ("LDAParams", "concentration"): "*K",
    ("LDAParams", "topics"): "K V",
    ("StateSpaceParams", "transition_covariance"): "q *q",
    ("StateSpaceParams", "observation_covariance"): "d *d",
}
_WORDS = {"d": "column", "p": "covariate", "q": "factor", "c": "category", "K": "topic", "V": "word"}
_WORDS_OF = {
    "HMMParams": {"j": "other_state", "q": "covariate"},
    "MixtureOfExpertsParams": {"q": "covariate"},
    "StateSpaceParams": {"q": "state"},
}
MEMBERS = ("k", "m")  # the leading axis of members, all of them or all but the last


def letters_of(params: PyTree, path: tuple[Any, ...], ndim: int) -> tuple[str, ...] | None:
    """The letters of the leaf at `path`, or `None` where no annotation says them for so many axes."""
    holder = _holder(params, path)
    said = _said(type(holder), _key(path[-1])) if path else None
    if said is None:
        return None
    words = said.split()
    whole, short = tuple(w.lstrip("*") for w in words), tuple(w for w in words if w[0] != "*")
    if "..." in whole:
        return None
    # The parameters of a model with one member lack the leading axis.
    options = [whole, short, *(found[1:] for found in (whole, short) if found[:1] == ("k",))]
    return next((found for found in options if len(found) == ndim), None)


def word_of(params: PyTree, path: tuple[Any, ...], letter: str) -> str | None:
    """What the letter of an axis stands for in these parameters, `None` for letters that nobody explained."""
    own = _WORDS_OF.get(type(_holder(params, path)).__name__, {})
    return own.get(letter, _WORDS.get(letter))


def siblings_of(params: PyTree, path: tuple[Any, ...]) -> dict[str, int]:
    """The lengths of the axes whose letters the fields beside the leaf at `path` have."""
    holder, found = _holder(params, path), {}
    for name in getattr(holder, "_fields", ()):
        shape = getattr(getattr(holder, name), "shape", None)
        letters = None if shape is None else letters_of(params, (*path[:-1], _Field(name)), len(shape))
        if letters is not None and shape is not None:
            found.update(zip(letters, shape, strict=True))
    return found


class _Field:
    """The entry of a path that leads to a field."""

    def __init__(self, name: str):
        self.name = name


def _holder(params: PyTree, path: tuple[Any, ...]) -> Any:
    """What holds the leaf at `path`."""
    for entry in path[:-1]:
        params = getattr(params, entry.name) if hasattr(entry, "name") else params[_key(entry)]
    return params


def _key(entry: Any) -> Any:
    return next((getattr(entry, name) for name in ("name", "key", "idx") if hasattr(entry, name)), None)


def _said(kind: type, field: Any) -> str | None:
    if (kind.__name__, field) in _UNSAID:
        return _UNSAID[kind.__name__, field]
    try:
        hint = get_type_hints(kind).get(field)
    except (NameError, TypeError, AttributeError):  # names that only a type checker sees
        return None
    parts: tuple[Any, ...] = (hint, *get_args(hint))
    return next((part.dim_str for part in parts if isinstance(getattr(part, "dim_str", None), str)), None)
