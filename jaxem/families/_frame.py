"""Coordinates in which the coefficients of a linear predictor are well conditioned."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.families._design import Design
from jaxem.families.responses import Responses
from jaxem.kernels.linalg import einsum, matmul
from jaxem.kernels.rows import Present
from jaxem.kernels.small import sweep

# Rows that tell what a design can determine, and the standard error of a coefficient (in units of the standard
# deviation of its share in the linear predictor) from which on it counts as running off to infinity.
_ROWS, _RUN_OFF = 256, 30.0


def _spread_out(weights: Float[Array, " n"]) -> Any:
    """Numbers of up to 256 rows, evenly spread over those of positive weight."""
    n = weights.shape[0]
    if n <= _ROWS:
        return np.arange(n)
    present = Present.of(weights)
    place, steps = jnp.arange(_ROWS, dtype=jnp.int32), np.int32(_ROWS - 1)
    each, rest = jax.lax.div(present.total - 1, steps), jax.lax.rem(present.total - 1, steps)
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
