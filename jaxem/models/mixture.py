from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from jaxem import _bijections as bijections
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractConjugateModel, covers, leaf_name, unreduced
from jaxem.families import AbstractFamily, Dirichlet, Gaussian, NormalInverseWishart, StickBreaking
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.latent import Categorical


class MixtureParams(NamedTuple):
    """Mixing `weights` `[k]`, and the parameters of the `components` with a leading axis `k`."""

    weights: Float[Array, " k"]
    components: Any


class MixtureNatural(NamedTuple):
    """Log weights `[k]`, and the components' natural parameters."""

    log_weights: Float[Array, " k"]
    components: Any


class Labelled(NamedTuple):
    """Rows, some of whose components are known: `labels` `[n]` with -1 where unknown."""

    rows: PyTree
    labels: Int[Array, " n"]


@final
class Mixture(AbstractConjugateModel):
    """A finite mixture of `num_components` members of an exponential family.

    **Arguments:**

    - `family`: `jaxem.Gaussian(...)`, `jaxem.Poisson()`, `jaxem.Bernoulli()`, `jaxem.Categorical(...)`, or a
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
        if not isinstance(self.num_components, int | np.integer) or self.num_components < 1:
            raise ValueError(f"num_components must be a positive integer, got {self.num_components!r}")
        names = ["weights", "components", *(f"components.{name}" for name in self.family.parameters)]
        for name in self.frozen:
            if name not in names:
                raise ValueError(f"frozen: unknown parameter {name!r}; choose from {', '.join(names)}")

    @property
    def latent(self) -> Categorical:
        return Categorical()

    def natural(self, params: MixtureParams) -> MixtureNatural:
        tiny = jnp.finfo(params.weights.dtype).tiny
        log_weights = jnp.log(jnp.maximum(params.weights, tiny))
        return MixtureNatural(log_weights, self.family.natural(params.components))

    def potentials(self, natural: MixtureNatural, data: PyTree) -> Float[Array, "k n"]:
        rows = data.rows if isinstance(data, Labelled) else data
        joint = natural.log_weights[:, None] + self.family.potentials(natural.components, rows)
        if isinstance(data, Labelled):
            classes = jnp.arange(joint.shape[0], dtype=data.labels.dtype)
            allowed = (data.labels[None, :] < 0) | (data.labels[None, :] == classes[:, None])
            joint = jnp.where(allowed, joint, jnp.full_like(joint, -jnp.inf))
        return joint

    def log_base(self, data):
        return self.family.log_base(data.rows if isinstance(data, Labelled) else data)

    def maximize(self, stats: MixtureNatural, params: MixtureParams) -> MixtureParams:
        weights = params.weights
        if "weights" not in self.frozen:
            counts = jnp.where(self.family.empty(stats.log_weights), 0, stats.log_weights)
            if self.weights_prior is not None:
                weights = self.weights_prior.estimate(counts, weights)
            else:
                total = jnp.sum(counts)
                weights = jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), weights)
        components = params.components
        if "components" not in self.frozen:
            inner = tuple(name.removeprefix("components.") for name in self.frozen if name.startswith("components."))
            components = self.family.maximize(stats.components, components, inner)
        return MixtureParams(weights, components)

    def log_prior(self, params):
        prior = self.family.log_prior(params.components).astype(params.weights.dtype)
        return prior if self.weights_prior is None else prior + self.weights_prior.log_prob(params.weights)

    # The posterior: `MixtureParams` of priors

    def require_prior(self):
        if self.frozen:
            raise MissingCapabilityError(
                f"the posterior of a mixture is that of all its parameters, but {', '.join(self.frozen)} "
                "is frozen; take it out of `frozen` and give it a prior that says what is known"
            )
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

    def encode_posterior(self, posterior):
        return posterior._replace(components=self.family.encode_posterior(posterior.components))

    def decode_posterior(self, posterior):
        return posterior._replace(components=self.family.decode_posterior(posterior.components))

    # Starts

    def init(self, key, data, weights):
        return self.start(self._for_starts(), key, data, weights)

    def _for_starts(self) -> "Mixture":
        prior = None if self.weights_prior is None else self.weights_prior.with_mode()
        return Mixture(self.family.for_starts(), self.num_components, prior, self.frozen, self.start)

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

    def trainable(self, tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: not any(covers(prefix, leaf_name(path)) for prefix in self.frozen), tree
        )

    def freeze(self, names):
        frozen = (*self.frozen, *(name for name in names if name not in self.frozen))
        return Mixture(self.family, self.num_components, self.weights_prior, frozen, self.start)

    def blocks(self, free):
        k = self.num_components
        if not self.family.separable:
            flat, unravel = ravel_pytree(free.components)
            return [free.weights[None], flat[None]], lambda a: MixtureParams(a[0][0], unravel(a[1][0]))
        leaves, structure = jax.tree.flatten(free.components)
        shapes = [leaf.shape for leaf in leaves]
        ends = np.cumsum([int(np.prod(shape[1:])) for shape in shapes])[:-1]

        def undo(arrays):
            parts = jnp.split(arrays[1], ends, axis=1)
            parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
            return MixtureParams(arrays[0][0], jax.tree.unflatten(structure, parts))

        return [free.weights[None], jnp.concatenate([leaf.reshape(k, -1) for leaf in leaves], 1)], undo

    # Coordinates and accuracy are the family's

    def _with(self, family: AbstractFamily) -> "Mixture":
        return Mixture(family, self.num_components, self.weights_prior, self.frozen, self.start)

    def bind(self, data, weights, reduce=unreduced):
        rows = data.rows if isinstance(data, Labelled) else data
        return self._with(self.family.bind(rows, weights, reduce))

    def encode(self, params):
        return MixtureParams(params.weights, self.family.encode(params.components))

    def decode(self, params):
        return MixtureParams(params.weights, self.family.decode(params.components))

    def at(self, params):
        return self._with(self.family.at(params.components))

    def translate(self, stats, source: Any):
        return MixtureNatural(stats.log_weights, self.family.translate(stats.components, source.family))

    def loss(self, params):
        return self.family.loss(params.components)

    def accurate(self):
        family = self.family.accurate()
        return None if family is None else self._with(family)

    def degenerate(self, params):
        return self.family.degenerate(params.components) | jnp.any(params.weights == 0)

    def floats_per_row(self, params, lanes=1):
        shared, own = self.family.floats_per_row(params.components)
        return shared + lanes * (2 * self.num_components + own)

    # What users ask of a fitted mixture

    @eqx.filter_jit
    def posterior(self, params: MixtureParams, data: PyTree) -> Float[Array, "n k"]:
        """Responsibilities: the posterior probability of each component, `[n, k]`."""
        return self.expectation(params, data)[0].T

    @eqx.filter_jit
    def predict(self, params: MixtureParams, data: PyTree) -> Int[Array, " n"]:
        """The most probable component of each row, `[n]`."""
        return jnp.argmax(self.expectation(params, data)[0], 0)

    @eqx.filter_jit
    def sample(self, key, params, n):
        """Draw `n` rows and their components."""
        choose, draw = jax.random.split(key)
        labels = jax.random.categorical(choose, jnp.log(params.weights), shape=(n,))
        return self.family.sample(draw, params.components, labels), labels

    def check(self, data: Any, weights: Any) -> None:
        rows = data.rows if isinstance(data, Labelled) else data
        shape = jax.tree.leaves(rows)[0].shape
        n = shape[0] if shape else 0
        used = n if weights is None else int(np.sum(np.asarray(weights) > 0))
        if len(shape) == 2 and 0 < used < self.num_components:
            raise DataError(
                f"data has {used} rows with positive weight, fewer than num_components={self.num_components}"
            )
        self.family.check(rows)
        if isinstance(data, Labelled):
            labels = np.asarray(data.labels)
            if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
                raise DataError(
                    f"labels must be {n} integers (-1 where unknown), got {labels.dtype} of shape {labels.shape}"
                )
            wrong = np.flatnonzero((labels < -1) | (labels >= self.num_components))
            if wrong.size:
                row = int(wrong[0])
                raise DataError(
                    f"labels: row {row} has label {labels[row]}; labels run from 0 to {self.num_components - 1}, "
                    "with -1 where unknown"
                )


def GaussianMixture(
    num_components: int,
    covariance: str = "full",
    *,
    prior: NormalInverseWishart | None = None,
    weights_prior: Dirichlet | StickBreaking | None = None,
    covariance_floor: float = 1e-12,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
) -> Mixture:
    """A mixture of Gaussians: `Mixture(Gaussian(covariance, prior, covariance_floor), num_components)`.

    **Arguments:** see `Mixture` and `Gaussian`. Parameters are `params.weights` `[k]`, `params.components.mean`
    `[k, d]` and `params.components.covariance` (`[k, d, d]` full, `[d, d]` tied, `[k, d]` diagonal, `[k]` spherical).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data
    >>> model = jaxem.GaussianMixture(num_components=2)
    >>> fit = jaxem.fit(model, x.astype("float32"), key=jax.random.key(0), restarts=8)
    >>> round(float(fit.log_likelihood))
    -1130
    """
    family = Gaussian(covariance, prior, covariance_floor)
    return Mixture(family, num_components, weights_prior, tuple(frozen), start or KMeansPlusPlus())
