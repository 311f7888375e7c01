"""The model of posteriors: EM on it is variational Bayes."""

from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._model import (
    AbstractLinearModel,
    AbstractModel,
    Reduce,
    collect,
    for_start,
    require_conjugate,
    unreduced,
)
from jaxem.kernels.chunks import chunk_rows, num_rows, per_device, sum_chunks


@final
class Variational(AbstractLinearModel):
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
        require_conjugate(self.model, "variational Bayes")

    @property
    def posteriors(self) -> AbstractConjugate:
        """The posteriors of the model's parameters."""
        return require_conjugate(self.model, "variational Bayes")

    def lift(self, params: PyTree, data: PyTree, weights: Array, reduce: Reduce = unreduced) -> PyTree:
        """The posterior after one ordinary E-step at parameters of `model`; `weights` `[n]` are those of the rows."""
        model: Any = (self.model.accurate() or self.model).about(params)
        natural = per_device(model.natural(params), (data, weights))

        def one(chunk, w, index):
            return collect(model, natural, chunk, w, model.latent.expectation)[0], jnp.zeros((), w.dtype)

        rows = chunk_rows(num_rows(data), model.floats_per_row(params))
        stats, _ = reduce(sum_chunks(one, data, weights, rows))
        return require_conjugate(model, "variational Bayes").about(params).posterior(stats)

    def lower(self, params: PyTree) -> PyTree:
        """Parameters of `model` to plug in for the posterior: its mean."""
        return self.posteriors.mean(params)

    def draw(self, key: PRNGKeyArray, params: PyTree) -> PyTree:
        """Parameters of `model` drawn from the posterior."""
        return self.posteriors.draw(key, params)

    def natural(self, params):
        return self.posteriors.expected_natural(params)

    def maximize(self, stats, params):
        return self.posteriors.about(self.lower(params)).posterior(stats)

    def log_prior(self, params):
        return -self.posteriors.kl(params)

    def init(self, key, data, weights=None):
        data, weights = for_start(data, weights)
        return self.lift(self.model.init(key, data, weights), data, weights)

    def unconstrain(self, params):
        return self.posteriors.unconstrain(params)

    def constrain(self, free):
        return self.posteriors.constrain(free)

    # The rest is the model's

    @property
    def latent(self):
        return self.model.latent

    def prepare(self, natural):
        return self.model.prepare(natural)

    def potentials(self, natural, data):
        return self.model.potentials(natural, data)

    def observed(self, data):
        return self.model.observed(data)

    def log_base(self, data):
        return self.model.log_base(data)

    def bind(self, data, weights, reduce=unreduced):
        return Variational(self.model.bind(data, weights, reduce))

    def encode(self, params):
        return self.posteriors.encode(params)

    def decode(self, params):
        return self.posteriors.decode(params)

    def about(self, params):
        return Variational(self.model.about(self.lower(params)))

    def translate(self, stats, source: Any):
        return self.model.translate(stats, source.model)

    def rounding_error(self, params, natural=None):
        return self.model.rounding_error(self.lower(params))

    def accurate(self):
        model = self.model.accurate()
        return None if model is None else Variational(model)

    def degenerate(self, params):
        return self.model.degenerate(self.lower(params))

    def floats_per_row(self, params, lanes=1):
        return self.model.floats_per_row(jax.eval_shape(self.lower, params), lanes)

    def check(self, data, weights):
        self.model.check(data, weights)

    def check_rows(self, data):
        self.model.check_rows(data)

    def check_shape(self, params, data):
        self.model.check_shape(jax.eval_shape(self.lower, params), data)

    def unusable(self, data):
        return self.model.unusable(data)
