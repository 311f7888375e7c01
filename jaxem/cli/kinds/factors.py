"""Factor analysis and probabilistic principal components: every row has scores, and no component."""

from typing import Any

import numpy as np

from jaxem.cli._view import View
from jaxem.cli.kinds import _panels as panels
from jaxem.cli.kinds._kind import Assignment, Kind, declare, named


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
    )


FACTORS = {
    "factor-analysis": _kind("Factor analysis", "FactorAnalysis", "positive d"),
    "ppca": _kind("Probabilistic principal components", "PPCA", "positive"),
}
