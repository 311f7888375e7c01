import math

from jaxem.families import CensoredRegression
from jaxem.models.single import Single


def Tobit(
    lower: float | None = 0.0,
    upper: float | None = None,
    *,
    scale_power: float = 0.0,
    frozen: tuple[str, ...] = (),
) -> Single:
    """Regression of responses that are censored at known limits: `Single(CensoredRegression(...))`.

    It is a function that makes a `Single`. What tells such a model is
    `isinstance(model, jaxem.Single) and isinstance(model.family, jaxem.families.CensoredRegression)`.

    **Arguments:**

    - `lower`, `upper`: responses at a limit, or beyond, are only known to be there; `None` is no limit.
    - `scale_power`: see `CensoredRegression`.
    - `frozen`: names of parameters kept at their starting value.

    Data are `jaxem.Responses(x, y)` with plain responses `[n]`. Parameters are `RegressionParams`: `coefficients` `[p]`
    and `variance`, of the responses before they are censored. Tobin (1958).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.stack([jnp.ones(6), jnp.arange(6.0)], 1)
    >>> rows = jaxem.Responses(x, jnp.array([0.0, 0.0, 0.3, 1.4, 2.2, 3.3]))
    >>> fit = jaxem.fit(jaxem.models.Tobit(), rows, key=jax.random.key(0), tol=1e-9)
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-1.6, 1.0]
    """
    limits = -math.inf if lower is None else float(lower), math.inf if upper is None else float(upper)
    return Single(CensoredRegression(lower=limits[0], upper=limits[1], scale_power=scale_power), tuple(frozen))
