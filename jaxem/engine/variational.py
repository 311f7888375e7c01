"""The model of posteriors: EM on it is variational Bayes."""

from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._bound import AbstractBound, collect, rows_per_chunk
from jaxem._conjugate import AbstractConjugate, require_conjugate
from jaxem._model import AbstractBoundModel, AbstractModel
from jaxem._passed import passed
from jaxem.engine.door import for_start
from jaxem.kernels.chunks import num_rows, per_device, sum_chunks
from jaxem.kernels.sums import Reduce, unreduced


@final
class Variational(AbstractBoundModel):
    """A model whose parameters are the posterior of those of another: EM on it is variational Bayes.

    Its natural parameters are the expected ones, its M-step the conjugate posterior, and its log prior minus the
    divergence of posterior from prior. What EM ascends is then the evidence bound
    `log p(data) - KL(q(latents) q(params) || p(latents, params | data))`, with all constants. Attias (1999); Beal and
    Ghahramani (2003).

    **Arguments:**

    - `model`: a model with `conjugate()` posteriors, such as a `Mixture` with priors on its weights and components.

    Parameters are posteriors (`fit.posterior`; `fit.params` is their mean): for a mixture
    `MixtureParams(weights, components)` of a `Dirichlet` (or `StickBreaking`) and of the components' prior, with arrays
    for fields. `lift` makes one from parameters of `model`, `lower` gives parameters back.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> from jaxem.priors import Dirichlet, Gamma
    >>> model = jaxem.Mixture(jaxem.Poisson(Gamma(0.5, 0.1)), 3, weights_prior=Dirichlet(1e-3))
    >>> counts = jnp.array([[0.0], [1.0], [0.0], [9.0], [11.0], [10.0]])
    >>> variational = jaxem.models.Variational(model)
    >>> start = variational.init(jax.random.key(0), counts, jnp.ones(6))
    >>> fit = jaxem.solve(variational, start, counts)
    >>> sorted(fit.posterior.weights.concentration.round(1).tolist())
    [0.0, 3.0, 3.0]
    """

    model: AbstractModel

    def __check_init__(self):
        require_conjugate(self.model, _USE)

    def bound(self) -> "VariationalBound":
        return VariationalBound(self.model.bound())

    def bind(self, data, weights, reduce=unreduced) -> "VariationalBound":
        return VariationalBound(self.model.bind(data, weights, reduce))

    def lift(self, params: PyTree, data: PyTree, weights: Array) -> PyTree:
        """The posterior after one ordinary E-step at parameters of `model`; `weights` `[n]` are those of the rows."""
        return self.bound().lift(params, data, weights)

    def lower(self, params: PyTree) -> PyTree:
        """Parameters of `model` to plug in for the posterior: its mean."""
        return self.bound().lower(params)

    def draw(self, key: PRNGKeyArray, params: PyTree) -> PyTree:
        """Parameters of `model` drawn from the posterior."""
        return self.bound().posteriors.draw(key, params)

    # The door of data

    observed = passed("model")
    check = passed("model")
    check_rows = passed("model")

    def check_shape(self, params, data):
        self.model.check_shape(jax.eval_shape(self.lower, params), data)

    unusable = passed("model")


_USE = "variational Bayes"


@final
class VariationalBound(AbstractBound):
    """The model of the posteriors of another bound model, in the coordinates of that."""

    of: AbstractBound

    @property
    def name(self) -> str:
        return Variational.__name__

    @property
    def plain(self) -> AbstractBound:
        return self.of

    @property
    def posteriors(self) -> AbstractConjugate:
        """The posteriors of the parameters of `of`."""
        return require_conjugate(self.of, _USE)

    def lift(self, params: PyTree, data: PyTree, weights: Array, reduce: Reduce = unreduced) -> PyTree:
        """The posterior after one ordinary E-step at parameters of `of`, given by rows that `reduce` sums."""
        model = (self.of.accurate() or self.of).about(params)
        natural = per_device(model.natural(params), (data, weights))

        def one(chunk, w, index):
            return collect(model, natural, chunk, w, model.latent.expectation)[0], jnp.zeros((), w.dtype)

        rows = rows_per_chunk(model, params, num_rows(data))
        stats, _ = reduce(sum_chunks(one, data, weights, rows))
        return require_conjugate(model, _USE).about(params).posterior(stats)

    def lower(self, params: PyTree) -> PyTree:
        """Parameters of `of` to plug in for the posterior: its mean."""
        return self.posteriors.mean(params)

    # The map

    @property
    def linear(self) -> bool:
        return True

    latent = passed("of")  # pyright: ignore[reportIncompatibleMethodOverride]

    def natural(self, params):
        return self.posteriors.expected_natural(params)

    prepare = passed("of")
    potentials_of = passed("of")
    potentials = passed("of")
    log_base = passed("of")

    # Rows with gaps

    def integrated(self):
        return VariationalBound(self.of.integrated())

    gaps = passed("of")

    def laid_out(self, blocks):
        return VariationalBound(self.of.laid_out(blocks))

    # The maximum

    def maximize(self, stats, params):
        return self.posteriors.about(self.lower(params)).posterior(stats)

    def log_prior(self, params):
        return -self.posteriors.kl(params)

    # Coordinates

    unconstrain = passed("posteriors")
    constrain = passed("posteriors")

    def trainable(self, tree):
        return jax.tree.map(lambda leaf: True, tree)

    encode = passed("posteriors")
    decode = passed("posteriors")

    # Accuracy and speed

    def about(self, params):
        return VariationalBound(self.of.about(self.lower(params)))

    def translate(self, stats, source: Any):
        return self.of.translate(stats, source.of)

    def rounding_error(self, params, natural=None):
        return self.of.rounding_error(self.lower(params))

    def accurate(self):
        plain = self.of.accurate()
        return None if plain is None else VariationalBound(plain)

    def degenerate(self, params):
        return self.of.degenerate(self.lower(params))

    def floats_per_row(self, params, lanes=1):
        return self.of.floats_per_row(jax.eval_shape(self.lower, params), lanes)

    def for_lanes(self, lanes):
        return VariationalBound(self.of.for_lanes(lanes))

    def expanded_per_row(self, params):
        return self.of.expanded_per_row(jax.eval_shape(self.lower, params))

    # Starts

    def init(self, key, data, weights: Any = None):
        data, weights = for_start(data, weights)
        return self.lift(self.of.init(key, data, weights), data, weights)
