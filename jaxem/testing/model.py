from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._model import AbstractModel
from jaxem.testing import _model_laws
from jaxem.testing._model_laws import ModelProblem
from jaxem.testing._problem import Report, known
from jaxem.testing.family import FAMILY_LAWS
from jaxem.testing.latent import LATENT_LAWS

MODEL_LAWS = {
    "coordinates": _model_laws.coordinates,
    "statistics": _model_laws.statistics,
    "ascent": _model_laws.ascent,
    "frozen": _model_laws.frozen,
    "parameters": _model_laws.parameters,
    "precision": _model_laws.precision,
    "sampling": _model_laws.sampling,
    "family": _model_laws.family,
    "latent": _model_laws.latent,
}


def check_model(
    model: AbstractModel, params: PyTree, data: PyTree, *, skip: Sequence[str] = (), key: PRNGKeyArray | None = None
) -> None:
    """Raise one `AssertionError` that lists every law the model breaks: of which method, by how much, where to look.

    - `coordinates`: `constrain(unconstrain(params))` is `params`.
    - `statistics`: for a linear model, `potentials` are linear in `natural(params)`, and `maximize` raises Q to where
      it is stationary. Statistics and log-likelihood are sums over rows; weight 0 drops a row, weight 2 repeats it.
      Fisher's identity: Q and the log-likelihood have the same gradient where the posterior was taken.
    - `ascent`: the objective does not fall in five iterations of EM, or of EM gradient.
    - `frozen`: parameters that `freeze` names stay put in `maximize`, to the bit.
    - `parameters`: `num_parameters` is the rank of the derivatives of the log densities of draws, where `sample` is
      defined.
    - `precision`: `log_prob` in float32 is that in float64 to 1e-3.
    - `sampling`: what `sample` draws, if the model defines it, is shaped like the data and possible, and comes from
      the density. That integrates to 1 (`integral`, for data of up to eight numbers a row; see `check_family`).
    - `family`: a model over a family, such as a mixture, has one that passes `check_family`.
    - `latent`: the structure of what is hidden passes `check_latent`.

    Both kernels of a model with an `accurate` one are held to the laws of `statistics`.

    **Arguments:**

    - `model`: a model.
    - `params`: parameters, in the interior of their domain.
    - `data`: a few dozen rows, in the precision of `params`.
    - `skip`: names of laws not to ask about, those of `check_family` and `check_latent` included.
    - `key`: for the random points and draws.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> from jaxem.testing import check_model
    >>> model = jaxem.Mixture(jaxem.Poisson(), num_components=2)
    >>> components = jaxem.families.PoissonParams(jnp.array([[1.0], [4.0]]))
    >>> params = jaxem.models.MixtureParams(jnp.array([0.3, 0.7]), components)
    >>> check_model(model, params, jnp.array([[0.0], [1.0], [0.0], [5.0], [3.0], [7.0]]))
    """
    key = jax.random.key(0) if key is None else key
    params, data = jax.tree.map(jnp.asarray, (params, data))
    known(skip, MODEL_LAWS | FAMILY_LAWS | LATENT_LAWS)
    report = Report(type(model).__name__)
    problem = ModelProblem(model, params, data, key, skip)
    report.run(MODEL_LAWS, skip, problem)
    report.close()
