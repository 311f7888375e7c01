"""Slots that compete for rows: attention that is a posterior, and what each slot reads."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxem._arguments import as_count
from jaxem._errors import DataError
from jaxem.kernels.linalg import matmul
from jaxem.layers._layer import AbstractLayer, Fitting
from jaxem.layers._run import state_after
from jaxem.layers.soft_clustering import soft_clustering


class Slots(NamedTuple):
    """What `slot_competition` finds.

    - `attention`: of each row, `[n, k]`: what of it goes to each slot; rows sum to 1.
    - `readout`: the mean of the values that each slot attends to, `[k, v]`; 0 for one that attends to none.
    - `queries`: where the slots ended among the keys, `[k, d]`.
    - `trusted`: as of `Clusters`.
    """

    attention: Float[Array, "n k"]
    readout: Float[Array, "k v"]
    queries: Float[Array, "k d"]
    trusted: Bool[Array, ""]


def slot_competition(
    keys: Float[Array, "n d"],
    values: Float[Array, "n v"],
    queries: Float[Array, "k d"],
    *,
    temperature: Any = 1.0,
    warm: Float[Array, "k d"] | None = None,
    weights: Float[Array, " n"] | None = None,
    fitting: Fitting | None = None,
) -> Slots:
    """Slots compete for rows by soft clustering of their keys, and each reads the mean of the values it wins.

    As in slot attention (Locatello et al. 2020) the slots share out each row, and a slot moves to the mean of what it
    gets; nearness takes the place of inner products, which makes the iteration EM, and its fixed point differentiable
    (Chang, Griffiths and Levine 2022). There is no recurrent cell between iterations.

    **Arguments:**

    - `keys`, `values`: of each row, `[n, d]` and `[n, v]`. A set with a value that is not finite counts as rows of
        zeros, and is not trusted.
    - `queries`: where the slots begin among the keys, `[k, d]`.
    - `temperature`, `warm`, `weights`, `fitting`: as of `soft_clustering`.

    **Raises:** `DataError` for shapes and precisions that do not fit together.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> keys = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> slots = jaxem.layers.slot_competition(keys, 10 * keys, jnp.array([[1.0], [4.0]]))
    >>> slots.readout[:, 0].round(1).tolist()
    [1.0, 51.0]
    """
    keys, values = jnp.asarray(keys), jnp.asarray(values)
    if values.ndim != 2 or keys.ndim != 2 or values.shape[0] != keys.shape[0]:
        raise DataError(f"keys and values must be [n, d] and [n, v], got {list(keys.shape)} and {list(values.shape)}")
    finite = jnp.all(jnp.isfinite(values))
    found = soft_clustering(keys, queries, temperature=temperature, warm=warm, weights=weights, fitting=fitting)
    share = found.responsibilities
    if weights is not None:
        weights = jnp.asarray(weights)
        share = share * jnp.where(jnp.isfinite(weights), weights, 0)[:, None]
    total = jnp.sum(share, 0)[:, None]
    some = total > jnp.finfo(share.dtype).tiny ** 0.5
    read = matmul(share.T, jnp.where(finite, values, 0))
    readout = jnp.where(some, read / jnp.where(some, total, 1), 0)
    return Slots(found.responsibilities, readout, found.codes, found.trusted & finite)


@final
class SlotCompetition(AbstractLayer):
    """`slot_competition` as a layer: rows are normalised and mapped to keys and values; slots are learned.

    `layer(x, state=None, weights=None)` is `(slots, state)`. The state, queries `[k, d]`, is what the next call may
    start from, such as the next frame of a film: `None` starts from the learned ones. In a batch,
    `jax.vmap(layer)(x, state)`.

    **Arguments:**

    - `num_slots`, `num_features`: how many slots, and the width of the rows.
    - `num_keys`, `num_values`: widths of keys and values; by default that of the rows.
    - `key`: weights of the maps, and initial queries from a standard normal distribution.
    - `temperature`: its initial value; by default the square root of `num_keys`.
    - `learn_temperature`: false to keep it.
    - `fitting`: see `Fitting`.

    **Example**

    >>> import jax, jaxem
    >>> layer = jaxem.layers.SlotCompetition(3, 8, key=jax.random.key(0), fitting=jaxem.layers.Fitting(steps=3))
    >>> slots, state = jax.jit(jax.vmap(layer))(jax.random.normal(jax.random.key(1), (2, 16, 8)))
    >>> slots.attention.shape, slots.readout.shape
    ((2, 16, 3), (2, 3, 8))
    """

    norm: eqx.nn.LayerNorm
    to_keys: eqx.nn.Linear
    to_values: eqx.nn.Linear
    queries: Float[Array, "k d"]

    def __init__(
        self,
        num_slots: int,
        num_features: int,
        *,
        key: PRNGKeyArray,
        num_keys: int | None = None,
        num_values: int | None = None,
        temperature: float | None = None,
        learn_temperature: bool = True,
        fitting: Fitting | None = None,
    ):
        k, width = as_count("num_slots", num_slots), as_count("num_features", num_features)
        d = width if num_keys is None else as_count("num_keys", num_keys)
        v = width if num_values is None else as_count("num_values", num_values)
        first, second, third = jax.random.split(key, 3)
        self.norm = eqx.nn.LayerNorm(width)
        self.to_keys = eqx.nn.Linear(width, d, use_bias=False, key=first)
        self.to_values = eqx.nn.Linear(width, v, use_bias=False, key=second)
        self.queries = jax.random.normal(third, (k, d))
        super().__init__(d**0.5 if temperature is None else temperature, learn_temperature, fitting)

    def __call__(
        self, x: Float[Array, "n f"], state: Float[Array, "k d"] | None = None, weights: Array | None = None
    ) -> tuple[Slots, Float[Array, "k d"]]:
        """Slots of one set of rows `[n, num_features]`, and the state after them."""
        finite = jnp.all(jnp.isfinite(x))
        rows = jax.vmap(self.norm)(jnp.where(finite, x, 0))
        keys, values = jax.vmap(self.to_keys)(rows), jax.vmap(self.to_values)(rows)
        slots = slot_competition(keys, values, self.queries, **self.options(state, weights))
        slots = slots._replace(trusted=slots.trusted & finite)
        return slots, state_after(self.queries, slots.queries, slots.trusted)
