"""Factor analysis and probabilistic principal components: every row has scores, and no component."""

from typing import Any

import numpy as np

from jaxem.cli._view import View
from jaxem.cli.kinds import _panels as panels
from jaxem.cli.kinds._kind import Assignment, Derived, Kind, declare, named


def _scores(model: Any, params: Any, x: np.ndarray) -> Assignment:
    """Posterior means of the factors."""
    import jax.numpy as jnp

    import jaxem

    values = np.asarray(jaxem.models.factor_analysis.scores(params, jnp.asarray(x)).mean)
    return Assignment(values, [f"score_{j}" for j in range(values.shape[1])])


def _describe(view: View) -> tuple[str, dict[str, list[str]]]:
    loading = np.asarray(view.params.loading, float) * view.scale[:, None]
    noise = np.broadcast_to(np.asarray(view.params.noise_variance, float), len(loading)) * view.scale**2
    mean = np.asarray(view.params.mean, float) * view.scale + view.shift
    rows = {"mean": [f"{value:.4g}" for value in mean]}
    rows |= {f"factor {j}": [f"{value:.4g}" for value in column] for j, column in enumerate(loading.T)}
    explained = (loading**2).sum(1)
    rows["noise sd"] = [f"{value:.4g}" for value in np.sqrt(noise)]
    rows["communality"] = [f"{value:.3f}" for value in explained / (explained + noise)]
    return "loadings, up to a rotation of the factors", rows


def _correlation(params: Any) -> Any:
    """Fisher's transformation of the correlations of columns with factors, `[d, q]`."""
    import jax.numpy as jnp

    total = (params.loading**2).sum(1) + params.noise_variance
    return jnp.arctanh(params.loading / jnp.sqrt(total)[:, None])


def _communality(params: Any) -> Any:
    """Log-odds of the shares of columns that factors explain, `[d]`."""
    import jax.numpy as jnp

    return jnp.log((params.loading**2).sum(1)) - jnp.log(params.noise_variance)


def _kind(title: str, name: str, noise: str) -> Kind:
    return Kind(
        title=title,
        build=named(name),
        layout=lambda options: declare(
            "families.FactorParams", mean="real d", loading="real d k", noise_variance=noise
        ),
        describe=_describe,
        panel=panels.factors,
        continuous=True,
        missing=lambda x: {},
        unit="factor",
        most=lambda num_columns: num_columns - 1,
        assign=_scores,
        sample=lambda model, params, key, n: (model.sample(key, params, n)[0], ()),
        derived={
            "correlation": Derived(_correlation, np.tanh, lambda r: 1 - r**2),
            "communality": Derived(_communality, lambda u: 1 / (1 + np.exp(-u)), lambda c: c * (1 - c)),
        },
    )


FACTORS = {
    "factor-analysis": _kind("Factor analysis", "FactorAnalysis", "positive d"),
    "ppca": _kind("Probabilistic principal components", "PPCA", "positive"),
}
