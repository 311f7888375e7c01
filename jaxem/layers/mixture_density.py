"""Mixture density: how likely rows are under a mixture that is fitted to a set of them."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._arguments import as_count
from jaxem.families import Gaussian
from jaxem.layers._layer import AbstractLayer, Fitting, as_mixture, dirichlet, free_members, gaussian
from jaxem.layers._mixture import MixtureTask, log_density
from jaxem.layers._run import fit, state_after
from jaxem.models import Mixture, MixtureParams


class Density(NamedTuple):
    """What `mixture_density` finds.

    - `log_density`: of each row, `[m]`, in nats.
    - `responsibilities`: of each component for each row that the mixture is fitted to, `[n, k]`.
    - `params`: the fitted mixture.
    - `trusted`: true if the run came to its end, and no component is empty or collapsed: only then is its derivative
        what the adjoint says. It is finite in any case.
    """

    log_density: Float[Array, " m"]
    responsibilities: Float[Array, "n k"]
    params: MixtureParams
    trusted: Bool[Array, ""]


def mixture_density(
    x: Float[Array, "n d"],
    start: MixtureParams,
    *,
    at: Float[Array, "m d"] | None = None,
    covariance: str = "diagonal",
    temperature: Any = 1.0,
    warm: MixtureParams | None = None,
    weights: Float[Array, " n"] | None = None,
    fitting: Fitting | None = None,
) -> Density:
    """The log density of rows under a mixture of Gaussians that EM fits to `x`.

    With `fitting.pseudo_count` the prior has its mode at `start`: a Dirichlet prior of the weights, and a
    normal-inverse-Wishart prior of the components (inverse gammas for separate variances), so that none dies or
    collapses. A pure function, for `jax.jit`, `jax.vmap` over a batch of sets of rows, and derivatives with respect to
    all that is an array. Dempster, Laird and Rubin (1977); Fraley and Raftery (2007) for the prior.

    **Arguments:**

    - `x`: rows to fit to, `[n, d]`. A set with a value that is not finite counts as rows of zeros, and is not trusted.
    - `start`: `jaxem.models.MixtureParams` of `jaxem.families.GaussianParams`, of the same precision.
    - `at`: rows to evaluate the density at, `[m, d]`; by default `x`. What is not finite counts as zeros there, too.
    - `covariance`: `"full"`, `"tied"`, `"diagonal"` or `"spherical"`, which says the shape of `start`.
    - `temperature`: of the responsibilities during the fit, positive. The density is the mixture's own.
    - `warm`: parameters to start from in the place of `start`, such as those of the last call. The prior stays.
    - `weights`: of the rows, `[n]`; 0 for padding.
    - `fitting`: see `Fitting`.

    **Raises:** `DataError` for shapes and precisions that do not fit together.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> components = jaxem.families.GaussianParams(jnp.array([[1.0], [4.0]]), jnp.ones((2, 1)))
    >>> start = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), components)
    >>> density = jaxem.layers.mixture_density(x, start, at=jnp.array([[0.0], [2.5]]))
    >>> bool(density.log_density[0] > density.log_density[1])
    True
    """
    fitting = Fitting() if fitting is None else fitting
    start = as_mixture("start", start)
    family = gaussian(covariance, start.components, fitting.pseudo_count)
    prior = dirichlet(start.weights, fitting.pseudo_count)
    task = MixtureTask(Mixture(family, start.weights.shape[0], prior), start)
    found = fit(task, None if warm is None else as_mixture("warm", warm), x, weights, temperature, fitting)
    trusted, rows = found.trusted, found.data
    if at is not None:
        rows = jnp.asarray(at)
        finite = jnp.all(jnp.isfinite(rows))
        trusted, rows = trusted & finite, jnp.where(finite, rows, 0)
    return Density(log_density(task.model, found.params, rows), found.look.shares, found.params, trusted)


@final
class MixtureDensity(AbstractLayer):
    """`mixture_density` as a layer: the initial mixture and the temperature are learned.

    `layer(x, at=None, state=None, weights=None)` is `(density, state)`. The state, parameters of a mixture, is what the
    next call may start from, like that of a recurrent cell: `None` starts from the learned ones. In a batch,
    `jax.vmap(lambda x, state: layer(x, state=state))(x, state)`.

    **Arguments:**

    - `num_components`, `num_features`: `k` and `d`.
    - `key`: initial means are drawn from a standard normal distribution; variances are 1, and weights equal.
    - `covariance`: see `mixture_density`.
    - `temperature`: its initial value.
    - `learn_temperature`: true to learn it.
    - `fitting`: see `Fitting`.

    **Example**

    >>> import jax, jaxem
    >>> layer = jaxem.layers.MixtureDensity(3, 2, key=jax.random.key(0))
    >>> x = jax.random.normal(jax.random.key(1), (8, 20, 2))
    >>> density, state = jax.jit(jax.vmap(layer))(x)
    >>> density.log_density.shape, state.weights.shape
    ((8, 20), (8, 3))
    """

    logits: Float[Array, " k"]
    components: PyTree  # in unconstrained coordinates
    covariance: str = eqx.field(static=True)

    def __init__(
        self,
        num_components: int,
        num_features: int,
        *,
        key: PRNGKeyArray,
        covariance: str = "diagonal",
        temperature: float = 1.0,
        learn_temperature: bool = False,
        fitting: Fitting | None = None,
    ):
        k, d = as_count("num_components", num_components), as_count("num_features", num_features)
        family = Gaussian(covariance)
        self.logits, self.covariance = jnp.zeros(k), family.covariance
        self.components = free_members(key, family, k, d)
        super().__init__(temperature, learn_temperature, fitting)

    @property
    def start(self) -> MixtureParams:
        """The initial mixture."""
        return MixtureParams(jax.nn.softmax(self.logits), Gaussian(self.covariance).constrain(self.components))

    def __call__(
        self,
        x: Float[Array, "n d"],
        at: Float[Array, "m d"] | None = None,
        state: MixtureParams | None = None,
        weights: Array | None = None,
    ) -> tuple[Density, MixtureParams]:
        """The density at rows `[m, d]` (by default `x`) of the mixture of one set of rows `[n, d]`, and the state."""
        start = self.start
        density = mixture_density(x, start, at=at, covariance=self.covariance, **self.options(state, weights))
        return density, state_after(start, density.params, density.trusted)
