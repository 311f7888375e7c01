"""Second moments of scores that are polynomials of the second degree in a row, from sums of monomials of the fourth.

A normal distribution's score is such a polynomial, of `D` terms. Its products with the score of another member take
`D^2` numbers for each row; as polynomials of the fourth degree they have about a fifth of that many terms.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._bound import collect
from jaxem.engine.convert import is_concrete
from jaxem.engine.door import for_question, question
from jaxem.engine.kept import Arguments, Signature
from jaxem.information._choices import Choices, choices_of
from jaxem.information._directions import in_directions
from jaxem.kernels.chunks import num_rows, sum_chunks
from jaxem.kernels.linalg import einsum, matmul, transpose
from jaxem.kernels.sums import unreduced
from jaxem.models._joined_bound import JoinedBound

_FEW = 100  # parameters, up to which nothing takes long
_GAIN = 2  # times fewer operations that pay for another program
_WRITTEN = 16  # operations that take as long as a monomial of a row does to be written and read
_MOST = 2**15  # monomials, of which a block of rows would fill memory
_KNOWN: dict[Signature, bool] = {}
_MOST_KNOWN = 64


def pay(model: Any, params: PyTree, data: PyTree, weights: Any) -> bool:
    """Whether monomials take far fewer operations than scores, and rounding leaves enough digits of their sums."""
    if not is_concrete((params, data, weights)) or sum(np.size(leaf) for leaf in jax.tree.leaves(params)) < _FEW:
        return False
    data, weights, params, _ = for_question(model, params, data, weights)
    return _take_fewer(model, params, data) and bool(rounding_is_small(model, params, data, weights=weights))


def _take_fewer(model: Any, params: PyTree, data: PyTree) -> bool:
    """Whether monomials take far fewer operations than scores: a matter of shapes, looked at once for each."""
    known = Arguments((model, params, data)).signature()
    if known not in _KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[known] = _gain(model, params, data) >= _GAIN
    return _KNOWN[known]


def _gain(model: Any, params: PyTree, data: PyTree) -> float:
    """How many times the operations of monomials those of scores are; 0 where there are no monomials, or too many."""
    choices = _choices_of(model, params, data)
    if choices is None:
        return 0.0
    k, size = choices.num_members, len(choices.common) + choices.own.shape[1]
    terms, d = _num_terms(model, params, data)
    monomials = (d + 4) * (d + 3) * (d + 2) * (d + 1) // 24
    by_scores = 2 * k * size * (size + terms) + choices.size**2
    return 0.0 if monomials > _MOST else by_scores / (monomials * (k * (k - 1) + _WRITTEN))


def _choices_of(model: Any, params: PyTree, data: PyTree) -> Choices | None:
    """The choices of a model whose potentials are polynomials of the second degree; `None` for others."""
    bound = model.bound()
    if not isinstance(bound, JoinedBound) or bound.kernel.latent is not None or not bound.kernel.quadratic:
        return None
    own = jax.eval_shape(lambda: bound.structure.split_natural(bound.natural(params))[0])
    return None if bound.structure.constant(own) is None else choices_of(model, bound, params, data)


def _num_terms(model: Any, params: PyTree, data: PyTree) -> tuple[int, int]:
    """How many products of `(1, columns)` there are, and how many columns."""
    bound = model.bound()
    terms = jax.eval_shape(lambda: bound.kernel.statistics(bound.rows(data))).shape[0]
    return terms, (int(np.sqrt(8 * terms + 1)) - 1) // 2 - 1


@question
def rounding_is_small(model: Any, params: PyTree, data: PyTree, *, weights: Any = None) -> Array:
    """Whether the error that rounding leaves in sums of monomials is less than what a spectrum takes for zero."""
    dtype = jax.tree.leaves(params)[0].dtype
    w = jnp.ones(num_rows(data), dtype) if weights is None else jnp.asarray(weights, dtype)
    bound = model.bind(data, w, unreduced)
    eps, (_, d) = float(jnp.finfo(dtype).eps), _num_terms(model, params, data)
    # By how much terms of the second degree are larger than their sum, of which d is the share of no cancellation.
    # Side by side with others the kernel expands rows of so few columns, and estimates the error of that.
    larger = bound.for_lanes(2).rounding_error(bound.encode(params)) / eps / d
    return larger**2 * eps < eps ** (2 / 3)


def spread(place: Any, model: Any, scores: bool) -> tuple[PyTree, Float[Array, "p p"], Float[Array, "p p"] | None]:
    """The statistics, how far the scores of complete rows spread given what is observed, and, if asked, the outer
    products of the scores' means.

    `place` is a `Place`. As `Place.stats` and `Place.spread`, in the columns that the model's fast kernel takes.
    """
    bound, choices = model.bind(place.data, place.weights, unreduced), place.choices
    k, d = choices.num_members, _num_terms(model, place.params, place.data)[1]
    first, second, position = factors(d)
    # Only products of two members are missing from what a row tells of both: a member's own are what is left.
    left, right = np.triu_indices(k, 0 if scores else 1)

    def one(block: PyTree, w: Array, _: Array) -> tuple[tuple[PyTree, Array], Array]:
        def shared(potentials: Array) -> tuple[Array, Array]:
            return (place.bound.latent.expectation(potentials)[0],) * 2

        stats, shares = collect(place.bound, place.natural, block, w, shared)
        pairs = shares[left] * shares[right] * w[None]
        terms = bound.kernel.statistics(bound.rows(block))
        found = matmul(pairs, transpose(terms[first] * terms[second]))
        return (stats, found), jnp.zeros((), w.dtype)

    rows = place.rows(2 * len(first) + len(left), 1)
    (stats, sums), _ = sum_chunks(one, place.data, place.weights, rows)
    apart = left != right
    mine = matmul(jnp.asarray((left == np.arange(k)[:, None]) ^ (right == np.arange(k)[:, None]), sums.dtype), sums)
    jacobian = _jacobian(place, bound, jnp.any(mine != 0, 1))
    pairs = np.concatenate([np.stack([left[apart], right[apart]], 1), np.stack([np.arange(k)] * 2, 1)])
    hidden = -_in_coordinates(choices, jacobian, pairs, jnp.concatenate([sums[apart], -mine])[:, position])
    whole = np.stack([left, right], 1)
    return stats, hidden, _in_coordinates(choices, jacobian, whole, sums[:, position]) if scores else None


def _jacobian(place: Any, bound: Any, there: Array) -> Float[Array, "k q D"]:
    """The derivatives of each member's polynomial in its coordinates; 0 for members that share no row with another."""

    def coefficients(u: Array) -> Float[Array, "k D"]:
        natural = bound.natural(bound.encode(place.at(u)))
        own, members = bound.structure.split_natural(natural)
        return bound.kernel.coefficients(bound.kernel.add_constant(members, bound.structure.constant(own)))

    units = place.choices.units(place.here.dtype)
    found = jnp.moveaxis(in_directions(jax.linearize(coefficients, place.here)[1], units), 1, 0)
    return jnp.where(there[:, None, None], found, 0)


def _in_coordinates(
    choices: Choices, jacobian: Float[Array, "k q D"], pairs: np.ndarray, each: Float[Array, "m D D"]
) -> Float[Array, "p p"]:
    """Products of the coefficients of the members of each of `pairs`, `[m, 2]`, as those of their coordinates."""
    (left, right), k, q = pairs.T, *jacobian.shape[:2]
    half = einsum("mqa,mab->mqb", jacobian[left], each)
    found = einsum("mqb,mrb->mqr", half, jacobian[right])
    blocks = jnp.zeros((k, k, q, q), found.dtype).at[right, left].set(transpose(found)).at[left, right].set(found)
    return choices.joined(blocks)


def factors(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The products of four of `(1, x_1 ... x_d)` from those of two, `[D]` in the order of `linalg.products`.

    Monomial `m` is the product of numbers `first[m]` and `second[m]` of these, and those of numbers `a` and `b` make
    monomial `position[a, b]`.
    """
    pairs = np.stack(np.triu_indices(d + 1), 1)
    size = len(pairs)
    four = np.concatenate([np.repeat(pairs, size, 0), np.tile(pairs, (size, 1))], 1)
    code = np.sort(four, 1) @ (d + 1) ** np.arange(3, -1, -1)
    _, chosen, position = np.unique(code, return_index=True, return_inverse=True)
    first, second = np.divmod(chosen, size)
    return first, second, position.reshape(size, size)
