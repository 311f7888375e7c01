"""Factor analysis and probabilistic principal components, and what is asked of fitted loadings.

Functions of `params` take the `FactorParams` of a `Single` model, or those of the components of a mixture, and then
every result has a leading axis `k`.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.engine.door import for_question
from jaxem.families.factor import Factor, FactorParams
from jaxem.families.priors import Dirichlet, StickBreaking
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels import linalg
from jaxem.models.mixture import Mixture
from jaxem.models.single import Single


def FactorAnalysis(
    num_factors: int,
    *,
    floor: float | None = None,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
) -> Single:
    """Maximum-likelihood factor analysis: `Single(Factor(num_factors))`.

    It is a function that makes a `Single`. What tells such a model is
    `isinstance(model, jaxem.Single) and isinstance(model.family, jaxem.Factor)`.

    **Arguments:** see `Factor` and `Single`. Parameters are `mean` `[d]`, `loading` `[d, q]` and `noise_variance`
    `[d]`. NaN in the data is a missing entry.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> z, noise = (jax.random.normal(jax.random.key(i), (500, d)) for i, d in ((0, 1), (1, 4)))
    >>> x = z * jnp.array([[1.0, 0.9, -0.8, 0.7]]) + 0.5 * noise
    >>> fit = jaxem.fit(jaxem.FactorAnalysis(1), x, key=jax.random.key(2))
    >>> loading = jaxem.models.factor_analysis.canonical(fit.params).loading[:, 0]
    >>> jnp.sign(loading).tolist()
    [1.0, 1.0, -1.0, 1.0]
    """
    return Single(Factor(num_factors, "diagonal", floor), tuple(frozen), start or KMeansPlusPlus())


def PPCA(
    num_factors: int,
    *,
    floor: float | None = None,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
) -> Single:
    """Probabilistic principal components: `Single(Factor(num_factors, "isotropic"))`.

    It is a function that makes a `Single`. What tells such a model is
    `isinstance(model, jaxem.Single) and isinstance(model.family, jaxem.Factor)`.

    The loadings span the leading principal components. Tipping and Bishop (1999).

    **Arguments:** see `Factor` and `Single`. Parameters are `mean` `[d]`, `loading` `[d, q]` and `noise_variance`, a
    number. NaN in the data is a missing entry.

    **Example**

    >>> import jaxem
    >>> jaxem.PPCA(2).family.noise
    'isotropic'
    """
    return Single(Factor(num_factors, "isotropic", floor), tuple(frozen), start or KMeansPlusPlus())


def MixtureOfFactorAnalyzers(
    num_components: int,
    num_factors: int,
    *,
    noise: str = "diagonal",
    floor: float | None = None,
    weights_prior: Dirichlet | StickBreaking | None = None,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
) -> Mixture:
    """A mixture of factor analysers: `Mixture(Factor(num_factors, noise), num_components)`.

    It is a function that makes a `Mixture`. What tells such a model is
    `isinstance(model, jaxem.Mixture) and isinstance(model.family, jaxem.Factor)`.

    Clusters with full covariances of few parameters. Ghahramani and Hinton (1996); McLachlan and Peel (2000), ch. 8.

    **Arguments:** see `Factor` and `Mixture`. Parameters are `params.weights` `[k]` and, in `params.components`, `mean`
    `[k, d]`, `loading` `[k, d, q]` and `noise_variance` (`[k, d]`, or `[k]` if isotropic). NaN in the data is a missing
    entry.

    **Example**

    >>> import jaxem
    >>> jaxem.MixtureOfFactorAnalyzers(num_components=3, num_factors=2).num_components
    3
    """
    family = Factor(num_factors, noise, floor)
    return Mixture(family, num_components, weights_prior, tuple(frozen), start or KMeansPlusPlus())


class FactorScores(NamedTuple):
    """Posterior mean `[n, q]` and covariance `[n, q, q]` of the factors of each row."""

    mean: Float[Array, "n q"]
    covariance: Float[Array, "n q q"]


def scores(params: FactorParams, x: Float[Array, "n d"]) -> FactorScores:
    """The factors of each row given its observed entries; those of a row without any are the prior's, 0 and I.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> params = jaxem.families.FactorParams(jnp.zeros(2), jnp.ones((2, 1)), jnp.ones(2))
    >>> found = jaxem.models.factor_analysis.scores(params, jnp.array([[3.0, 3.0], [3.0, jnp.nan]]))
    >>> [round(value, 3) for value in found.mean[:, 0].tolist()]
    [2.0, 1.5]
    """
    return _scores(*_admitted(params, x))


def reconstruct(params: FactorParams, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """`mean + loading E[z]`: every entry without its noise, given the observed ones of its row."""
    return _reconstructed(*_admitted(params, x))


def communalities(params: FactorParams) -> Float[Array, " d"]:
    """The share of the variance of each column that the factors account for, `[d]`; 1 less it is the uniqueness.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> params = jaxem.families.FactorParams(jnp.zeros(2), jnp.array([[3.0], [1.0]]), jnp.ones(2))
    >>> [round(share, 2) for share in jaxem.models.factor_analysis.communalities(params).tolist()]
    [0.9, 0.5]
    """
    many, back = _members(params)
    signal = jnp.sum(many.loading**2, -1)
    return back(signal / (signal + _noise(many)))


@eqx.filter_jit
def canonical(params: FactorParams) -> FactorParams:
    """The same model with `loading^T loading / noise_variance` diagonal, largest first, and columns of positive sum.

    Of all rotations this is the one that the likelihood leaves no doubt about, unless factors tie (Lawley and Maxwell
    1971). For isotropic noise the columns are the principal axes.
    """
    many, back = _members(params)
    scaled = many.loading / jnp.sqrt(_noise(many))[..., None]
    _, vectors = linalg.eigh(linalg.matmul(linalg.transpose(scaled), scaled))
    loading = linalg.matmul(many.loading, vectors[..., ::-1])
    return jax.tree.map(back, many._replace(loading=_signed(loading)))


@eqx.filter_jit
def varimax(params: FactorParams, *, normalize: bool = True, sweeps: int = 50) -> FactorParams:
    """The same model with the loadings rotated so that the variance of their squares is largest, summed over columns.

    Two factors at a time are turned by the best angle, all pairs in a sweep (Kaiser 1958).

    **Arguments:**

    - `params`: parameters; a single factor has nothing to rotate.
    - `normalize`: whether to scale the rows of the loadings to length 1 meanwhile.
    - `sweeps`: how many.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> loading = jnp.array([[0.6, 0.6], [0.5, 0.5], [0.6, -0.6], [0.5, -0.5]])
    >>> params = jaxem.families.FactorParams(jnp.zeros(4), loading, jnp.ones(4))
    >>> found = abs(jaxem.models.factor_analysis.varimax(params).loading[0]).tolist()
    >>> sorted(round(value, 2) for value in found)
    [0.0, 0.85]
    """
    many, back = _members(params)
    length = jnp.sqrt(jnp.sum(many.loading**2, -1, keepdims=True))
    length = jnp.where((length > 0) & normalize, length, 1)
    first, second = (jnp.asarray(a) for a in np.triu_indices(many.loading.shape[-1], 1))

    def turn(index, rows):
        pair = first[index % first.size], second[index % first.size]
        x, y = (jnp.take(rows, column, -1) for column in pair)
        u, v = x**2 - y**2, 2 * x * y
        a, b, p = jnp.sum(u, -1), jnp.sum(v, -1), x.shape[-1]
        sine = 2 * jnp.sum(u * v, -1) - 2 * a * b / p
        cosine = jnp.sum(u**2 - v**2, -1) - (a**2 - b**2) / p
        angle = jnp.arctan2(sine, cosine)[:, None] / 4
        c, s = jnp.cos(angle), jnp.sin(angle)
        return rows.at[..., pair[0]].set(c * x + s * y).at[..., pair[1]].set(c * y - s * x)

    rows = (
        jax.lax.fori_loop(0, sweeps * first.size, turn, many.loading / length) if first.size else many.loading / length
    )
    return jax.tree.map(back, many._replace(loading=_signed(rows * length)))


@eqx.filter_jit
def _scores(params: FactorParams, x: Array) -> FactorScores:
    many, back = _members(params)
    return jax.tree.map(back, FactorScores(*_family(many).factors(many, x)))


@eqx.filter_jit
def _reconstructed(params: FactorParams, x: Array) -> Array:
    many, back = _members(params)
    return back(_family(many).fitted(many, _family(many).factors(many, x)[0]))


def _admitted(params: FactorParams, x: Any) -> tuple[FactorParams, Array]:
    """Parameters, with or without an axis of members, and rows of their width, through the door of data."""
    many, _ = _members(params)
    return params, for_question(Single(_family(many)), jax.tree.map(lambda leaf: leaf[0], many), x).data


def _signed(loading: Array) -> Array:
    negative = jnp.sum(loading, -2, keepdims=True) < 0
    return jnp.where(negative, -loading, loading)


def _members(params: FactorParams) -> tuple[FactorParams, Any]:
    """Parameters with a leading axis of members, and what takes it away again if there was none."""
    if params.mean.ndim == 2:
        return params, lambda leaf: leaf
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params), lambda leaf: leaf[0]


def _family(params: FactorParams) -> Factor:
    return Factor(params.loading.shape[-1], "diagonal" if params.noise_variance.ndim == 2 else "isotropic")


def _noise(params: FactorParams) -> Array:
    noise = params.noise_variance
    return noise if noise.ndim == 2 else jnp.broadcast_to(noise[:, None], params.mean.shape)
