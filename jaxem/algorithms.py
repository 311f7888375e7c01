"""Algorithms: the names that the literature gives to combinations of rules."""

from typing import Any

from jaxem._accelerated import anderson as anderson
from jaxem._accelerated import parabolic_em as parabolic_em
from jaxem._accelerated import quasi_newton_em as quasi_newton_em
from jaxem._accelerated import squarem as squarem
from jaxem._algorithm import Algorithm as Algorithm
from jaxem.e_step import Alpha, Annealed, Mode, MonteCarlo, Sample
from jaxem.m_step import (
    AbstractMStep,
    Conditional,
    ConjugateGradient,
    Draw,
    Expanded,
    GradientAscent,
    Maximize,
    Newton,
    NewtonAscent,
    OnLikelihood,
    Optax,
    Posterior,
)
from jaxem.record import Average, Last
from jaxem.record import Draws as DrawsRecord
from jaxem.update import Incremental, Stepwise


def em() -> Algorithm:
    """Expectation-maximization: `params <- argmax Q(. | params)`.

    Never lowers the log-likelihood. With a prior in the model it ascends the log posterior (MAP-EM).
    Dempster, Laird and Rubin (1977).

    **Example**

    >>> import jaxem
    >>> jaxem.em().monotone
    True
    """
    return Algorithm()


def hard_em() -> Algorithm:
    """Classification EM: each observation goes to its most probable latent.

    Never lowers the classification log-likelihood, and stops after finitely many steps; its estimates are biased
    where components overlap. Celeux and Govaert (1992).

    **Example**

    >>> import jaxem
    >>> jaxem.hard_em().e_step
    Mode()
    """
    return Algorithm(e_step=Mode())


def stochastic_em(draws: int = 1, burn_in: Any = 0.5) -> Algorithm:
    """Stochastic EM: latents are drawn from their posterior, and parameters maximise the complete likelihood of them.

    The iterates are an ergodic chain around the maximum; the fit is their average after `burn_in` (a fraction of
    `max_steps`, all of which are run), with Monte Carlo standard errors. It leaves poor stationary points that hold EM.
    Celeux and Diebolt (1985); Nielsen (2000).

    **Example**

    >>> import jaxem
    >>> jaxem.stochastic_em().monotone
    False
    """
    return Algorithm(e_step=Sample(draws), record=Average(burn_in))


def monte_carlo_em(draws: int = 10, max_draws: int = 10_000, confidence: Any = 1.0) -> Algorithm:
    """Ascent-based Monte Carlo EM: the number of draws grows until the gain in Q stands out from its error.

    For latents that can be drawn. The likelihood rises at each step with high probability, and the run stops when
    the gain that is left is below `tol`. Wei and Tanner (1990); Caffo, Jank and Jones (2005).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.monte_carlo_em(draws=20)
    """
    return Algorithm(e_step=MonteCarlo(draws, max_draws, confidence))


def saem(hold: int = 100, draws: int = 1, power: Any = 0.7) -> Algorithm:
    """Stochastic approximation EM: statistics of draws enter an average that forgets less and less.

    `hold` iterations explore with gain 1, then the gain decays as `(t - hold)^-power`. Converges almost surely to a
    stationary point of the likelihood in exponential families; runs for `max_steps`. Delyon, Lavielle and Moulines
    (1999); Kuhn and Lavielle (2004).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.saem(hold=50)
    """
    return Algorithm(e_step=Sample(draws), update=Stepwise(None, power, 1.0, hold))


def annealed_em(
    start: float = 0.25, factor: float = 1.25, steps: int = 5, peak: float = 1.0, noise: float = 0.01
) -> Algorithm:
    """Deterministic annealing EM: the posterior is tempered, from nearly flat to exact.

    Never lowers the free energy at a temperature, nor the log-likelihood once it is exact. It depends less on the
    start than EM, without a guarantee of a better maximum. Ueda and Nakano (1998); with `peak` above 1 anti-annealing,
    Naim and Gildea (2012).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.annealed_em(start=0.1)
    """
    return Algorithm(e_step=Annealed(start, factor, steps, peak, noise))


def alpha_em(
    alpha: float | None = None, form: str = "past", inner: int = 3, m_step: AbstractMStep | None = None
) -> Algorithm:
    """Alpha-EM: the posterior under potentials extrapolated from the last two iterates.

    `m_step` is by default the closed-form maximum. Models without one, whose potentials are not linear, such as
    mixtures of experts and neural emissions, take `jaxem.m_step.Newton()` or `jaxem.m_step.Optax(...)`: it is the
    potentials that are extrapolated, whatever they are functions of.

    Where EM converges at rate `gamma` it converges at `1 - sqrt(1 - gamma)` for the best alpha, which is chosen by
    measuring `gamma` unless given. Safeguarded: the log-likelihood never falls. An iteration evaluates the potentials
    of two parameters. Matsuyama (2003).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.alpha_em(alpha=0.2)
    >>> for_experts = jaxem.alpha_em(m_step=jaxem.m_step.Newton())
    """
    return Algorithm(e_step=Alpha(alpha, form, inner), m_step=m_step or Maximize())


def incremental_em(blocks: int = 8) -> Algorithm:
    """Incremental EM: an M-step after each block of rows, the other blocks' statistics kept from their last visit.

    Never lowers the free energy, a bound on the log-likelihood that meets it at convergence; the fixed points are EM's.
    `max_steps` counts blocks. For many rows: often half the passes of EM. Neal and Hinton (1998).

    **Example**

    >>> import jaxem
    >>> jaxem.incremental_em(blocks=16).monotone
    True
    """
    return Algorithm(update=Incremental(blocks))


def stepwise_em(rows: int = 256, power: Any = 0.7, delay: Any = 2.0, average: bool = False) -> Algorithm:
    """Online EM: statistics of one block of rows at a time enter a decaying average.

    For very many rows, where EM takes a few dozen iterations: it comes close to the optimum in a few passes. Where EM
    is slow the decaying steps stop short of it. Not monotone; runs for `max_steps` blocks. With `average` the fit is
    the mean of the second half of the iterates (Polyak averaging).
    Cappe and Moulines (2009).

    **Example**

    >>> import jaxem
    >>> jaxem.stepwise_em(rows=1000).monotone
    False
    """
    return Algorithm(update=Stepwise(rows, power, delay), record=Average(0.5) if average else Last())


def ecm(*blocks: Any, cycle: bool = False) -> Algorithm:
    """Expectation conditional maximization: parameters in blocks, each maximised given the others.

    Never lowers the objective; the fixed points are EM's. With `cycle` an E-step precedes each block (multicycle ECM,
    and the pattern of AECM). Meng and Rubin (1993); Meng and van Dyk (1997).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.ecm("weights", "components.mean", "components.covariance")
    """
    return Algorithm(m_step=Conditional(*blocks, cycle=cycle))


def ecme(on_q: Any, on_likelihood: Any, steps: int = 3) -> Algorithm:
    """Expectation conditional maximization either: some blocks maximise Q, the rest the log-likelihood itself.

    `on_q` and `on_likelihood` are names of parameters, or tuples of them. Never lowers the objective, and converges
    faster than ECM where the second block carries the missing information. Liu and Rubin (1994).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.ecme("components", "weights")
    """
    names = (on_likelihood,) if isinstance(on_likelihood, str) else tuple(on_likelihood)
    return Algorithm(m_step=Conditional(on_q, OnLikelihood(*names, steps=steps)))


def px_em() -> Algorithm:
    """Parameter-expanded EM: the M-step maximises over a larger model that leaves the data as they are.

    Never lowers the log-likelihood, and converges no slower than EM: in Student t models, whose scale the expansion
    frees, the faster the fewer the degrees of freedom. For models that define `maximize_expanded`.
    Liu, Rubin and Wu (1998).

    **Example**

    >>> import jaxem
    >>> jaxem.px_em().monotone
    True
    """
    return Algorithm(m_step=Expanded())


def em_gradient() -> Algorithm:
    """The EM gradient algorithm: one safeguarded Newton step on Q takes the place of its maximisation.

    Never lowers the log-likelihood, and converges at the rate of EM. For models without a closed-form M-step.
    Lange (1995).

    **Example**

    >>> import jaxem
    >>> jaxem.em_gradient().monotone
    True
    """
    return Algorithm(m_step=Newton())


def gem(transformation: Any = None, steps: int = 20, restart: bool = True) -> Algorithm:
    """Generalised EM: `steps` of an Optax optimiser raise Q instead of maximising it.

    `transformation` is any `optax.GradientTransformation` (Adam at rate 0.05 by default). Accepted only if Q rises, so
    that the log-likelihood never falls. The optimiser starts afresh in every M-step unless `restart` is false: then its
    state, and a schedule of its learning rate, goes on over the whole fit. For models without a closed-form M-step.
    Dempster, Laird and Rubin (1977).

    **Example**

    >>> import jaxem, optax
    >>> jaxem.gem(optax.sgd(0.1), steps=10).monotone
    True
    """
    return Algorithm(m_step=Optax(transformation or _adam(), steps, restart=restart))


def conjugate_gradient_em() -> Algorithm:
    """Conjugate gradients with the EM step as generalised gradient, and a line search on the log-likelihood.

    Never lowers the log-likelihood; several passes over the data an iteration. For slow problems with a closed-form
    M-step. Jamshidian and Jennrich (1993).

    **Example**

    >>> import jaxem
    >>> jaxem.algorithms.conjugate_gradient_em().monotone
    True
    """
    return Algorithm(m_step=ConjugateGradient())


def vbem() -> Algorithm:
    """Variational Bayes EM: the conjugate posterior of the parameters takes the place of their estimate.

    Never lowers the evidence bound, `Fit.objective`. `Fit.posterior` is the posterior and `Fit.params` its mean. For
    models with conjugate priors; superfluous components lose their weight. Attias (1999); Beal and Ghahramani (2003).

    **Example**

    >>> import jaxem
    >>> jaxem.vbem().monotone
    True
    """
    return Algorithm(m_step=Posterior())


def gibbs(draws: int = 1000, burn_in: int = 100, thin: int = 1) -> Algorithm:
    """Gibbs sampling, or data augmentation: latents and parameters are drawn in turn.

    `Fit.draws` holds `draws` parameters along a leading axis; set `max_steps` to at least `burn_in + draws * thin`.
    For models with conjugate priors. Components may switch labels. Tanner and Wong (1987).

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.gibbs(draws=200, burn_in=50)
    """
    return Algorithm(e_step=Sample(), m_step=Draw(), record=DrawsRecord(draws, burn_in, thin))


def newton() -> Algorithm:
    """Newton's method on the log-likelihood itself, without EM, safeguarded: a yardstick for small problems.

    Never lowers the objective. Quadratic convergence near the maximum, and little progress far from it; the Hessian of
    all parameters each iteration.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.algorithms.newton()
    """
    return Algorithm(m_step=NewtonAscent())


def gradient_ascent(transformation: Any = None, rows: int | None = None) -> Algorithm:
    """An Optax optimiser on the log-likelihood itself, without EM: a yardstick (Adam at rate 0.05 by default).

    With `rows`, on minibatches of so many consecutive rows. Not monotone; runs for `max_steps`.

    **Example**

    >>> import jaxem, optax
    >>> algorithm = jaxem.algorithms.gradient_ascent(optax.adam(0.1))
    """
    rule = GradientAscent(transformation or _adam())
    return Algorithm(m_step=rule) if rows is None else Algorithm(update=Stepwise(rows, power=0.0), m_step=rule)


def _adam() -> Any:
    import optax  # slow to import

    return optax.adam(0.05)
