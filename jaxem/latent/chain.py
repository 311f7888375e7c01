from typing import Any, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxem._errors import MissingCapabilityError
from jaxem.kernels.forward_backward import forward_backward
from jaxem.kernels.forward_backward_log import Marginals
from jaxem.kernels.paths import draw_path, of_path, viterbi
from jaxem.latent._latent import AbstractChoice, scale


class ChainTree(NamedTuple):
    """Log potentials of a chain for each sequence, or its moments.

    `initial` `[k, n]` and `transition` `[k, k, n]` (from, to), or `[k, k, n, T - 1]` where those of the steps differ
    (the first is into the second step), and `local` `[k, n, T]` for the state of every step.
    `ended` and `silent`, `[n, T]` or `None`, are 0 where a sequence has ended and where nothing was observed, minus
    infinity elsewhere: after its end nothing depends on a sequence, and the local potentials of silent steps do not
    count. These two have no moments.
    """

    initial: Float[Array, "k n"]
    transition: Float[Array, "k k n *s"]
    local: Float[Array, "k n T"]
    ended: Float[Array, "n T"] | None = None
    silent: Float[Array, "n T"] | None = None

    @property
    def by_step(self) -> bool:
        """Whether the transition potentials of the steps differ."""
        return self.transition.ndim == 4

    def factors(self) -> tuple[tuple[Array, Array, Array], Bool[Array, "T n"] | None]:
        """What `jaxem.kernels.forward_backward` takes: the potentials with time first, and which steps have ended."""
        local, ended = self.local, None
        if self.silent is not None:
            local = jnp.where(jnp.isfinite(self.silent)[None], 0, local)
        if self.ended is not None:
            ended = jnp.isfinite(self.ended).T
        transition = jnp.moveaxis(self.transition, 3, 0) if self.by_step else self.transition
        return (self.initial, transition, jnp.moveaxis(local, 2, 0)), ended


@final
class Chain(AbstractChoice):
    """A Markov chain of `k` states for each sequence of an observation.

    Moments are the posterior probabilities of the first state, the expected numbers of transitions (of each step, where
    its potentials are its own), and the posterior probabilities of the states of the steps that were observed. Baum et
    al. (1970).

    **Arguments:**

    - `shared`: all sequences have the same transition potentials, which makes the recursions cheaper. Those of the
        first sequence are used.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import Chain, ChainTree
    >>> half = jnp.log(jnp.full((2, 1), 0.5))
    >>> stay = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))[:, :, None]
    >>> moments, _ = Chain().expectation(ChainTree(half, stay, jnp.array([[[2.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])))
    >>> [round(p, 2) for p in moments.local[0, 0].tolist()]
    [0.88, 0.8, 0.74]
    """

    shared: bool = eqx.field(static=True, default=False)

    def expectation(self, potentials: ChainTree) -> tuple[ChainTree, Float[Array, " n"]]:
        factors, ended = potentials.factors()
        marginals, value = forward_backward(*factors, ended, self.shared)
        return _moments(marginals, potentials), value

    def mode(self, potentials: ChainTree) -> tuple[ChainTree, Float[Array, " n"]]:
        factors, ended = potentials.factors()
        path, value = viterbi(*factors, ended)
        return _of_path(path, ended, value, potentials), value

    def sample(self, key: PRNGKeyArray, potentials: ChainTree) -> ChainTree:
        factors, ended = potentials.factors()
        path, value = draw_path(key, *factors, ended)
        return _of_path(path, ended, value, potentials)

    def pair(self, potentials: ChainTree, moments: ChainTree) -> Float[Array, " n"]:
        def one(p: Array, m: Array) -> Array:
            return jnp.where(m == 0, 0, m * jnp.where(m == 0, 0, p))

        initial, transition, local = (one(p, m) for p, m in zip(potentials[:3], moments[:3], strict=True))
        over = (0, 1, 3) if potentials.by_step else (0, 1)
        return jnp.sum(initial, 0) + jnp.sum(transition, over) + jnp.sum(local, (0, 2))

    def weigh(self, moments: ChainTree, weights: Float[Array, " n"]) -> ChainTree:
        def along(leaf: Any, axis: int) -> Any:
            return None if leaf is None else jnp.moveaxis(scale(jnp.moveaxis(leaf, axis, 0), weights), 0, axis)

        return ChainTree(*(along(leaf, axis) for leaf, axis in zip(moments, (1, 2, 1, 0, 0), strict=True)))

    def attach(self, potentials: ChainTree, value: Float[Array, "k n T"]) -> ChainTree:
        return potentials._replace(local=potentials.local + value)

    def local(self, moments: ChainTree) -> Float[Array, "k n T"]:
        return moments.local

    def entropy(self, moments: ChainTree) -> Array:
        raise MissingCapabilityError(
            "the entropy of a path does not follow from the moments of a chain; `HMM.entropy` takes its potentials"
        )


def _moments(marginals: Marginals, potentials: ChainTree) -> ChainTree:
    local = jnp.moveaxis(marginals.local, 0, 2)
    if potentials.silent is not None:
        local = jnp.where(jnp.isfinite(potentials.silent)[None], 0, local)
    ended, silent = (None if leaf is None else jnp.zeros_like(leaf) for leaf in potentials[3:])
    transition = jnp.moveaxis(marginals.transition, 0, 3) if potentials.by_step else marginals.transition
    return ChainTree(marginals.initial, transition, local, ended, silent)


def _of_path(path: Array, ended: Array | None, value: Array, potentials: ChainTree) -> ChainTree:
    k = potentials.initial.shape[0]
    marginals = of_path(path, k, ended, value > -jnp.inf, potentials.initial, potentials.by_step)
    return _moments(marginals, potentials)
