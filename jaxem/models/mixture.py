from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem import _bijections as bijections
from jaxem._door import for_start
from jaxem._errors import MissingCapabilityError
from jaxem.families import AbstractFamily, Gaussian, Incomplete
from jaxem.families.priors import Dirichlet, NormalInverseWishart, StickBreaking
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels import exclusion
from jaxem.kernels.chunks import num_rows
from jaxem.models._mixture import AbstractMixture
from jaxem.models.labelled import Labelled


class MixtureParams(NamedTuple):
    """Mixing `weights` `[k]`, and the parameters of the `components` with a leading axis `k`."""

    weights: Float[Array, " k"]
    components: Any


class MixtureNatural(NamedTuple):
    """Log weights `[k]`, and the components' natural parameters."""

    log_weights: Float[Array, " k"]
    components: Any


class _Prepared(NamedTuple):
    """What `prepare` makes of the members, which take in the log weights if they can: `None` is then left of these.

    That saves a pass over the potentials, and two over their moments.
    """

    log_weights: Float[Array, " k"] | None
    members: Any


@final
class Mixture(AbstractMixture):
    """A finite mixture of `num_components` members of a family.

    **Arguments:**

    - `family`: the distribution of a component, such as `jaxem.Gaussian(...)` or `jaxem.Poisson()`, or a
        `jaxem.Product` of several for mixed columns.
    - `num_components`: how many components, `k`.
    - `weights_prior`: a `Dirichlet` or `StickBreaking` prior of the weights.
    - `frozen`: names of parameters kept at their starting value, such as `("weights", "components.covariance")`; the
        others are maximised given them.
    - `start`: how a start is drawn when `fit` is not told: an `AbstractInit`.

    A component whose expected count falls to rounding error keeps its parameters, with weight 0, and the fit has status
    `degenerate_component`.

    Data are rows `[n, d]` (a dictionary of tables for a `Product` without columns), or `Labelled` rows. Parameters are
    `MixtureParams`. McLachlan and Peel (2000).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Mixture(jaxem.Poisson(), num_components=2)
    >>> counts = jnp.array([[0.0], [1.0], [0.0], [9.0], [11.0], [10.0]])
    >>> fit = jaxem.fit(model, counts, key=jax.random.key(0), restarts=4)
    >>> sorted(fit.params.components.rate[:, 0].round(1).tolist())
    [0.3, 10.0]
    """

    family: AbstractFamily
    num_components: int = eqx.field(static=True)
    weights_prior: Dirichlet | StickBreaking | None = None
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    def __check_init__(self):
        self.check_components()
        self.known_names("weights")

    def with_family(self, family):
        return Mixture(family, self.num_components, self.weights_prior, self.frozen, self.start)

    def rows(self, data):
        return self.family.read(data.rows if isinstance(data, Labelled) else data)

    def natural(self, params: MixtureParams) -> MixtureNatural:
        return MixtureNatural(exclusion.log(params.weights), self.family.natural(params.components))

    def prepare(self, natural: MixtureNatural) -> "_Prepared":
        nested = self.family.latent is not None
        members = None if nested else self.family.add_constant(natural.components, natural.log_weights)
        if members is None:
            return _Prepared(natural.log_weights, self.family.prepare(natural.components))
        return _Prepared(None, self.family.prepare(members))

    def potentials(self, natural: "MixtureNatural | _Prepared", data: PyTree) -> PyTree:
        log_weights, members = natural if isinstance(natural, _Prepared) else self.prepare(natural)
        if log_weights is None:
            return self.allowed(self.family.potentials(members, self.rows(data)), data)
        shape = (self.num_components, num_rows(self.rows(data)))
        return self.joint(jnp.broadcast_to(log_weights[:, None], shape), members, data)

    def maximize(self, stats: MixtureNatural, params: MixtureParams) -> MixtureParams:
        weights = params.weights
        if "weights" not in self.frozen:
            counts = jnp.where(self.family.empty(stats.log_weights), 0, stats.log_weights)
            if self.weights_prior is not None:
                weights = self.weights_prior.estimate(counts, weights)
            else:
                total = jnp.sum(counts)
                weights = jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), weights)
        return MixtureParams(weights, self.maximize_members(stats, params))

    def log_prior(self, params):
        prior = self.family.log_prior(params.components).astype(params.weights.dtype)
        return prior if self.weights_prior is None else prior + self.weights_prior.log_prob(params.weights)

    # The posterior: `MixtureParams` of priors

    def require_prior(self):
        self.require_free()
        if self.weights_prior is None:
            raise MissingCapabilityError(
                "Mixture has no prior on its weights, and a posterior needs one: weights_prior=Dirichlet(...) or "
                "StickBreaking(...)"
            )
        self.family.require_prior()

    def conjugate_posterior(self, stats: MixtureNatural) -> MixtureParams:
        self.require_prior()
        assert self.weights_prior is not None
        weights: Any = self.weights_prior.update(stats.log_weights)
        return MixtureParams(weights, self.family.posterior(stats.components))

    def expected_natural(self, posterior: Any) -> MixtureNatural:
        return MixtureNatural(posterior.weights.expected_log(), self.family.expected_natural(posterior.components))

    def posterior_mean(self, posterior: Any) -> MixtureParams:
        return MixtureParams(posterior.weights.mean(), self.family.posterior_mean(posterior.components))

    def draw(self, key, posterior: Any) -> MixtureParams:
        keys = jax.random.split(key)
        return MixtureParams(posterior.weights.draw(keys[0]), self.family.draw(keys[1], posterior.components))

    def kl(self, posterior: Any) -> Array:
        return posterior.weights.kl(self.weights_prior) + self.family.kl(posterior.components)

    def unconstrain_posterior(self, posterior):
        components = self.family.unconstrain_posterior(posterior.components)
        return MixtureParams(posterior.weights.unconstrain(), components)

    def constrain_posterior(self, free):
        kind: Any = type(self.weights_prior)
        weights = kind.constrain(free.weights)
        return MixtureParams(weights, self.family.constrain_posterior(free.components))

    # Starts

    def init(self, key, data, weights=None):
        data, weights = for_start(data, weights)
        rows = self.rows(data)
        data = Labelled(rows, data.labels) if isinstance(data, Labelled) else rows
        # The key of the family is another than those that choose its points.
        return self.start(self._for_starts(jax.random.fold_in(key, 1)), key, data, weights)

    def _for_starts(self, key: PRNGKeyArray) -> "Mixture":
        prior = None if self.weights_prior is None else self.weights_prior.with_mode()
        family = self.family.for_starts().seeded(key)
        return Mixture(family, self.num_components, prior, self.frozen, self.start)

    def start_at(self, points: PyTree, rows: PyTree, weights: Array) -> MixtureParams:
        """Equal weights and components centred on `points`, each as spread out as the data."""
        k = self.num_components
        return MixtureParams(jnp.full(k, 1 / k, weights.dtype), self.family.from_points(points, rows, weights))

    def mend(self, params: MixtureParams, pooled: MixtureParams, counts: Array) -> MixtureParams:
        """A start in which components with too few rows to have a spread of their own take the pooled one."""
        return params._replace(components=self.family.mend(params.components, pooled.components, counts))

    def unconstrain(self, params):
        free = bijections.simplex_to_free(params.weights)
        return MixtureParams(free, self.family.unconstrain(params.components))

    def constrain(self, free):
        weights = bijections.free_to_simplex(free.weights)
        return MixtureParams(weights, self.family.constrain(free.components))

    def blocks(self, free):
        components, undo = self.family.blocks(free.components)
        return [free.weights[None], *components], lambda a: MixtureParams(a[0][0], undo(a[1:]))

    def degenerate(self, params):
        return self.family.degenerate(params.components) | jnp.any(params.weights == 0)

    def floats_per_row(self, params, lanes=1):
        shared, own = self.family.floats_per_row(params.components)
        return shared + lanes * (2 * self.num_components + own)

    # What users ask of a fitted mixture

    @eqx.filter_jit
    def sample(self, key, params, n):
        """Draw `n` rows and their components."""
        choose, draw = jax.random.split(key)
        labels = jax.random.categorical(choose, jnp.log(params.weights), shape=(n,))
        return self.family.sample(draw, params.components, labels), labels

    @property
    def domains(self):
        return {"weights": "simplex", **super().domains}

    def check(self, data: Any, weights: Any) -> None:
        self.family.check_members(self.num_components)
        self.check_enough(num_rows(data), weights)
        super().check(data, weights)
        if isinstance(data, Labelled):
            data.check(num_rows(data.rows), self.num_components)


def GaussianMixture(
    num_components: int,
    covariance: str = "full",
    *,
    prior: NormalInverseWishart | None = None,
    weights_prior: Dirichlet | StickBreaking | None = None,
    covariance_floor: float = 1e-12,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
    missing: bool = False,
) -> Mixture:
    """A mixture of Gaussians: `Mixture(Gaussian(covariance, prior, covariance_floor), num_components)`.

    It is a function that makes a `Mixture`. What tells such a model is
    `isinstance(model, jaxem.Mixture) and isinstance(model.family, jaxem.Gaussian)`.

    **Arguments:** see `Mixture` and `Gaussian`. With `missing`, NaN in the data is a missing entry (the family is
    `Incomplete(Gaussian(...))`), and `impute` fills it in.

    Parameters are `params.weights` `[k]`, `params.components.mean` `[k, d]` and `params.components.covariance`
    (`[k, d, d]` full and VEV, `[d, d]` tied, `[k, d]` diagonal, `[k]` spherical).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data
    >>> model = jaxem.GaussianMixture(num_components=2)
    >>> fit = jaxem.fit(model, x.astype("float32"), key=jax.random.key(0), restarts=8)
    >>> round(float(fit.log_likelihood))
    -1130
    """
    gaussian = Gaussian(covariance, prior, covariance_floor)
    family = Incomplete(gaussian) if missing else gaussian
    return Mixture(family, num_components, weights_prior, tuple(frozen), start or KMeansPlusPlus())
