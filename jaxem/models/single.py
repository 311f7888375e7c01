from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._paths import leaf_name
from jaxem.families import AbstractFamily
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.chunks import num_rows
from jaxem.latent import NestedTree
from jaxem.models._over_family import AbstractFamilyModel
from jaxem.models.mixture import Mixture


@final
class Single(AbstractFamilyModel):
    """One member of a family, for each of whose rows something may be hidden.

    A mixture of one component, with the parameters of the family in the place of `MixtureParams` and without the
    leading axis `k`. Families that hide nothing have their maximum in one step.

    **Arguments:**

    - `family`: the distribution of a row.
    - `frozen`: names of parameters kept at their starting value; the others are maximised given them.
    - `start`: how a start is drawn when `fit` is not told: an `AbstractInit`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Poisson())
    >>> fit = jaxem.fit(model, jnp.array([[1.0], [2.0], [6.0]]), key=jax.random.key(0))
    >>> fit.params.rate.tolist()
    [3.0]
    """

    family: AbstractFamily
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    members: ClassVar[str] = ""

    def __check_init__(self):
        self.known_names()

    @property
    def distribution(self) -> AbstractFamily:
        return self.family

    def with_family(self, family):
        return Single(family, self.frozen, self.start)

    def natural(self, params: PyTree) -> PyTree:
        return self.family.natural(self._many(params))

    def prepare(self, natural):
        return self.family.prepare(natural)

    def potentials(self, natural: PyTree, data: PyTree) -> PyTree:
        own = self.family.potentials(natural, self.rows(data))
        if self.family.latent is None:
            return own
        return NestedTree(jnp.zeros((1, num_rows(data)), jax.tree.leaves(own)[0].dtype), own)

    def maximize(self, stats: PyTree, params: PyTree) -> PyTree:
        return self._one(self.family.maximize(stats, self._many(params), self.frozen))

    def maximize_expanded(self, stats, params):
        return self._one(self.family.maximize_expanded(stats, self._many(params), self.frozen))

    def log_prior(self, params):
        return self.family.log_prior(self._many(params)).astype(jax.tree.leaves(params)[0].dtype)

    def init(self, key, data, weights=None):
        return self._one(Mixture(self.family, 1, start=self.start).init(key, data, weights).components)

    def unconstrain(self, params):
        return self._one(self.family.unconstrain(self._many(params)))

    def constrain(self, free):
        return self._one(self.family.constrain(self._many(free)))

    def own(self, tree):
        return self._many(tree)

    def put(self, tree, own):
        return self._one(own)

    def translate(self, stats, source: Any):
        return self.family.translate(stats, source.family)

    def loss(self, params, natural=None):
        return self.family.loss(self._many(params), natural)

    def floats_per_row(self, params, lanes=1):
        shared, own = self.family.floats_per_row(jax.eval_shape(self._many, params))
        return shared + lanes * (2 + own)

    # The posterior keeps the family's leading axis

    def require_prior(self):
        self.require_free()
        self.family.require_prior()

    def conjugate_posterior(self, stats):
        self.require_prior()
        return self.family.posterior(stats)

    def expected_natural(self, posterior):
        return self.family.expected_natural(posterior)

    def posterior_mean(self, posterior):
        return self._one(self.family.posterior_mean(posterior))

    def draw(self, key, posterior):
        return self._one(self.family.draw(key, posterior))

    def kl(self, posterior):
        return self.family.kl(posterior)

    def unconstrain_posterior(self, posterior):
        return self.family.unconstrain_posterior(posterior)

    def constrain_posterior(self, free):
        return self.family.constrain_posterior(free)

    def encode_posterior(self, posterior):
        return self.family.encode_posterior(posterior)

    def decode_posterior(self, posterior):
        return self.family.decode_posterior(posterior)

    # What users ask of a fitted model

    @eqx.filter_jit
    def sample(self, key, params, n):
        """Draw `n` rows; the second result is `()`: there is no component to tell."""
        return self.family.sample(key, self._many(params), jnp.zeros(n, jnp.int32)), ()

    @property
    def domains(self):
        return self.family.domains

    def check_shape(self, params, data):
        self.family.check_shape(jax.eval_shape(self._many, params), self.rows(data))

    def check(self, data: Any, weights: Any) -> None:
        self.family.check_members(1)
        super().check(data, weights)

    def _one(self, tree: PyTree) -> PyTree:
        return self._mapped(tree, lambda leaf: leaf[0])

    def _many(self, tree: PyTree) -> PyTree:
        return self._mapped(tree, lambda leaf: leaf[None])

    def _mapped(self, tree: PyTree, fn: Any) -> PyTree:
        shared = self.family.shared

        def one(path, leaf: Array) -> Array:
            return leaf if leaf_name(path) in shared else fn(leaf)

        return jax.tree_util.tree_map_with_path(one, tree)
