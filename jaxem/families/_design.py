"""Coordinates in which a linear regression, or predictor, is well conditioned."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError
from jaxem.families._columns import in_power_of_two
from jaxem.families.responses import Responses, check_responses
from jaxem.kernels import linalg
from jaxem.kernels.chunks import per_device, sum_chunks
from jaxem.kernels.linalg import einsum, matmul
from jaxem.kernels.rows import Present
from jaxem.kernels.small import sweep
from jaxem.kernels.sums import repeated

_ROWS = 2**16  # rows at a time when the data are first looked at
_STEPS = 15


class Design(NamedTuple):
    """The loop works on covariates `x @ whiten`, with unit second moments, and responses `(y - x @ about) / scale`.

    `about` are the least-squares coefficients of all rows together and `scale` is the standard deviation about them.
    """

    whiten: Float[Array, "p p"]
    colour: Float[Array, "p p"]  # the inverse
    about: Float[Array, " p"]
    scale: Float[Array, ""]
    magnitude: Float[Array, ""]  # of the terms that cancel in the responses, in units of `scale`
    reach: Float[Array, " p"]  # and of those in the covariates

    @staticmethod
    def plain(rows: Responses) -> "Design":
        """The user's coordinates."""
        p, dtype = rows.x.shape[1], rows.x.dtype
        eye, one = jnp.eye(p, dtype=dtype), jnp.ones((), dtype)
        return Design(eye, eye, jnp.zeros(p, dtype), one, one, jnp.ones(p, dtype))

    @staticmethod
    def of(rows: Responses, weights: Array, reduce: Any) -> "Design":
        """Coordinates suited to the data, by repeated shifted Cholesky factors (Fukaya et al. 2020)."""
        p, eps = rows.x.shape[1], jnp.finfo(rows.x.dtype).eps
        weights = in_power_of_two(weights, reduce)
        mean = partial(_mean, rows, weights, reduce)
        squares = mean(lambda r, w: jnp.sum(w * r.x * r.x, 0))
        size = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        whiten, colour = jnp.diag(1 / size), jnp.diag(size)
        for shift in (10 * p * eps, 10 * p * eps, 0.0):

            def second_moments(r, w, whiten):
                x = linalg.matmul(r.x, whiten)
                return linalg.matmul((w * x).T, x)

            moments = mean(second_moments, whiten)
            # What is left of a collinear column is noise: it keeps its size.
            lost = jnp.diagonal(moments) < jnp.sqrt(eps)
            moments = moments + jnp.diag(jnp.where(lost, 1, shift * jnp.trace(moments)))
            factor = linalg.cholesky(linalg.symmetrize(moments))
            whiten = linalg.matmul(whiten, linalg.inverse_lower(factor).T)
            colour = linalg.matmul(factor.T, colour)

        about = jnp.zeros_like(size)
        for _ in range(2):

            def slopes(r, w, whiten, about):
                rest = r.y[:, None] - linalg.matmul(r.x, about[:, None])
                return linalg.matmul((w * linalg.matmul(r.x, whiten)).T, rest)[:, 0]

            about = about + linalg.matmul(whiten, mean(slopes, whiten, about)[:, None])[:, 0]

        return _measured(whiten, colour, about, None, mean)

    def robust(self, rows: Responses, weights: Array, reduce: Any) -> "Design":
        """The same covariates, with responses about coefficients and a scale that outliers hardly move.

        They are those of errors with a Cauchy distribution, after some iterations of EM from where they are.
        """
        mean = partial(_mean, rows, in_power_of_two(weights, reduce), reduce)

        def once(_, found):
            about, scale = found

            def sums(r, w, about, scale):
                x = linalg.matmul(r.x, self.whiten)
                rest = (r.y[:, None] - linalg.matmul(r.x, about[:, None])) / scale
                w = w * 2 / (1 + rest**2)
                return (
                    linalg.matmul((w * x).T, x),
                    linalg.matmul((w * x).T, rest)[:, 0],
                    jnp.sum(w * rest**2),
                    jnp.sum(w),
                )

            gram, slope, squares, total = mean(sums, about, scale)
            ridge = jnp.finfo(gram.dtype).eps * jnp.trace(gram) * jnp.eye(gram.shape[0], dtype=gram.dtype)
            root = linalg.inverse_lower(linalg.cholesky(gram + ridge))
            move = linalg.matmul(root.T, linalg.matmul(root, slope[:, None]))
            moved = about + scale * linalg.matmul(self.whiten, move)[:, 0]
            left = squares / total
            return moved, jnp.where(left > 0, scale * jnp.sqrt(left), scale)

        about, scale = repeated(reduce, _STEPS, once, (self.about, self.scale))
        return _measured(self.whiten, self.colour, about, scale, mean)

    def covariates(self, x: Float[Array, "n p"]) -> Float[Array, "p n"]:
        return linalg.matmul(self.whiten.T, x.T)

    def responses(self, rows: Responses) -> Float[Array, " n"]:
        return (rows.y - linalg.matmul(rows.x, self.about[:, None])[:, 0]) / self.scale

    def encode(self, coefficients: Float[Array, "k p"]) -> Float[Array, "k p"]:
        return linalg.matmul((coefficients - self.about[None]) / self.scale, self.colour.T)

    def decode(self, coefficients: Float[Array, "k p"]) -> Float[Array, "k p"]:
        return self.about[None] + self.scale * linalg.matmul(coefficients, self.whiten.T)

    def rounding(self, coefficients: Float[Array, "k p"]) -> Float[Array, " k"]:
        """Rounding error of a residual."""
        reach = linalg.matmul(jnp.abs(coefficients), self.reach[:, None])[:, 0]
        return jnp.finfo(coefficients.dtype).eps * (self.magnitude + reach)


def check_design(rows: Any, name: str) -> None:
    """Raise `DataError` for responses without covariates that determine coefficients and a variance."""
    check_responses(rows, name)
    if rows.size is not None:
        raise DataError(f"{name}.size is for counts; the responses of this family take none")
    n, p = rows.x.shape
    if n <= p:
        raise DataError(f"{name} has {n} rows for {p} coefficients and a variance; it takes at least {p + 1}")
    x, y = np.asarray(rows.x), np.asarray(rows.y, float)
    singular = check_columns(x, f"{name}.x")
    x = _of_unit_size(x)
    rest = y - x @ (np.linalg.lstsq(x, y)[0] if singular else np.linalg.solve(x.T @ x, x.T @ y))
    if np.abs(rest).max() <= 1e-12 * np.abs(y).max():
        raise DataError(
            f"{name}.y is a linear function of {name}.x without error, so its variance has no maximum-likelihood "
            "estimate"
        )


def check_columns(x: np.ndarray, name: str) -> bool:
    """Whether second moments of the columns are nearly singular.

    Raises `DataError` for columns that are zero or linear combinations of those before them.
    """
    zero = np.flatnonzero(~x.any(0))
    if zero.size:
        raise DataError(f"{name}: column {int(zero[0])} is zero throughout; drop it")
    (n, p), eps = x.shape, np.finfo(x.dtype).eps
    x = _of_unit_size(x)
    if np.linalg.eigvalsh(x.T @ x)[0] >= 1e-8 * n:
        return False
    size = np.abs(np.diagonal(np.linalg.qr(x, mode="r")))
    redundant = [*np.flatnonzero(size < 10 * p * eps * np.sqrt(n)), *range(n, p)]
    if redundant:
        raise DataError(
            f"{name}: column {int(redundant[0])} is a linear combination of the columns before it, so that the "
            "coefficients are not determined; drop one of them"
        )
    return True


def _of_unit_size(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    return x / np.sqrt((x**2).mean(0))


def _mean(rows: Responses, weights: Array, reduce: Any, fn: Any, *given: Array) -> Any:
    def one(chunk, w, index):
        return fn(chunk, w[:, None], *per_device(given, chunk)), jnp.sum(w)

    total, weight = reduce(sum_chunks(one, rows, weights, _ROWS))
    return jax.tree.map(lambda leaf: leaf / weight, total)


def _measured(whiten: Array, colour: Array, about: Array, scale: Array | None, mean: Any) -> Design:
    """A design with what it takes to estimate rounding; `scale` is that of the residuals unless it is given."""

    def sizes(r, w, whiten, about):
        rest = r.y[:, None] - linalg.matmul(r.x, about[:, None])
        terms = jnp.abs(r.y)[:, None] + linalg.matmul(jnp.abs(r.x), jnp.abs(about)[:, None])
        reach = linalg.matmul(jnp.abs(r.x), jnp.abs(whiten))
        return jnp.sum(w * rest**2), jnp.sum(w * terms**2), jnp.sum(w * reach**2, 0)

    variance, terms, reach = mean(sizes, whiten, about)
    if scale is None:
        scale = jnp.sqrt(jnp.where(variance > 0, variance, jnp.where(terms > 0, terms, 1)))
    return jax.lax.stop_gradient(Design(whiten, colour, about, scale, jnp.sqrt(terms) / scale, jnp.sqrt(reach)))


# Rows that tell what a design can determine, and the standard error of a coefficient (in units of the standard
# deviation of its share in the linear predictor) from which on it counts as running off to infinity.
_SAMPLED, _RUN_OFF = 256, 30.0


def _spread_out(weights: Float[Array, " n"]) -> Any:
    """Numbers of up to 256 rows, evenly spread over those of positive weight."""
    n = weights.shape[0]
    if n <= _SAMPLED:
        return np.arange(n)
    present = Present.of(weights)
    place, steps = jnp.arange(_SAMPLED, dtype=jnp.int32), np.int32(_SAMPLED - 1)
    last = present.totals[0] - 1
    each, rest = jax.lax.div(last, steps), jax.lax.rem(last, steps)
    return present.at(place * each + (2 * place * rest + steps) // (2 * steps))


class Frame(NamedTuple):
    """The loop works on covariates `x @ whiten`, with unit second moments.

    `sample` are such covariates of up to 256 rows; each stands for `amount` rows (or units of `size`).
    """

    whiten: Float[Array, "p p"]
    colour: Float[Array, "p p"]  # the inverse
    sample: Float[Array, "m p"]
    amount: Float[Array, " m"]

    @staticmethod
    def of(
        x: Float[Array, "n p"],
        weights: Float[Array, " n"],
        reduce: Any,
        common: tuple[int, ...] = (),
        size: Array | None = None,
    ) -> "Frame":
        """The frame of a design matrix.

        A column in `common` enters no other column's place, so that its coefficient stays common to several members.
        """
        last = [*(j for j in range(x.shape[1]) if j not in common), *common]
        back = np.argsort(last)
        design = Design.of(Responses(x[:, np.array(last)], jnp.zeros_like(x[:, 0])), weights, reduce)
        whiten, colour = design.whiten[back][:, back], design.colour[back][:, back]
        amount = weights if size is None else weights * size
        chosen = _spread_out(weights)
        ones = jnp.ones((), x.dtype)
        # Of several devices, the means: the same for all of them.
        rows, own, total, devices = reduce((x[chosen], amount[chosen], jnp.sum(amount), ones))
        own = own * total / jnp.sum(own)
        return jax.lax.stop_gradient(Frame(whiten, colour, matmul(rows / devices, whiten), own))

    def undetermined(self, slopes: Float[Array, "k m"]) -> Array:
        """Whether some coefficients of `k` linear predictors are left undetermined.

        Even if all rows were its own; `slopes` are the information that the sampled rows have about each predictor.
        """
        information = einsum("km,mi,mj->ijk", slopes, self.sample, self.sample)
        inverse = sweep(information, jnp.zeros_like(information[0]))[0]
        return ~jnp.all(jnp.trace(inverse) < _RUN_OFF**2)

    def covariates(self, x: Float[Array, "*n p"]) -> Float[Array, "*n p"]:
        return matmul(x, self.whiten)

    def encode(self, coefficients: Float[Array, "k p"]) -> Float[Array, "k p"]:
        return matmul(coefficients, self.colour.T)

    def decode(self, coefficients: Float[Array, "k p"]) -> Float[Array, "k p"]:
        return matmul(coefficients, self.whiten.T)
