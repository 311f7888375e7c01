"""Counts with more zeros than their distribution has."""

from jaxem.families import NegativeBinomialRegression, OneOf, PointMass, PoissonRegression
from jaxem.models.mixture_of_experts import MixtureOfExperts


def ZeroInflatedPoisson(*, gate_deviation: float | None = None, frozen: tuple[str, ...] = ()) -> MixtureOfExperts:
    """Counts that are zero with a probability that depends on covariates, and otherwise a Poisson regression.

    It is a function that makes a `MixtureOfExperts`. What tells such a model is
    `isinstance(model, jaxem.MixtureOfExperts) and isinstance(model.family, jaxem.families.OneOf)`.

    Two experts of different kinds: `MixtureOfExperts(OneOf(zero=PointMass(0.0), count=PoissonRegression()), 2)`. The
    hidden variable of a row says whether it is a zero whatever its rate. Data are as for `MixtureOfExperts`; in the
    result `params.gate` `[1, q]` are the coefficients of the log odds of such a zero, and
    `params.experts["count"].coefficients` `[1, p]` those of the log mean of the other counts. Lambert (1992).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jnp.array([0.0, 0.0, 0.0, 0.0, 3.0, 5.0, 4.0])
    >>> rows = jaxem.Responses(jnp.ones((7, 1)), y)
    >>> fit = jaxem.fit(jaxem.models.ZeroInflatedPoisson(), rows, key=jax.random.key(0))
    >>> round(float(jnp.exp(fit.params.experts["count"].coefficients[0, 0])), 2)
    3.92
    """
    family = OneOf(zero=PointMass(0.0), count=PoissonRegression())
    return MixtureOfExperts(family, 2, gate_deviation, tuple(frozen))


def ZeroInflatedNegativeBinomial(
    *,
    theta: float | None = None,
    gate_deviation: float | None = None,
    frozen: tuple[str, ...] = (),
) -> MixtureOfExperts:
    """`ZeroInflatedPoisson` with overdispersed counts, `NegativeBinomialRegression`, in the place of Poisson ones.

    It is a function that makes a `MixtureOfExperts`. What tells such a model is
    `isinstance(model, jaxem.MixtureOfExperts) and isinstance(model.family, jaxem.families.OneOf)`.

    In the result `params.experts["count"]` has `coefficients` `[1, p]` and `theta` `[1]`. With covariates in both parts
    the likelihood tends to be flat; `jaxem.algorithms.newton()` climbs it in few iterations. Greene (1994); Zeileis,
    Kleiber and Jackman (2008).

    **Arguments:**

    - `theta`: a number that is not estimated.
    - `gate_deviation`, `frozen`: as for `MixtureOfExperts`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 9.0, 4.0, 3.0, 17.0])
    >>> rows = jaxem.Responses(jnp.ones((10, 1)), y)
    >>> fit = jaxem.fit(jaxem.models.ZeroInflatedNegativeBinomial(), rows, key=jax.random.key(0))
    >>> round(float(jnp.exp(fit.params.experts["count"].coefficients[0, 0])), 1)
    6.5
    """
    family = OneOf(zero=PointMass(0.0), count=NegativeBinomialRegression(theta=theta))
    return MixtureOfExperts(family, 2, gate_deviation, tuple(frozen))
