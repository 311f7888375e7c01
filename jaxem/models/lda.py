from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._bound import AbstractPlain
from jaxem._errors import DataError
from jaxem._model import AbstractLinearModel
from jaxem._paths import leaves_but
from jaxem.engine.door import for_question, for_start
from jaxem.families.priors import Dirichlet
from jaxem.families.priors._prior import require_positive
from jaxem.kernels import dirichlet, exclusion
from jaxem.kernels.linalg import matmul
from jaxem.kernels.rows import largest_rows
from jaxem.latent import MeanField, MeanFieldTree
from jaxem.models._lda_posterior import LDAConjugate, LDADraws, LDANatural
from jaxem.models._lda_posterior import LDAParams as LDAParams
from jaxem.models.documents import Documents

_LENGTH = 128  # distinct words of a document, for the size of the chunks
_ROWS = 256  # documents at a time where something is returned for each


@final
class LDA(AbstractLinearModel):
    """Latent Dirichlet allocation: each word of a document comes from a topic, each document mixes the topics.

    The log-likelihood is intractable; in its place stands the variational bound (see `jaxem.latent.MeanField`), in
    `log_prob`, in `Fit.log_likelihood` and in every objective. It is that of words in a given order, with no
    multinomial coefficient. Topics by maximum likelihood or posterior mode are fitted by `jaxem.em()`. With a prior on
    them `jaxem.vbem()` is variational Bayes, `Incremental` and `Stepwise` updates with `m_step.Posterior()` its
    memoized and online forms. Blei, Ng and Jordan (2003); Hoffman, Blei and Bach (2010).

    **Arguments:**

    - `num_topics`: `K`.
    - `vocabulary_size`: `V`; words are integers from 0 to `V - 1`.
    - `concentration`: of the Dirichlet distribution of a document's proportions, a scalar or `[K]`; by default `1 / K`.
        Starts have it.
    - `topics_prior`: a `Dirichlet` prior of the words of each topic.
    - `learn_concentration`: whether it is estimated, to maximise the bound (by `jaxem.vbem()` too: empirical Bayes): a
        value for each topic where `concentration` is `[K]`, one for all where it is a scalar. Estimates that reach 1e-6
        or 1e6 have status `degenerate_component`.
    - `frozen`: names of parameters kept at their starting value.
    - `document`: how the posterior of a document is found: a `jaxem.latent.MeanField`.
    - `document_length`: words in each document that `sample` draws.

    Data are `Documents`; a weight is that of a document. Parameters are `LDAParams`. The optimum for a document is
    sought afresh in each E-step. Thus the objective can fall, by what is left of its tolerance, or where a document
    moves to another of several optima; the status is then `objective_decreased`.

    **Example**

    >>> import jax, jaxem
    >>> documents, vocabulary = jaxem.Documents.from_tokens(
    ...     [["red", "blue", "red", "red"], ["cat", "dog", "dog"], ["blue", "red"], ["dog", "cat", "dog"]]
    ... )
    >>> model = jaxem.LDA(2, len(vocabulary), concentration=0.2, topics_prior=jaxem.priors.Dirichlet(0.1))
    >>> fit = jaxem.fit(model, documents, key=jax.random.key(0), restarts=4, algorithm=jaxem.vbem())
    >>> sorted(model.top_words(fit.params, 2, vocabulary))
    [('dog', 'cat'), ('red', 'blue')]
    >>> bool((model.transform(fit.posterior, documents).max(1) > 0.8).all())
    True
    """

    num_topics: int = eqx.field(static=True)
    vocabulary_size: int = eqx.field(static=True)
    concentration: Any = None
    topics_prior: Dirichlet | None = None
    learn_concentration: bool = eqx.field(static=True, default=False)
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    document: MeanField = MeanField()
    document_length: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        for name in ("num_topics", "vocabulary_size", "document_length"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if self.concentration is not None:
            require_positive(self.concentration, "concentration")
            if np.shape(self.concentration) not in ((), (self.num_topics,)):
                raise ValueError(
                    f"concentration must be a scalar or [{self.num_topics}], got shape {np.shape(self.concentration)}"
                )
        for name in self.frozen:
            if name not in LDAParams._fields:
                raise ValueError(f"frozen: unknown parameter {name!r}; choose from {', '.join(LDAParams._fields)}")

    @property
    def latent(self) -> MeanField:
        return self.document

    @property
    def held(self) -> tuple[str, ...]:
        """The parameters that are not estimated."""
        return self.frozen if self.learn_concentration else (*self.frozen, "concentration")

    def trainable(self, tree):
        return leaves_but(self.held, tree)

    # The linear map

    def natural(self, params: LDAParams) -> LDANatural:
        return self.natural_of(exclusion.log(params.topics), params.concentration)

    def natural_of(self, log_topics: Array, concentration: Array) -> LDANatural:
        """Natural parameters from logarithms of the topics, or expected ones."""
        alpha = jnp.broadcast_to(concentration, (self.num_topics,))
        return LDANatural(log_topics, alpha, dirichlet.log_normalizer(alpha), jnp.ones((), alpha.dtype))

    def potentials(self, natural: LDANatural, data: Documents) -> MeanFieldTree:
        n = data.words.shape[0]
        log_words = natural.log_topics.T.at[data.words].get(mode="clip")
        return MeanFieldTree(
            data.counts[..., None] * log_words,
            data.counts * natural.unit,
            jnp.broadcast_to(natural.concentration, (n, self.num_topics)),
            jnp.broadcast_to(natural.log_normalizer, (n,)),
        )

    def observed(self, data: Documents) -> Array:
        """1 for each document, 0 for one without words: given the topics, documents are what is independent."""
        return jnp.any(jnp.asarray(data.counts) > 0, -1).astype(jnp.int32)

    def log_base(self, data: Documents) -> Float[Array, " n"]:
        known = (data.words >= 0) & (data.words < self.vocabulary_size) & (data.counts >= 0)
        return jnp.where(jnp.all(known, -1), jnp.zeros((), data.counts.dtype), -jnp.inf)

    # The M-step

    def maximize(self, stats: LDANatural, params: LDAParams) -> LDAParams:
        topics, concentration = params.topics, params.concentration
        if "concentration" not in self.held:
            concentration = self.learned(stats, concentration)
        if "topics" not in self.held:
            counts = jnp.maximum(stats.log_topics, 0)
            if self.topics_prior is not None:
                counts = counts + self.topics_prior.pseudo_counts(counts.shape, counts.dtype)
            total = jnp.sum(counts, -1, keepdims=True)
            empty = total <= jnp.finfo(counts.dtype).tiny / jnp.finfo(counts.dtype).eps
            topics = jnp.where(empty, topics, counts / jnp.where(empty, 1, total))
        return LDAParams(concentration, topics)

    def learned(self, stats: LDANatural, start: Array) -> Array:
        """The concentration that maximises Q."""
        return dirichlet.maximize_concentration(stats.concentration, stats.log_normalizer, start)

    def log_prior(self, params):
        if self.topics_prior is None:
            return jnp.zeros((), params.topics.dtype)
        return self.topics_prior.log_prob(params.topics)

    # The posterior: a `Dirichlet` for each topic, beside the concentration of documents

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if "topics" in self.frozen:
            return "a posterior of the topics needs them free; take topics out of frozen"
        return "there is no prior on its topics: topics_prior=Dirichlet(...)"

    def conjugate(self):
        return None if "topics" in self.frozen or self.topics_prior is None else LDAConjugate(self, self.topics_prior)

    def bound(self):
        return LDABound(self)

    # Starts

    def concentration_at_first(self, dtype: Any) -> Array:
        """The one given, or 1 over the number of topics."""
        value = 1 / self.num_topics if self.concentration is None else self.concentration
        return jnp.asarray(value, dtype)

    def init(self, key, data: Documents, weights=None) -> LDAParams:
        """Topics halfway between the words of a random document and those of all, each entry perturbed."""
        data, weights = for_start(data, weights)
        choose, perturb = jax.random.split(key)
        dtype, (k, v) = weights.dtype, (self.num_topics, self.vocabulary_size)
        tiny = jnp.finfo(dtype).tiny
        sizes = weights * jnp.sum(data.counts, -1)
        score = jnp.log(jnp.maximum(sizes, tiny)) + jax.random.gumbel(choose, sizes.shape, dtype)
        best, seeds = largest_rows(jnp.where(sizes > 0, score, -jnp.inf), min(k, sizes.shape[0]))
        seeds = jnp.where(best > -jnp.inf, seeds, seeds[0])[jnp.arange(k) % seeds.shape[0]]
        overall = jnp.zeros(v, dtype).at[data.words].add(data.counts * weights[:, None])
        topic = jnp.arange(k)[:, None]
        own = jnp.zeros((k, v), dtype).at[topic, data.words[seeds]].add(data.counts[seeds])
        # No word is impossible to begin with, not even one that no document has.
        overall = _normalised(overall + 1e-3 * jnp.mean(overall) + tiny)
        own = _normalised(own + tiny) + overall[None]
        noise = jax.random.uniform(perturb, (k, v), dtype, 0.5, 1.5)
        return LDAParams(self.concentration_at_first(dtype), _normalised(own * noise))

    # What users ask of a fitted model; `params` may be a posterior

    def posterior(self, params: LDAParams, data: Documents) -> Dirichlet:
        """The posterior of each document's topic proportions: a `Dirichlet` of concentration `[n, K]`."""
        data, _, params, _ = for_question(self, params, data, shaped=_plain(params))
        return Dirichlet(self._document_concentration(params, data))

    def transform(self, params: LDAParams, data: Documents) -> Float[Array, "n K"]:
        """Expected topic proportions of each document, `[n, K]`; those of the prior for an empty one."""
        return self.posterior(params, data).mean()

    @eqx.filter_jit
    def _document_concentration(self, params: LDAParams, data: Documents) -> Float[Array, "n K"]:
        natural = self._natural_of(params)

        def one(document: Documents) -> Array:
            document = jax.tree.map(lambda leaf: leaf[None], document)
            return self.latent.optimum(self.potentials(natural, document))[0]

        return jax.lax.map(one, data, batch_size=_ROWS)

    def _natural_of(self, params: LDAParams) -> LDANatural:
        lifted = isinstance(params.topics, Dirichlet)
        if not lifted:
            return self.natural(params)
        return self.natural_of(params.topics.expected_log(), params.concentration)

    def perplexity(self, params: LDAParams, data: Documents, held_out: Documents | None = None) -> Float[Array, ""]:
        """`exp` of minus the mean log probability of a word, of documents that the model need not have seen.

        An upper bound, by the variational bound on each document (for a posterior, at its expected log probabilities).
        With `held_out`, other words of the same documents, that of those words given `data`, from expected proportions
        and topics: document completion (Wallach et al. 2009).
        """
        data, _, params, _ = for_question(self, params, data, shaped=_plain(params))
        if held_out is not None:
            held_out = for_question(self, params, held_out, name="held_out", shaped=_plain(params)).data
        if held_out is None:
            return self._perplexity(params, data)
        if held_out.words.shape[0] != data.words.shape[0]:
            raise DataError(
                f"held_out has {held_out.words.shape[0]} documents, data {data.words.shape[0]}: it takes words of each"
            )
        return _completion(params, self.transform(params, data), held_out)

    @eqx.filter_jit
    def _perplexity(self, params: LDAParams, data: Documents) -> Float[Array, ""]:
        natural = self._natural_of(params)

        def one(document: Documents) -> Array:
            document = jax.tree.map(lambda leaf: leaf[None], document)
            return self.latent.expectation(self.potentials(natural, document))[1][0]

        bound = jax.lax.map(one, data, batch_size=_ROWS)
        return jnp.exp(-jnp.sum(bound) / jnp.sum(data.counts))

    def top_words(self, params: LDAParams, count: int = 10, vocabulary: Any = None) -> Any:
        """The most probable words of each topic, in falling order.

        Integers `[K, count]`; with a `vocabulary`, a tuple of its entries for each topic.
        """
        topics = params.topics.mean() if isinstance(params.topics, Dirichlet) else params.topics
        _, words = jax.lax.top_k(topics, min(count, self.vocabulary_size))
        return words if vocabulary is None else [tuple(vocabulary[int(w)] for w in topic) for topic in words]

    @eqx.filter_jit
    def sample(self, key, params: LDAParams, n: int) -> tuple[Documents, LDADraws]:
        """Draw `n` documents of `document_length` words, each in a place of its own, and an `LDADraws`."""
        share, choose, speak = jax.random.split(key, 3)
        alpha = jnp.broadcast_to(params.concentration, (n, self.num_topics))
        proportions = Dirichlet(alpha).draw(share)
        shape = n, self.document_length
        topics = jax.random.categorical(choose, jnp.log(proportions)[:, None, :], shape=shape)
        cumulative = jnp.cumsum(params.topics, -1)
        level = jax.random.uniform(speak, shape, cumulative.dtype) * cumulative[topics, -1]

        def halve(_, ends):
            # The first word whose cumulative probability is above the level is in `[low, high]`.
            low, high = ends
            middle = (low + high) // 2
            above = cumulative[topics, middle] > level
            return jnp.where(above, low, jnp.minimum(middle + 1, high)), jnp.where(above, middle, high)

        ends = jnp.zeros(shape, jnp.int32), jnp.full(shape, self.vocabulary_size - 1, jnp.int32)
        words, _ = jax.lax.fori_loop(0, self.vocabulary_size.bit_length(), halve, ends)
        return Documents(words, jnp.ones(shape, cumulative.dtype)), LDADraws(proportions, topics)

    @property
    def num_members(self) -> int:
        return self.num_topics

    def permuted(self, params: LDAParams, order: Array) -> LDAParams:
        return params.permuted(order)

    # The door of data

    @property
    def domains(self):
        return {"concentration": "positive", "topics": "simplex"}

    def check_shape(self, params: LDAParams, data: Any) -> None:
        if not isinstance(data, Documents):
            raise DataError(f"data must be jaxem.Documents(words, counts), got {type(data).__name__}")
        data.check_shape()

    def check_rows(self, data: Any) -> None:
        self.check_shape(None, data)  # pyright: ignore[reportArgumentType]
        data.check(self.vocabulary_size)


@final
class LDABound(AbstractPlain):
    """What the engine runs of it: as it is, with its limits and the numbers that a document takes."""

    model: LDA

    def degenerate(self, params):
        if "concentration" in self.model.held:
            return jnp.zeros((), bool)
        alpha = params.concentration
        return jnp.any((alpha <= dirichlet.LEAST) | (alpha >= dirichlet.MOST))

    def floats_per_row(self, params, lanes=1):
        return 3 * _LENGTH * self.model.num_topics * lanes


@eqx.filter_jit
def _completion(params: LDAParams, proportions: Array, held_out: Documents) -> Array:
    topics = params.topics.mean() if isinstance(params.topics, Dirichlet) else params.topics

    def one(pair: Any) -> Array:
        share, document = pair
        found = matmul(topics.T[document.words], share)
        return jnp.sum(jnp.where(document.counts > 0, document.counts * exclusion.log(found), 0))

    total = jnp.sum(jax.lax.map(one, (proportions, held_out), batch_size=_ROWS))
    return jnp.exp(-total / jnp.sum(held_out.counts))


def _normalised(counts: Array) -> Array:
    return counts / jnp.sum(counts, -1, keepdims=True)


def _plain(params: Any) -> bool:
    """Whether these are parameters, not a posterior."""
    return not isinstance(getattr(params, "topics", None), Dirichlet)
