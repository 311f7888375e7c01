"""The door of data: every public entry takes what users pass through here, and a model only sees what came through.

What is static is checked under a trace too: container, kind of numbers, rank, width. With concrete values the values
are checked as well. Rows of weight 0 are no rows: no check looks at them.
"""

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxem._errors import DataError
from jaxem._fork import require_no_fork
from jaxem._paths import leaf_name
from jaxem._traced import leaves_used
from jaxem.engine.buckets import ASKED, filled, without_fill
from jaxem.engine.convert import as_data, as_weights, float_dtype, is_concrete
from jaxem.engine.domains import fault
from jaxem.engine.processes import agreed, is_shared
from jaxem.engine.programs import Program
from jaxem.engine.shapes import require_shapes, require_structure, shapes_of
from jaxem.engine.shared import check_fit, check_question, look_at
from jaxem.engine.spread import beside, explicit_mesh, is_spread, ones_beside, with_auto_axes
from jaxem.engine.weights import Held, Span, held, with_copies
from jaxem.kernels.linalg import trailing
from jaxem.kernels.rows import row_at

_FEW_NUMBERS = 2**16  # in a table of which a question is answered in less time than a better program takes to compile


class Admitted(NamedTuple):
    """Data as a model takes them, weights `[n]` or `None`, and parameters of the same precision, if there are any.

    Weights are in units of `unit`; see `jaxem.engine.weights.held`.
    """

    data: PyTree
    weights: Any = None
    params: PyTree = None
    unit: float = 1.0


def for_fit(model: Any, data: Any, weights: Any = None, *, name: str = "data") -> Admitted:
    """Data to fit `model` to: refused where it could not be. Rows of weight 0 come back as copies of another row."""
    require_no_fork()
    data = as_data(data, name, warn=True)
    n = count_rows(data, name)
    if is_shared(data):
        return _shared_for_fit(model, data, weights)
    weights, unit = as_weights(weights, n, None), 1.0
    data = without_absent(data, weights)
    model.check(jax.tree.map(np.asarray, data), weights)
    if weights is not None:
        weights, unit = held_for(model, data, weights)
    return Admitted(data, weights, None, unit)


def _shared_for_fit(model: Any, data: PyTree, weights: Any) -> Admitted:
    """As `for_fit`, of rows that lie with several processes; weights come back spread like the rows."""
    found = look_at(data, weights)
    check_fit(model, found)
    if found.weights is None:
        return Admitted(data)
    data = _without_absent(data, beside(data, found.weights > 0), found.first) if not found.all_present else data
    own = agreed(lambda: held(found.weights, float_dtype(data), rescale=not has_prior(model, data), span=found.span))
    return Admitted(data, beside(data, own.values), None, own.unit)


def held_for(model: Any, data: PyTree, weights: Any, span: Span | None = None) -> Held:
    """Weights in the precision of the data, in a unit of their own where the model has no prior.

    `span` is that of all weights, where these are some of them.
    """
    found = held(weights, float_dtype(data), span=span)
    if found.unit != 1 and has_prior(model, data):
        return held(weights, float_dtype(data), rescale=False, span=span)
    return found


def for_question(
    model: Any,
    params: PyTree,
    data: Any,
    weights: Any = None,
    *,
    name: str = "data",
    promote: bool = True,
    shaped: bool = True,
) -> Admitted:
    """Data to ask `model` about at `params`: rows of the shape that these are for, which have a density.

    Of two precisions the higher one is taken for both, unless `promote` is false. What is `shaped` has the shapes of
    the model's parameters; a posterior in their place has not.
    """
    require_no_fork()
    require_params(params)
    data = as_data(data, name, dtype=float_dtype(params))
    n = count_rows(data, name)
    if promote:
        params, data = in_one_precision(params, data)
    shared = look_at(data, weights) if is_shared(data) else None
    if shared is None:
        weights = as_weights(weights, n, float_dtype((params, data)))
    elif shared.weights is not None:
        weights = beside(data, shared.weights.astype(float_dtype((params, data))))
    like = shapes_of(model, data) if shaped else None
    known = bool(jax.tree.leaves(like))
    if known:
        require_structure(params, like, "params")
    model.check_shape(params, one_row(data))
    if known:
        require_shapes(params, like, "params")
    if is_concrete(params):
        check_params(model, params, "params")
    if shared is not None:
        check_question(model, shared)
    elif is_concrete((data, weights)):
        # On the host first: under a trace even known values would be traced.
        model.check_rows(without_absent(jax.tree.map(np.asarray, data), weights))
    return Admitted(data, weights, params)


def for_start(data: Any, weights: Any = None) -> tuple[PyTree, Any]:
    """Data to draw a start from, or to count, and a weight for each observation: 1, unless they are given."""
    if data is None:
        return None, weights
    data = as_data(data)
    n, dtype = count_rows(data), float_dtype(data)
    if is_shared(data):
        own = look_at(data, weights).weights
        return data, ones_beside(data, dtype) if own is None else beside(data, own.astype(dtype))
    data = jax.tree.map(lambda leaf: leaf if is_spread(leaf) else jax.device_put(leaf), data)
    return data, beside(data, ones_beside(data, dtype) if weights is None else as_weights(weights, n, dtype))


def question(
    method: Callable | None = None, *, fill: bool = True, by_step: bool = False, quickly: bool = False
) -> Callable:
    """A method of a model that is asked about `data` at `params` (and `weights`, if it takes any), compiled.

    What it is given comes through the door. A function will do, if it calls the model `model`. It is compiled for a
    few numbers of rows, and tables are filled up to the next: the answer has the rows as its leading axis, or is a sum
    by `weights`. Sequences are filled up with steps as well, and an answer whose second axis is theirs says `by_step`.
    What is of another kind, or has rows beside those in `data`, says `fill=False`; what takes a key to draw is never
    filled. What is asked once says `quickly`: less time is spent on its compilation.
    """
    if method is None:
        return functools.partial(question, fill=fill, by_step=by_step, quickly=quickly)
    called, signature = _called(method), inspect.signature(method)
    for_few, for_many = Program(called, quickly=True), Program(called, quickly=quickly)
    asked = "self" if "self" in signature.parameters else "model"
    fill, totals = fill and "key" not in signature.parameters, "weights" in signature.parameters

    @functools.wraps(method)
    def ask(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        values = given.arguments
        mesh = explicit_mesh(values)
        if mesh is not None:
            return with_auto_axes(lambda values: ask(**values), mesh, count_rows(values["data"]), dict(values))
        found = for_question(values[asked], values["params"], values["data"], values.get("weights"))
        weights, table = found.weights, None
        if fill and is_concrete(found.params):
            dtype = float_dtype((found.params, found.data))
            table = filled(found.data, weights, dtype, ASKED, values[asked].lengthen)
        values.update(data=found.data if table is None else table.data, params=found.params)
        if totals and table is not None:
            weights = table.weights
        if weights is not None:
            values["weights"] = weights
        few = sum(leaf.size for leaf in jax.tree.leaves(values["data"])) <= _FEW_NUMBERS
        answer = (for_few if few else for_many)(given.args, given.kwargs)
        return answer if totals or table is None else without_fill(answer, table, by_step)

    return ask


def _called(method: Callable) -> Callable:
    def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return method(*args, **kwargs)

    return call


def has_prior(model: Any, data: PyTree) -> bool:
    """Whether the log prior density depends on the parameters."""
    params = shapes_of(model, data)
    if params is None:
        params = jax.eval_shape(model.init, jax.random.key(0), data)
    return any(jax.tree.leaves(leaves_used(model.log_prior, params)))


def one_row(data: PyTree) -> PyTree:
    """A row of zeros of the same shape and kinds as those in `data`, on the host: what can be asked of shapes."""
    return jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape[1:]), leaf.dtype), data)


def count_rows(data: PyTree, name: str = "data") -> int:
    """How many rows there are: at least one."""
    leaves = jax.tree.leaves(data)
    if not leaves or leaves[0].ndim == 0:
        raise DataError(f"{name} has no rows: it must be a table of shape [rows, columns]")
    if leaves[0].shape[0] == 0:
        raise DataError(f"{name} is empty: it has 0 rows")
    return leaves[0].shape[0]


def without_absent(data: PyTree, weights: Any) -> PyTree:
    """The same rows, but those of weight 0 as copies of the first that has a positive one; on the host."""
    if weights is None or not is_concrete(weights):
        return data
    present = np.asarray(weights) > 0
    if present.all():
        return data
    if is_spread(data):
        return _without_absent(data, beside(data, present), int(np.argmax(present)))
    return with_copies(data, present)


def _without_absent(data: PyTree, present: Any, first: int) -> PyTree:
    """The rows where they lie, but those that are not `present` as copies of the `first` that is."""

    def one(leaf: Any) -> Any:
        return jnp.where(trailing(present, leaf), leaf, row_at(leaf, np.int32(first)))

    return jax.tree.map(one, data)


def without_unusable(model: Any, data: PyTree, weights: Array) -> PyTree:
    """The same rows, but those of weight 0 whose numbers could reach a result as copies of one of positive weight.

    Under a trace: 0 times NaN or infinity is no 0, nor is what is so large that the square of its square overflows.
    Other rows of weight 0 stay, for derivatives with respect to their weight.
    """
    lost, first = model.unusable(data), jnp.argmax(weights > 0)
    for leaf in jax.tree.leaves(data):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            huge = jnp.isfinite(leaf) & (jnp.abs(leaf) > float(jnp.finfo(leaf.dtype).max) ** 0.25)
            lost = lost | jnp.any(huge, tuple(range(1, leaf.ndim)))
    lost = lost & (weights == 0)

    def replaced(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        # Of several devices, one may have no row of positive weight.
        copy = jnp.where(row_at(weights, first) > 0, row_at(leaf, first), jnp.zeros((), leaf.dtype))
        return jnp.where(trailing(lost, leaf), copy[None], leaf)

    return jax.tree.map(replaced, data)


def in_one_precision(params: PyTree, data: PyTree) -> tuple[PyTree, PyTree]:
    """Parameters and data in the higher of their precisions; integers among the parameters are numbers too."""
    numbers = [leaf for leaf in jax.tree.leaves((params, data)) if eqx.is_array(leaf) or isinstance(leaf, np.generic)]
    floats = {jnp.dtype(leaf.dtype) for leaf in numbers if jnp.issubdtype(leaf.dtype, jnp.floating)}
    target = jax.dtypes.canonicalize_dtype(max(floats, key=lambda dtype: dtype.itemsize, default=np.dtype(float)))

    def cast(tree: PyTree, kinds: str) -> PyTree:
        def one(leaf: Any) -> Any:
            wrong = eqx.is_array(leaf) and leaf.dtype.kind in kinds and leaf.dtype != target
            return leaf.astype(target) if wrong else leaf

        return jax.tree.map(one, tree)

    return cast(params, "fiu"), cast(data, "f")


def check_params(model: Any, params: PyTree, name: str, *, strict: bool = False) -> None:
    """Raise `DataError` for parameters that are not finite, or not where `model.domains` says that they lie."""
    leaves, domains = jax.tree.leaves(params), model.domains
    if not strict and _LAST.are(leaves, domains):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        own, values = leaf_name(path), np.asarray(leaf)
        found = fault(values, domains.get(own, "real"), strict=strict) if values.dtype.kind in "fiu" else None
        if found:
            raise DataError(f"{name}.{own} {found}" if own else f"{name} {found}")
    _LAST.become(leaves, domains)


class _Last:
    """The arrays that were checked last: JAX's own cannot change, so that the next question need not look again."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.domains: Any = None

    def are(self, leaves: list[Any], domains: Any) -> bool:
        if len(leaves) != len(self.arrays) or domains != self.domains:
            return False
        return all(known() is leaf for known, leaf in zip(self.arrays, leaves, strict=True))

    def become(self, leaves: list[Any], domains: Any) -> None:
        fixed = all(isinstance(leaf, jax.Array) for leaf in leaves)
        self.arrays, self.domains = [weakref.ref(leaf) for leaf in leaves] if fixed else [], dict(domains)


_LAST = _Last()


def require_params(params: PyTree) -> None:
    """Raise `DataError` for a whole fit in the place of its parameters."""
    if hasattr(params, "params") and hasattr(params, "status"):
        raise DataError("params is a fit: pass its parameters, fit.params")
