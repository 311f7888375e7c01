"""Hidden Markov models: a Markov chain of states and a family."""

from typing import Any, final

import equinox as eqx
import numpy as np

from jaxem.families import AbstractFamily
from jaxem.families.priors import Dirichlet
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models._chain import AbstractChainModel
from jaxem.models._members import require_family
from jaxem.structures import AbstractInitial, AbstractTransitions, FreeInitial, FreeTransitions, StationaryInitial
from jaxem.structures._parts import Word, require_alone, require_part
from jaxem.structures._pattern import as_fixed
from jaxem.structures.markov import HMMParams as HMMParams
from jaxem.structures.markov import Markov


@final
class HMM(AbstractChainModel):
    """A hidden Markov model: each step of a sequence comes from the member of a family that the state of a Markov chain
    names.

    **Arguments:**

    - `emission`: the distribution of a step given its state, such as `jaxem.Gaussian(...)` or `jaxem.Poisson()`.
    - `num_states`: how many states, `k`.
    - `initial`: `"free"`, or `"stationary"`: every sequence begins in the stationary distribution of the transitions.
        The M-step of the transitions is then one of Newton's method, and `params.initial` follows from it. Or such a
        part of a chain as an object: `jaxem.structures.FreeInitial(...)`, `StationaryInitial()`, or your own.
    - `initial_prior`, `transition_prior`: `Dirichlet` priors of the first state and of each row of the transitions.
    - `initial_pattern` `[k]`, `transition_pattern` `[k, k]`: entries that are fixed, NaN for the others. A 0 is a
        transition that cannot be: `[[nan, nan], [0, 1]]` has no way back.
    - `frozen`: names of parameters kept at their starting value, such as `("transition", "emission.covariance")`.
    - `start`: how the emission of a start is drawn when `fit` is not told: as that of a mixture, by an `AbstractInit`.
    - `transitions`: the transitions as an object, in the place of `transition_prior` and `transition_pattern`:
        `jaxem.structures.FreeTransitions(...)`, `SoftmaxTransitions()` for transitions that depend on covariates (data
        are then `jaxem.models.Driven`), or your own.

    Data are `[n, T, d]`, or `Sequences` where lengths differ or steps were not observed; weights are those of
    sequences. A regression takes `jaxem.Responses` with covariates `[n, T, p]` and responses `[n, T]`, as they are or
    in `Sequences`. Steps whose row (or response) is NaN throughout count as not observed, single missing entries are
    for families that take them: `jaxem.Incomplete`, `jaxem.families.IncompleteColumns`, `jaxem.Factor`, and a
    `jaxem.Product` of these, whose other blocks `impute` leaves NaN at steps not observed. `log_prob` is that of whole
    sequences, and the tolerance of a fit is a gain for each sequence. A state that no step comes from any more cannot
    be reached: the fit has status `degenerate_component`.

    Baum, Petrie, Soules and Weiss (1970); Zucchini, MacDonald and Langrock (2016).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> counts = jnp.array([0.0, 1.0, 0.0, 1.0, 9.0, 8.0, 11.0, 10.0, 0.0, 2.0, 0.0, 1.0])
    >>> model = jaxem.HMM(jaxem.Poisson(), num_states=2)
    >>> fit = jaxem.fit(model, counts[None, :, None], key=jax.random.key(0), restarts=4)
    >>> sorted(round(rate, 1) for rate in fit.params.emission.rate[:, 0].tolist())
    [0.6, 9.5]
    """

    emission: AbstractFamily
    num_states: int = eqx.field(static=True)
    initial: Any = "free"
    initial_prior: Dirichlet | None = None
    transition_prior: Dirichlet | None = None
    initial_pattern: Any = eqx.field(static=True, default=None)
    transition_pattern: Any = eqx.field(static=True, default=None)
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()
    transitions: AbstractTransitions | None = None

    def __post_init__(self):
        k = self.num_states
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"num_states must be a positive integer, got {k!r}")
        pattern = self.initial_pattern
        flat = pattern if pattern is None or np.ndim(pattern) == 2 else [pattern]
        self.initial_pattern = as_fixed(flat, "initial_pattern", 1, k)
        self.transition_pattern = as_fixed(self.transition_pattern, "transition_pattern", k, k)
        if isinstance(self.initial, str):
            self.initial = Word(self.initial)

    def __check_init__(self):
        for name in ("initial_prior", "transition_prior"):
            if not isinstance(getattr(self, name), Dirichlet | None):
                raise ValueError(f"{name} must be a Dirichlet prior, got {getattr(self, name)!r}")
        first, moves = (self._named(name) for name in ("initial", "transition"))
        if self.initial == "stationary":
            if first:
                raise ValueError(
                    "a stationary initial distribution follows from the transitions, without a prior or pattern"
                )
        elif self.initial != "free":
            require_part(self.initial, AbstractInitial, "initial", "'free' or 'stationary', or such as FreeInitial()")
            require_alone("initial", first, "FreeInitial")
        if self.transitions is not None:
            require_part(self.transitions, AbstractTransitions, "transitions", "such as FreeTransitions()")
            require_alone("transitions", moves, "FreeTransitions")
        require_family(self.emission)
        self.check_names()

    def _named(self, name: str) -> list[str]:
        """The arguments about this part of the chain that are given."""
        return [own for own in (f"{name}_prior", f"{name}_pattern") if getattr(self, own) is not None]

    @property
    def structure(self) -> Markov:
        first, moves = self.initial, self.transitions
        if isinstance(first, str):
            free = first == "free"
            first = FreeInitial(self.initial_prior, self.initial_pattern) if free else StationaryInitial()
        moves = FreeTransitions(self.transition_prior, self.transition_pattern) if moves is None else moves
        return Markov(self.num_states, first, moves)

    @property
    def distribution(self) -> AbstractFamily:
        return self.emission
