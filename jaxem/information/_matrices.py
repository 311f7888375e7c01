"""Information matrices of a model at given parameters, in unconstrained coordinates and a block of rows at a time."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jaxem._bound import collect, scoring
from jaxem._coordinates import vector
from jaxem._errors import MissingCapabilityError
from jaxem.engine.door import question, without_unusable
from jaxem.information import _monomials
from jaxem.information._choices import Choices, choices_of, every_coordinate
from jaxem.information._directions import BATCH, along, hessian, in_directions
from jaxem.information.rate import rate_matrix
from jaxem.kernels.chunks import chunk_rows, num_rows, sum_chunks
from jaxem.kernels.linalg import matmul, symmetrize, transpose
from jaxem.kernels.sums import inner

# Sums of outer products, `[p, p]`, are read and written once for each block: of so many rows, if they are to be had.
_ROWS = 1024

METHODS = ("oakes", "hessian", "louis", "scores", "sandwich", "sem")


class Matrices(NamedTuple):
    """What is known of the coordinates at `params`, all of it summed over rows by weight."""

    params: PyTree  # in the precision of the matrices
    observed: Float[Array, "p p"]
    complete: Float[Array, "p p"]
    gradient: Float[Array, " p"]
    scores: Float[Array, "p p"] | None  # the sum of outer products, for the covariance of a sandwich


@question(quickly=True)
def matrices(
    model: Any, params: PyTree, data: PyTree, *, weights: Any = None, method: str = "oakes", monomials: bool = False
) -> Matrices:
    """The information by one of `METHODS`; second moments from `monomials`, where these pay."""
    place = Place(model, params, data, weights)
    cheap = place.choices if monomials else place.cheap

    told: Any = _monomials.spread(place, model, method in ("scores", "sandwich")) if monomials else None

    def spread(choices: Choices) -> tuple[Array, Any]:
        return place.spread(choices) if told is None else told[1:]

    curvature, slope = of_prior(model, place.here, place.at)
    stats = place.stats() if told is None else told[0]
    gradient = jax.vjp(place.natural_at, place.here)[1](stats)[0] + slope
    complete, scores = place.complete(stats), None
    if method == "hessian":
        found = place.hessian()
    elif method == "louis":
        found = complete - spread(place.choices_for_louis())[0]
    elif method == "scores":
        found = place.outer_scores() if cheap is None else spread(cheap)[1]
    elif method == "sem":
        rate = rate_matrix(model, params, data, weights=place.weights)
        found = matmul(complete + curvature, jnp.eye(len(rate), dtype=rate.dtype) - rate) - curvature
    elif cheap is not None:
        hidden, scores = spread(cheap)
        found = complete - hidden
    else:
        found = complete - place.moved()
    if method == "sandwich":
        scores = place.outer_scores() if scores is None else scores
    return Matrices(
        params,
        symmetrize(found + curvature),
        symmetrize(complete + curvature),
        gradient,
        scores if method == "sandwich" else None,
    )


def of_prior(model: Any, here: Array, at: Callable[[Array], PyTree]) -> tuple[Float[Array, "p p"], Float[Array, " p"]]:
    """The curvature of the log prior in the coordinates, of which `at` makes parameters, and its slope."""

    def log_prior(u: Array) -> Array:
        return model.log_prior(at(u)).astype(u.dtype)

    return -hessian(log_prior, here), jax.grad(log_prior)(here)


class Place:
    """A model at given parameters, as a function of its unconstrained coordinates and of blocks of rows.

    `coordinates` are the parameters' own, and the way back from them, where these are known. So many of `lanes` run
    side by side.
    """

    def __init__(
        self, model: Any, params: PyTree, data: PyTree, weights: Any, *, coordinates: Any = None, lanes: int = 1
    ):
        self.here, self.at = vector(model, params) if coordinates is None else coordinates
        self.params, self.bound, self.lanes = params, scoring(model, params), lanes
        dtype = self.here.dtype
        self.weights = jnp.ones(num_rows(data), dtype) if weights is None else jnp.asarray(weights, dtype)
        self.data = without_unusable(model, data, self.weights)
        self.natural, self.pushed = jax.linearize(self.natural_at, self.here)
        self.choices = choices_of(model, self.bound, params, data)
        num_natural = sum(leaf.size for leaf in jax.tree.leaves(self.natural))
        self.cheap = self.choices if self.choices is not None and self.choices.are_cheap(num_natural) else None

    @cached_property
    def directions(self) -> PyTree:
        """How natural parameters move with each coordinate: the leading axis."""
        return in_directions(self.pushed, jnp.eye(self.here.size, dtype=self.here.dtype))

    def natural_at(self, u: Array) -> PyTree:
        """Natural parameters at these coordinates."""
        return self.bound.prepare(self.bound.natural(self.at(u)))

    def total(self, one: Callable[[PyTree, Array], PyTree], lanes: int, extra: int = 0) -> tuple[PyTree, Array]:
        """`one(block, weights)` summed over blocks that hold `lanes` E-steps and `extra` numbers for each row."""
        zero = jnp.zeros((), self.here.dtype)
        return sum_chunks(lambda block, w, _: (one(block, w), zero), self.data, self.weights, self.rows(extra, lanes))

    def rows(self, extra: int, lanes: int = BATCH) -> int:
        """Rows in such a block."""
        return chunk_rows(num_rows(self.data), self.bound.floats_per_row(self.params, self.lanes * lanes) + extra)

    def stats(self) -> PyTree:
        """The gradient in the natural parameters: the expected statistics, if the model is linear."""
        return self.total(lambda block, w: self.block_stats(self.natural, block, w), 1)[0]

    def block_stats(self, natural: PyTree, block: PyTree, w: Array) -> PyTree:
        """The same of a block of rows."""
        return collect(self.bound, natural, block, w, self.bound.latent.expectation)[0]

    def uphill(self, new: Array, old: Array, block: PyTree, w: Array) -> Array:
        """The gradient at `new` of the Q with an E-step at `old`, of a block of rows."""
        bound = self.bound
        moments = bound.latent.expectation(bound.potentials(self.natural_at(old), block))[0]
        pull = jax.vjp(lambda u: bound.potentials(self.natural_at(u), block), new)[1]
        return pull(bound.latent.weigh(moments, w))[0]

    def complete(self, stats: PyTree) -> Array:
        """The information of the complete data: minus the second derivatives of Q, the log prior apart."""
        if self.bound.linear:
            choices = self.choices or every_coordinate(self.here.size)
            units = choices.units(self.here.dtype)
            pushed = jax.linearize(jax.grad(lambda u: inner(self.natural_at(u), stats)), self.here)[1]
            return -choices.unfold(in_directions(pushed, units))

        def one(block: PyTree, w: Array) -> Array:
            return -along(lambda new: self.uphill(new, self.here, block, w), self.here)

        return self.total(one, BATCH)[0]

    def moved(self) -> Array:
        """How the gradient of Q moves with the parameters of the E-step: Oakes's second term."""
        if not self.bound.linear:

            def through(block: PyTree, w: Array) -> Array:
                return along(lambda old: self.uphill(self.here, old, block, w), self.here)

            return self.total(through, BATCH)[0]

        def one(block: PyTree, w: Array) -> Array:
            def stats(natural: PyTree) -> Array:
                return ravel_pytree(self.block_stats(natural, block, w))[0]

            return in_directions(jax.linearize(stats, self.natural)[1], self.directions)

        tangents = jax.vmap(lambda tree: ravel_pytree(tree)[0])(self.directions)
        return matmul(self.total(one, BATCH)[0], transpose(tangents))

    def hessian(self) -> Array:
        """Minus the second derivatives of the log-likelihood."""

        def one(block: PyTree, w: Array) -> Array:
            def value(u: Array) -> Array:
                each = self.bound.latent.log_normalizer(self.bound.potentials(self.natural_at(u), block))
                return jnp.sum(jnp.where(w == 0, 0, w * each))

            return -hessian(value, self.here)

        return self.total(one, BATCH)[0]

    def oakes(self, stats: PyTree) -> Array:
        """Minus the second derivatives of the log-likelihood, from sums that EM has anyway."""
        hidden = self.moved() if self.cheap is None else self.spread(self.cheap)[0]
        return self.complete(stats) - hidden

    def outer_scores(self) -> Array:
        """The sum of outer products of the scores of rows."""

        def one(block: PyTree, w: Array) -> Array:
            scores = self.scores(block)
            return matmul(scores * w[None], transpose(scores))

        return self.total(one, BATCH, self.here.size)[0]

    def scores(self, block: PyTree) -> Float[Array, "p n"]:
        """The derivatives of the log density of each row."""
        bound = self.bound
        _, pushed = jax.linearize(
            lambda natural: bound.latent.log_normalizer(bound.potentials(natural, block)), self.natural
        )
        return in_directions(pushed, self.directions)

    def spread(self, choices: Choices) -> tuple[Array, Array]:
        """How far the scores of complete rows spread given what is observed, and the outer products of their means."""
        tangents, zero = in_directions(self.pushed, choices.units(self.here.dtype)), jnp.zeros((), self.here.dtype)

        def one(block: PyTree, w: Array) -> tuple[Array, Array]:
            potentials, pushed = jax.linearize(lambda natural: self.bound.potentials(natural, block), self.natural)
            shares = self.bound.latent.expectation(potentials)[0]
            return choices.sums(in_directions(pushed, tangents), shares, w)

        rows = max(self.rows(2 * self.here.size), min(_ROWS, num_rows(self.data)))
        found, _ = sum_chunks(lambda block, w, _: (one(block, w), zero), self.data, self.weights, rows)
        squares, scores = choices.whole(*found)
        return squares - scores, scores

    def choices_for_louis(self) -> Choices:
        """The choices of independent rows, or an error."""
        if self.choices is None:
            raise MissingCapabilityError(
                f"{self.bound.name}: Louis's formula takes the second moments of the score given each observation, "
                "which are at hand for rows that choose one of several members independently, and hide nothing else; "
                'use method="oakes", which is as exact'
            )
        return self.choices
