"""Names that another module has now: they are found at their old place for one more version, with a warning."""

import warnings
from importlib import import_module
from typing import Any

_FAMILIES = """
    BernoulliParams BinomialRegression CategoricalParams CensoredExponential CensoredLogNormal CensoredNormal
    CensoredRegression CensoredWeibull ExponentialParams FactorParams FunctionFamily GLMParams GaussianParams
    IncompleteColumns NegativeBinomial NegativeBinomialParams NegativeBinomialRegression
    NegativeBinomialRegressionParams NeuralFamily OneOf PointMass PoissonParams PoissonRegression RegressionParams
    StudentTParams TRegression TRegressionParams WeibullParams
"""
_MODELS = """
    AbstractLinearModel AbstractModel Gated HMMParams LDAParams MixtureOfExpertsParams
    MixtureParams MultivariateNormal MultivariateT StateSpaceParams Tobit Variational ZeroInflatedNegativeBinomial
    ZeroInflatedPoisson factor_analysis
"""
_ALGORITHMS = "conjugate_gradient_em gradient_ascent newton parabolic_em quasi_newton_em"
_PRIORS = "Beta Dirichlet Gamma NormalInverseWishart StickBreaking"


def _places(**names: str) -> dict[str, str]:
    return {name: f"jaxem.{module}" for module, listed in names.items() for name in listed.split()}


MOVED = {
    "jaxem": _places(
        families=_FAMILIES,
        models=_MODELS,
        algorithms=_ALGORITHMS,
        priors=_PRIORS,
        record="Progress Restarts StreamProgress",
        termination="Racing",
    ),
    "jaxem.families": _places(priors=_PRIORS),
}


_BOUND = """
    prepare potentials_of maximize_expanded freeze blocks encode decode about translate rounding_error accurate
    degenerate floats_per_row expanded_per_row for_lanes integrated gaps laid_out
"""


def moved_method(name: str) -> str:
    """Where a method that models had is now, for the end of an error; empty for any other name."""
    if name == "num_observations":
        return ": it is jaxem.selection.num_observations(model, data, weights) now"
    return f": ask model.bound(), which the engine runs, for its {name}" if name in _BOUND.split() else ""


def moved(name: str, old: str) -> Any:
    """What module `old` had under this name, from where it is now; for the `__getattr__` of that module."""
    place = MOVED[old].get(name)
    if place is None:
        raise AttributeError(f"module {old!r} has no attribute {name!r}")
    warnings.warn(f"{old}.{name} is now {place}.{name}", DeprecationWarning, stacklevel=3)
    return getattr(import_module(place), name)
