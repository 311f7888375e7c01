"""Soft clustering: responsibilities, and the codes that rows are responsible for."""

from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxem._arguments import as_count
from jaxem.families import GaussianParams
from jaxem.layers._layer import AbstractLayer, Fitting, as_start, gaussian
from jaxem.layers._mixture import MixtureTask
from jaxem.layers._run import fit, state_after
from jaxem.models import Mixture, MixtureParams


class Clusters(NamedTuple):
    """What `soft_clustering` finds.

    - `responsibilities`: of each code for each row, `[n, k]`; rows sum to 1.
    - `codes`: `[k, d]`.
    - `trusted`: true if the run came to its end, and no code is without rows and prior: only then is its derivative
        what the adjoint says. It is finite in any case.
    """

    responsibilities: Float[Array, "n k"]
    codes: Float[Array, "k d"]
    trusted: Bool[Array, ""]


def soft_clustering(
    x: Float[Array, "n d"],
    codes: Float[Array, "k d"],
    *,
    temperature: Any = 1.0,
    warm: Float[Array, "k d"] | None = None,
    weights: Float[Array, " n"] | None = None,
    fitting: Fitting | None = None,
) -> Clusters:
    """Soft k-means: EM for codes that all rows are equally likely to come from, with spread `sqrt(temperature)`.

    Responsibilities are proportional to `exp(-|x - code|^2 / (2 temperature))`, and each code is the mean of the rows
    that it is responsible for, with its initial value for `fitting.pseudo_count` rows more. Towards temperature 0 it is
    k-means. A pure function, for `jax.jit`, `jax.vmap` over a batch of sets of rows, and derivatives with respect to
    `x`, `codes`, `temperature` and `weights`. Dempster, Laird and Rubin (1977); Rose (1998) for the temperature.

    **Arguments:**

    - `x`: rows, `[n, d]`. A set with a value that is not finite counts as rows of zeros, and is not trusted.
    - `codes`: initial codes, `[k, d]`, of the same precision.
    - `temperature`: positive.
    - `warm`: codes to start from in their place, such as those of the last call. The prior stays at `codes`.
    - `weights`: of the rows, `[n]`; 0 for padding.
    - `fitting`: see `Fitting`.

    **Raises:** `DataError` for shapes and precisions that do not fit together.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> clusters = jaxem.layers.soft_clustering(x, jnp.array([[1.0], [4.0]]))
    >>> [round(code, 2) for code in clusters.codes[:, 0].tolist()], bool(clusters.trusted)
    ([0.4, 4.73], True)
    """
    fitting = Fitting() if fitting is None else fitting
    codes = as_start("codes", codes, 2)
    task = _task(codes, fitting)
    begin = None if warm is None else _params(as_start("warm", warm, 2))
    found = fit(task, begin, x, weights, temperature, fitting)
    return Clusters(found.look.shares, found.params.components.mean, found.trusted)


def _params(codes: Array) -> MixtureParams:
    k, dtype = codes.shape[0], codes.dtype
    return MixtureParams(jnp.full(k, 1 / k, dtype), GaussianParams(codes, jnp.ones(k, dtype)))


def _task(codes: Array, fitting: Fitting) -> MixtureTask:
    start = _params(codes)
    family = gaussian("spherical", start.components, fitting.pseudo_count)
    model = Mixture(family, codes.shape[0], frozen=("weights", "components.covariance"))
    return MixtureTask(model, start)


@final
class SoftClustering(AbstractLayer):
    """`soft_clustering` as a layer: initial codes and temperature are learned.

    `layer(x, state=None, weights=None)` is `(clusters, state)`. The state, codes `[k, d]`, is what the next call may
    start from, like that of a recurrent cell: `None` starts from the learned codes. In a batch,
    `jax.vmap(layer)(x, state)`.

    **Arguments:**

    - `num_codes`, `num_features`: `k` and `d`.
    - `key`: initial codes are drawn from a standard normal distribution.
    - `temperature`: its initial value.
    - `learn_temperature`: false to keep it.
    - `fitting`: see `Fitting`.

    **Example**

    >>> import jax, jaxem
    >>> layer = jaxem.layers.SoftClustering(4, 2, key=jax.random.key(0))
    >>> x = jax.random.normal(jax.random.key(1), (32, 10, 2))
    >>> clusters, state = jax.jit(jax.vmap(layer))(x)
    >>> clusters.responsibilities.shape, clusters.codes.shape, clusters.trusted.shape
    ((32, 10, 4), (32, 4, 2), (32,))
    """

    codes: Float[Array, "k d"]

    def __init__(
        self,
        num_codes: int,
        num_features: int,
        *,
        key: PRNGKeyArray,
        temperature: float = 1.0,
        learn_temperature: bool = True,
        fitting: Fitting | None = None,
    ):
        shape = as_count("num_codes", num_codes), as_count("num_features", num_features)
        self.codes = jax.random.normal(key, shape)
        super().__init__(temperature, learn_temperature, fitting)

    def __call__(
        self, x: Float[Array, "n d"], state: Float[Array, "k d"] | None = None, weights: Array | None = None
    ) -> tuple[Clusters, Float[Array, "k d"]]:
        """Clusters of one set of rows `[n, d]`, and the state after them."""
        clusters = soft_clustering(x, self.codes, **self.options(state, weights))
        return clusters, state_after(self.codes, clusters.codes, clusters.trusted)
