from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from jaxem.latent import AbstractLatent
from jaxem.testing import _latent_draws, _latent_moments
from jaxem.testing._latent_problem import LatentProblem
from jaxem.testing._problem import Report, known

LATENT_LAWS = {
    "moments": _latent_moments.moments,
    "differences": _latent_moments.differences,
    "pairing": _latent_moments.pairing,
    "observations": _latent_moments.observations,
    "axes": _latent_moments.axes,
    "choice": _latent_moments.choice,
    "entropy": _latent_moments.entropy,
    "precision": _latent_moments.precision,
    "mode": _latent_draws.mode,
    "sampling": _latent_draws.sampling,
    "average": _latent_draws.average,
    "lacks": _latent_draws.lacks,
}


def check_latent(
    latent: AbstractLatent,
    potentials: PyTree,
    *,
    other: PyTree = None,
    skip: Sequence[str] = (),
    key: PRNGKeyArray | None = None,
) -> None:
    """Raise one `AssertionError` that lists every law the structure breaks: of which method, by how much.

    - `moments`: `expectation` gives what `log_normalizer` does, and its gradient, of the structure of the potentials.
    - `differences`: derivatives of both, of first and second order, are finite and agree with finite differences.
    - `pairing`: `pair` is the sum of products (0 times minus infinity is 0); `weigh` and `scale` weigh each
      observation; `map_rows` finds its axis.
    - `observations`: no observation sees another; `vmap` is a loop.
    - `axes`: a structure that is no choice takes leading axes `[k, n]` where it takes `[n]`.
    - `choice`: of an `AbstractChoice`, `attach`, `local` and `given` belong together, and a state of potential minus
      infinity is not taken: moments 0, derivatives finite. Where no state is possible, the log-normalizer is minus
      infinity.
    - `entropy`: it is `log_normalizer - pair(potentials, moments)`.
    - `precision`: float32 agrees with float64 to 1e-3.
    - `mode`: its potential is what `pair` says, no draw has a larger one, and moments at a low temperature come to it.
    - `sampling`: draws have the moments for a mean, and `exp` of their potentials the ratio of normalizers.
    - `average`: the mean of several draws has the moments for a mean too.
    - `lacks`: `lacks` names the methods that raise `MissingCapabilityError`.

    Potentials times a factor must be potentials too, as they are of every exponential family. A structure without
    `expectation`, which estimates its log-normalizer, is held to Fisher's identity by its draws, and to finite
    differences of the first order, to a percent.

    **Arguments:**

    - `latent`: the structure.
    - `potentials`: of a few observations, three or more.
    - `other`: potentials of the same observations under other parameters (with the same bounds or lengths, where a
      structure has those): derivatives are taken towards them, and not only along the potentials themselves.
    - `skip`: names of laws not to ask about.
    - `key`: for draws.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import Categorical
    >>> from jaxem.testing import check_latent
    >>> check_latent(Categorical(), jnp.array([[0.3, -1.0, 2.0], [1.1, 0.4, -0.5]]))
    """
    report = Report(type(latent).__name__)
    known(skip, LATENT_LAWS)
    latent_laws(latent, potentials, other, jax.random.key(0) if key is None else key, report, skip)
    report.close()


def latent_laws(
    latent: AbstractLatent, potentials: PyTree, other: PyTree, key: Any, report: Report, skip: Sequence[str] = ()
) -> None:
    """Ask all laws of a structure."""
    potentials, other = jax.tree.map(jnp.asarray, (potentials, other))
    problem = LatentProblem(latent, potentials, other, key)
    report.run(LATENT_LAWS, skip, problem)
