"""Factor-analytic rows with missing entries, by SciPy's density of what is there."""

import numpy as np
from scipy import stats


def log_density(params, x):
    """Of every row under each member, `[k, n]`; 0 for a row without any entry."""
    out = np.zeros((len(params.mean), len(x)))
    for k, (mean, loading, noise) in enumerate(zip(params.mean, params.loading, params.noise_variance, strict=True)):
        covariance = loading @ loading.T + np.diag(np.broadcast_to(noise, mean.shape))
        for i, row in enumerate(x):
            seen = ~np.isnan(row)
            if seen.any():
                out[k, i] = stats.multivariate_normal.logpdf(row[seen], mean[seen], covariance[np.ix_(seen, seen)])
    return out
