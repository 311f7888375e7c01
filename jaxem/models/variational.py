from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem._model import (
    AbstractConjugateModel,
    AbstractLinearModel,
    AbstractModel,
    Reduce,
    collect,
    for_start,
    unreduced,
)
from jaxem.kernels.chunks import chunk_rows, local, num_rows, sum_chunks


@final
class Variational(AbstractLinearModel):
    """A model whose parameters are the posterior of those of another: EM on it is variational Bayes.

    Its natural parameters are the expected ones, its M-step the conjugate posterior, and its log prior minus the
    divergence of posterior from prior. What EM ascends is then the evidence bound
    `log p(data) - KL(q(latents) q(params) || p(latents, params | data))`, with all constants. Attias (1999); Beal and
    Ghahramani (2003).

    **Arguments:**

    - `model`: an `AbstractConjugateModel`, such as a `Mixture` with priors on its weights and components.

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

    model: AbstractConjugateModel

    def __check_init__(self):
        require_conjugate(self.model, "variational Bayes")

    def lift(self, params: PyTree, data: PyTree, weights: Array, reduce: Reduce = unreduced) -> PyTree:
        """The posterior after one ordinary E-step at parameters of `model`; `weights` `[n]` are those of the rows."""
        model: Any = (self.model.accurate() or self.model).at(params)
        natural = local(model.natural(params), (data, weights))

        def one(chunk, w, index):
            return collect(model, natural, chunk, w, model.latent.expectation)[0], jnp.zeros((), w.dtype)

        rows = chunk_rows(num_rows(data), model.floats_per_row(params))
        stats, _ = reduce(sum_chunks(one, data, weights, rows))
        return model.conjugate_posterior(stats)

    def lower(self, params: PyTree) -> PyTree:
        """Parameters of `model` to plug in for the posterior; see its `posterior_mean`."""
        return self.model.posterior_mean(params)

    def draw(self, key: PRNGKeyArray, params: PyTree) -> PyTree:
        """Parameters of `model` drawn from the posterior."""
        return self.model.draw(key, params)

    def natural(self, params):
        return self.model.expected_natural(params)

    def maximize(self, stats, params):
        return self.model.conjugate_posterior(stats)

    def log_prior(self, params):
        return -self.model.kl(params)

    def init(self, key, data, weights=None):
        data, weights = for_start(data, weights)
        return self.lift(self.model.init(key, data, weights), data, weights)

    def unconstrain(self, params):
        return self.model.unconstrain_posterior(params)

    def constrain(self, free):
        return self.model.constrain_posterior(free)

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
        return Variational(self.model.bind(data, weights, reduce))  # pyright: ignore[reportArgumentType]

    def encode(self, params):
        return self.model.encode_posterior(params)

    def decode(self, params):
        return self.model.decode_posterior(params)

    def at(self, params):
        return Variational(self.model.at(self.lower(params)))  # pyright: ignore[reportArgumentType]

    def translate(self, stats, source: Any):
        return self.model.translate(stats, source.model)

    def loss(self, params, natural=None):
        return self.model.loss(self.lower(params))

    def accurate(self):
        model = self.model.accurate()
        return None if model is None else Variational(model)  # pyright: ignore[reportArgumentType]

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


def require_conjugate(model: AbstractModel, use: str) -> None:
    """Raise `MissingCapabilityError` for a model that is not on rung 3, or lacks a prior."""
    if not isinstance(model, AbstractConjugateModel):
        raise MissingCapabilityError(
            f"{type(model).__name__} has no conjugate prior (rung 3: an AbstractConjugateModel), which {use} needs"
        )
    model.require_prior()
