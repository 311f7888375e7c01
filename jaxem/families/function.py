from collections.abc import Callable
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._constraints import by_name, mapped
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._paths import covers, leaf_name
from jaxem.families._family import AbstractFamily
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.kernels.chunks import num_rows


@final
class FunctionFamily(AbstractFamily):
    """A family given by the log density of one row under one member.

    **Arguments:**

    - `log_density`: `log_density(params, row)`, a scalar: of one row of the data, given the parameters of one member;
        minus infinity where the row cannot occur. Any function that JAX differentiates, such as a neural network.
    - `start`: `start(key, point, rows, weights)`, starting parameters of one member, about the row `point`. Or
        parameters of one member, for members that are random perturbations of them.
    - `constraints`: where parameters lie, as for `jaxem.FunctionModel`.
    - `prior`: log prior density of the parameters of all members (with their leading axis).
    - `shared`: names of parameters that all members have in common, such as the trunk of a network.
    - `parameters`: names of the parameters, where some are to be named in `frozen`.
    - `draw`: `draw(key, params)`, one row from one member, for `sample`.
    - `embed`: `embed(rows)`, coordinates `[n, q]` in which Euclidean distance makes sense, for seeding; by default all
        numbers of a row, each over its standard deviation.
    - `check`: `check(rows)`, which raises an error for rows that cannot be used; NaN and infinity are refused before.

    Parameters are those of one member with a leading axis of members `k`. The family is on rung 1: mixtures and other
    models of it are fitted by EM gradient (small members) and `jaxem.gem(...)` (large ones).

    **Example**

    A mixture of Laplace distributions:

    >>> import jax, jax.numpy as jnp, jaxem
    >>> def log_density(params, row):
    ...     return -jnp.abs(row[0] - params["centre"]) / params["scale"] - jnp.log(2 * params["scale"])
    >>> def start(key, point, rows, weights):
    ...     mean = jnp.average(rows, weights=weights, axis=0)
    ...     variance = jnp.average((rows - mean) ** 2, weights=weights, axis=0)
    ...     return {"centre": point[0], "scale": jnp.sqrt(variance[0])}
    >>> family = jaxem.families.FunctionFamily(log_density, start, constraints={"scale": "positive"})
    >>> x = jnp.array([[-2.0], [-1.9], [-2.2], [3.0], [3.1], [2.8]])
    >>> fit = jaxem.fit(jaxem.Mixture(family, 2), x, key=jax.random.key(0), algorithm=jaxem.gem(), max_steps=50)
    >>> fit.params.components["centre"].shape
    (2,)
    """

    log_density: Callable[[PyTree, PyTree], Array] = eqx.field(static=True)
    start: Any
    constraints: Any = eqx.field(static=True, default=None, converter=by_name)
    prior: Callable[[PyTree], Array] | None = eqx.field(static=True, default=None)
    shared: tuple[str, ...] = eqx.field(static=True, default=())
    parameters: tuple[str, ...] = eqx.field(static=True, default=())
    _draw: Callable[[PRNGKeyArray, PyTree], PyTree] | None = eqx.field(static=True, default=None)
    _embed: Callable[[PyTree], Array] | None = eqx.field(static=True, default=None)
    _check: Callable[[PyTree], None] | None = eqx.field(static=True, default=None)

    linear: ClassVar[bool] = False

    def __init__(
        self,
        log_density: Callable[[PyTree, PyTree], Array],
        start: Any,
        *,
        constraints: Any = None,
        prior: Callable[[PyTree], Array] | None = None,
        shared: tuple[str, ...] = (),
        parameters: tuple[str, ...] = (),
        draw: Callable[[PRNGKeyArray, PyTree], PyTree] | None = None,
        embed: Callable[[PyTree], Array] | None = None,
        check: Callable[[PyTree], None] | None = None,
    ):
        self.log_density, self.start, self.constraints, self.prior = log_density, start, constraints, prior
        self.shared, self.parameters = tuple(shared), (*shared, *(name for name in parameters if name not in shared))  # pyright: ignore
        self._draw, self._embed, self._check = draw, embed, check

    def natural(self, params):
        return params

    def potentials(self, natural, x) -> Float[Array, "k n"]:
        each = jax.vmap(self.log_density, (None, 0))
        return jax.vmap(each, (self._axes(natural), None))(natural, x)

    def log_base(self, x):
        leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return jnp.zeros(num_rows(x), leaves[0].dtype if leaves else jnp.result_type(float))

    def log_prior(self, params):
        return jnp.zeros((), jax.tree.leaves(params)[0].dtype) if self.prior is None else self.prior(params)

    def unconstrain(self, params):
        return mapped(self.constraints, params, 0)

    def constrain(self, free):
        return mapped(self.constraints, free, 1)

    def _axes(self, tree):
        return self._mapped(lambda leaf: 0, tree, lambda leaf: None)

    def _mapped(
        self, fn: Callable[[Any], Any], tree: PyTree, shared: Callable[[Any], Any] = lambda leaf: leaf
    ) -> PyTree:
        """`fn` of the leaves with an axis of members, `shared` of the others."""

        def one(path, leaf):
            return (shared if any(covers(name, leaf_name(path)) for name in self.shared) else fn)(leaf)

        return jax.tree_util.tree_map_with_path(one, tree)

    # Starts

    def kernel(self) -> "FunctionKernel":
        return FunctionKernel(self)

    def from_points(self, points, x, weights):
        return self.drawn(jax.random.key(0), points, x, weights)

    def drawn(self, key: PRNGKeyArray, points: PyTree, x: PyTree, weights: Array) -> PyTree:
        """Starting parameters about `points`, random where `start` is."""
        keys = jax.random.split(key, num_rows(points))
        start = self.start if callable(self.start) else self._perturbed
        each = jax.vmap(start, (0, 0, None, None))(keys, points, x, weights)
        return self._mapped(lambda leaf: leaf, each, lambda leaf: leaf[0])

    def _perturbed(self, key, point, rows, weights):
        flat, unravel = ravel_pytree(self.unconstrain(jax.tree.map(jnp.asarray, self.start)))
        noise = jax.random.normal(key, flat.shape, flat.dtype)
        return self.constrain(unravel(flat + 0.1 * (1 + jnp.abs(flat)) * noise))

    def embed(self, x, weights=None):
        if self._embed is not None:
            return self._embed(x)
        flat = _flat(x)
        share = (
            jnp.full(flat.shape[0], 1 / flat.shape[0], flat.dtype) if weights is None else weights / jnp.sum(weights)
        )
        share = share[:, None].astype(flat.dtype)
        rest = flat - jnp.sum(share * flat, 0, keepdims=True)
        deviation = jnp.sqrt(jnp.sum(share * rest**2, 0, keepdims=True))
        return flat / jnp.where(deviation > 0, deviation, 1)

    # Data

    def sample(self, key, params, labels):
        if self._draw is None:
            raise MissingCapabilityError("FunctionFamily does not say how to draw a row: give it `draw`")
        own = self._mapped(lambda leaf: leaf[labels], params)
        keys = jax.random.split(key, labels.shape[0])
        return jax.vmap(self._draw, (0, self._axes(params)))(keys, own)

    def check(self, x: Any, name: str = "data") -> None:
        for path, leaf in jax.tree_util.tree_leaves_with_path(x):
            bad = np.argwhere(~np.isfinite(np.asarray(leaf)))
            if bad.size:
                own = ".".join(filter(None, (name, leaf_name(path))))
                raise DataError(f"{own}: row {int(bad[0][0])} has a value that is not finite; drop such rows first")
        if self._check is not None:
            self._check(x)


@final
class FunctionKernel(AbstractKernel):
    """The family with a `key` for its starts."""

    family: FunctionFamily
    key: PRNGKeyArray | None = None

    def potentials(self, natural, x):
        return self.family.potentials(natural, x)

    def for_starts(self, key):
        return FunctionKernel(self.family, key)

    def from_points(self, points, x, weights):
        return self.family.drawn(jax.random.key(0) if self.key is None else self.key, points, x, weights)


def _flat(rows: PyTree) -> Float[Array, "n q"]:
    """All numbers of each row."""
    leaves = [leaf for leaf in jax.tree.leaves(rows) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], 1)


def NeuralFamily(
    make: Callable[[PRNGKeyArray], Any],
    log_density: Callable[[Any, PyTree], Array],
    **options: Any,
) -> FunctionFamily:
    """A family whose members are neural networks: Equinox modules, or other trees with arrays among their leaves.

    It is a function that makes a `FunctionFamily`, which is what `isinstance` tells.

    **Arguments:**

    - `make`: `make(key)`, a module with random starting weights.
    - `log_density`: `log_density(module, row)`, a scalar.
    - `options`: as for `FunctionFamily`; `shared` and `constraints` name arrays of the module, such as
        `"layers.0.weight"`.

    Parameters are the arrays of the module, with a leading axis of members; `eqx.combine` with
    `eqx.partition(make(key), eqx.is_inexact_array)[1]` makes it a module again.

    **Example**

    >>> import equinox as eqx, jax, jax.numpy as jnp, jaxem
    >>> def make(key):
    ...     return eqx.nn.MLP("scalar", "scalar", 8, 1, activation=jnp.tanh, key=key)
    >>> def log_density(network, row):
    ...     return -((row[1] - network(row[0])) ** 2) / 2
    >>> family = jaxem.families.NeuralFamily(make, log_density)
    >>> model = jaxem.Mixture(family, num_components=2)
    """
    static = eqx.filter(eqx.filter_eval_shape(make, jax.random.key(0)), _is_weight, inverse=True)

    def start(key, point, rows, weights):
        return eqx.filter(make(key), eqx.is_inexact_array)

    def density(params, row):
        return log_density(eqx.combine(params, static), row)

    return FunctionFamily(density, start, **options)


def _is_weight(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.inexact)
