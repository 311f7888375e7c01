from functools import partial
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem._errors import MissingCapabilityError
from jaxem.kernels import dirichlet, exclusion
from jaxem.kernels.chunks import per_device
from jaxem.kernels.extrapolation import squared_step
from jaxem.kernels.linalg import cholesky, diagonal_matrix, einsum, inverse_lower, matmul, transpose
from jaxem.latent._latent import AbstractLatent

_TOGETHER = 4  # documents that wait for one another on a CPU; elsewhere all of a chunk


class MeanFieldTree(NamedTuple):
    """Potentials or moments of documents of `L` distinct words under `K` topics.

    `words` are the count of each word times its log probability under each topic, `counts` the counts, `concentration`
    and `log_normalizer` those of the Dirichlet distribution of the proportions. Moments are their derivatives: the
    probability of each topic for each word, the entropies of those, the expected log proportions, and 1.
    """

    words: Float[Array, "... L K"]
    counts: Float[Array, "... L"]
    concentration: Float[Array, "... K"]
    log_normalizer: Float[Array, "..."]


@final
class MeanField(AbstractLatent):
    """Topic proportions of a document and the topics of its words, as if they were independent a posteriori.

    The log-normalizer is the bound of Blei, Ng and Jordan (2003) on the log probability of the document, at its
    optimum over the posterior `Dirichlet(gamma)` of the proportions; that of the topics given `gamma` is in closed
    form. Coordinate ascent, accelerated by SQUAREM (Varadhan and Roland 2008), from `concentration + count / K`, the
    same each time: no state is kept for a document. By the envelope theorem the derivative of the bound in the
    potentials is the moments, and so it is to JAX; that of the moments follows from the optimum's equation. Counts are
    potentials, so that the map to these is linear.

    A bound that is not concave in `gamma` may have several optima (of documents with few words and concentrations well
    below 1), so that another may be found after the topics have changed.

    **Arguments:**

    - `steps`: the most rounds of coordinate ascent.
    - `tol`: it ends where a round changes no entry of `gamma` by more than this (in units of the mean entry where that
        is larger, as far as the precision allows).

    The posterior is no distribution of the exact kind that `mode` and `sample` are for: those are refused.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import MeanField, MeanFieldTree
    >>> words = jnp.log(jnp.array([[[0.9, 0.1], [0.1, 0.9]]])) * jnp.array([[[3.0], [1.0]]])
    >>> document = MeanFieldTree(words, jnp.array([[3.0, 1.0]]), jnp.ones((1, 2)), jnp.zeros(1))
    >>> [round(float(entry), 1) for entry in MeanField().optimum(document)[0]]
    [4.1, 1.9]
    """

    steps: int = eqx.field(static=True, default=500)
    tol: float = eqx.field(static=True, default=1e-6)

    def __check_init__(self):
        if self.steps < 1 or not self.tol > 0:
            raise ValueError(f"MeanField needs steps >= 1 and tol > 0, got {self.steps} and {self.tol}")

    @property
    def lacks(self):
        return ("mode", "sample")

    def optimum(self, potentials: MeanFieldTree) -> Float[Array, "... K"]:
        """The concentration `gamma` of the posterior of the proportions."""
        return _optimum(self.steps, self.tol, potentials)

    def expectation(self, potentials: MeanFieldTree) -> tuple[MeanFieldTree, Float[Array, "..."]]:
        gamma = self.optimum(potentials)
        moments, _ = _moments(potentials, gamma)
        return moments, _envelope(potentials, moments, gamma)

    def pair(self, potentials: MeanFieldTree, moments: MeanFieldTree) -> Float[Array, "..."]:
        words = jnp.sum(jnp.where(moments.words == 0, 0, potentials.words * moments.words), (-1, -2))
        counts = jnp.sum(potentials.counts * moments.counts, -1)
        prior = jnp.sum(potentials.concentration * moments.concentration, -1)
        return words + counts + prior + potentials.log_normalizer * moments.log_normalizer

    def mode(self, potentials):
        raise MissingCapabilityError(
            "MeanField has no `mode`: its optimum is over approximate posteriors, and no values of proportions and "
            "topics are the most probable under them jointly; use jaxem.e_step.Expectation()"
        )

    def sample(self, key, potentials):
        raise MissingCapabilityError(
            "MeanField has no `sample`: proportions and topics are dependent under the exact posterior, and draws from "
            "the approximation would not be draws from it; use jaxem.e_step.Expectation()"
        )


def _log_words(potentials: MeanFieldTree) -> Array:
    """The log probability of each word under each topic; 0 for padding."""
    seen = potentials.counts > 0
    inverse = jnp.where(seen, 1 / jnp.where(seen, potentials.counts, 1), 0)
    return potentials.words * inverse[..., None]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _optimum(steps: int, tol: float, potentials: MeanFieldTree) -> Array:
    leading = potentials.log_normalizer.shape
    documents = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(leading) :]), potentials)
    ascend = partial(_ascend, steps, tol)
    gamma = jax.lax.platform_dependent(
        documents, cpu=partial(jax.lax.map, ascend, batch_size=_TOGETHER), default=jax.vmap(ascend)
    )
    return gamma.reshape(*leading, -1)


def _ascend(steps: int, tol: float, document: MeanFieldTree) -> Float[Array, " K"]:
    """Rounds of coordinate ascent, and after each an extrapolation of the last two where the bound says it is better.

    Logarithms are extrapolated, which keeps `gamma` positive.
    """
    counts, alpha = document.counts, document.concentration
    eps = jnp.finfo(counts.dtype).eps
    log = _log_words(document)
    table = jnp.exp(log - jnp.max(log, -1, keepdims=True))  # at least one topic has a 1 for each word
    mean = jnp.sum(counts) / alpha.shape[0]
    enough = jnp.maximum(tol, 8 * eps * (1 + mean + jnp.max(alpha)))
    least = 0.75 * jnp.log(jnp.finfo(counts.dtype).tiny)  # so that no sum over topics is zero

    def improved(gamma):
        """The next `gamma`, and the bound at this one less what does not depend on it."""
        log_share = dirichlet.expected_log(gamma)
        most = jnp.max(log_share)
        share = jnp.exp(jnp.maximum(log_share - most, least))
        total = matmul(table, share)
        bound = jnp.sum(counts * (jnp.log(total) + most)) + jnp.sum((alpha - gamma) * log_share)
        bound = bound - dirichlet.log_normalizer(gamma)
        return alpha + share * matmul(counts / total, table), bound

    def moving(gamma, image):
        return ~(jnp.max(jnp.abs(image - gamma)) <= enough)

    def body(carry):
        """A round, by turns from the image of `gamma` and from the extrapolation of both."""
        turn, at, gamma, image, second, bound, far, _ = carry
        new, reached = improved(at)
        change = jnp.log(image / gamma)
        bend = jnp.log(new / image) - change
        step = squared_step(change, bend)
        beyond = gamma * jnp.exp(2 * step * change + step**2 * bend)
        better = (reached >= bound) & jnp.all(jnp.isfinite(new))
        gamma = jnp.where(far, jnp.where(better, at, image), gamma)
        image = jnp.where(far, jnp.where(better, new, second), image)
        on = jnp.where(far, moving(gamma, image), moving(at, new))
        second, bound = jnp.where(far, second, new), jnp.where(far, bound, reached)
        return turn + 1, jnp.where(far, image, beyond), gamma, image, second, bound, ~far, on

    def going(carry):
        turn, *_, on = carry
        return (turn < steps) & on

    # The start is as good as any extrapolation.
    start, yes = alpha + mean, jnp.ones((), bool)
    lowest = per_device(jnp.full((), -jnp.inf, counts.dtype), start)
    begun = jnp.zeros((), jnp.int32), start, start, start, start, lowest, yes, jnp.all(jnp.isfinite(start))
    _, _, _, image, second, _, far, _ = jax.lax.while_loop(going, body, begun)
    return jnp.where(far, second, image)


@_optimum.defjvp
def _(steps, tol, primals, tangents):
    """At the optimum `gamma = alpha + sum_l count_l phi_l(E log theta)`; `phi` is a softmax."""
    (potentials,), (tangent,) = primals, tangents
    gamma = _optimum(steps, tol, potentials)

    def update(potentials):
        log = _log_words(potentials) + dirichlet.expected_log(gamma)[..., None, :]
        # Padding has no share in the update, nor in its derivative.
        phi = jnp.where((potentials.counts > 0)[..., None], jax.nn.softmax(log, -1), 0)
        return potentials.concentration + einsum("...lk,...l->...k", phi, potentials.counts), phi

    _, push, phi = jax.jvp(update, (potentials,), (tangent,), has_aux=True)
    own = dirichlet.trigamma(gamma)
    # The variance of the log proportions, and how the update depends on them: both symmetric.
    variance = diagonal_matrix(own) - dirichlet.trigamma(jnp.sum(gamma, -1))[..., None, None]
    weighted = phi * potentials.counts[..., None]
    slope = diagonal_matrix(jnp.sum(weighted, -2)) - einsum("...lk,...lj->...kj", phi, weighted)
    scale = jax.lax.rsqrt(own)
    curvature = variance - matmul(matmul(variance, slope), variance)
    inverse = inverse_lower(cholesky(curvature * scale[..., :, None] * scale[..., None, :]))
    right = scale * einsum("...kj,...j->...k", variance, push)
    return gamma, scale * einsum("...kj,...j->...k", matmul(transpose(inverse), inverse), right)


def _moments(potentials: MeanFieldTree, gamma: Array) -> tuple[MeanFieldTree, Array]:
    """Moments given `gamma`, and the log probability of each word under the expected log proportions."""
    log_share = dirichlet.expected_log(gamma)
    log_words = _log_words(potentials)
    log = log_words + log_share[..., None, :]
    top = jax.lax.stop_gradient(jnp.max(log, -1, keepdims=True))
    shifted = jnp.exp(log - top)
    total = jnp.sum(shifted, -1, keepdims=True)
    # A word that no topic has makes the document impossible, and belongs to none of them.
    seen, known = potentials.counts > 0, exclusion.possible(top[..., 0])
    phi = jnp.where((seen & known)[..., None], shifted / total, 0)
    found = jnp.where(seen, (jnp.log(total) + top)[..., 0], 0)
    entropy = jnp.where(known, found - jnp.sum(phi * log_words, -1), 0)
    return MeanFieldTree(phi, entropy, log_share, jnp.ones_like(potentials.log_normalizer)), found


@jax.custom_jvp
def _envelope(potentials: MeanFieldTree, moments: MeanFieldTree, gamma: Array) -> Array:
    """The bound at its optimum `gamma`; its derivative in the potentials is the moments."""
    found = _moments(potentials, gamma)[1]
    alpha = potentials.concentration
    prior = potentials.log_normalizer - dirichlet.log_normalizer(alpha) - dirichlet.divergence(gamma, alpha)
    return exclusion.or_minus_infinity(jnp.sum(potentials.counts * found, -1) + prior)


@_envelope.defjvp
def _(primals, tangents):
    potentials, moments, gamma = primals
    value = _envelope(potentials, moments, gamma)
    terms = jax.tree.map(lambda m, t: jnp.sum((m * t).reshape(*value.shape, -1), -1), moments, tangents[0])
    return value, sum(jax.tree.leaves(terms), jnp.zeros_like(value))
