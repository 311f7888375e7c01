"""A hidden Markov model whose emissions are small neural networks, trained by generalised EM.

In each of two hidden regimes the response follows the covariate along a curve of its own, which a linear regression in
each state cannot bend to. The E-step is the same; `jaxem.gem` takes the place of the closed form.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxem

NOISE = 0.3


def simulate(seed: int = 0, length: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[1, length, 2]` of a covariate and a response, and the regimes `[length]`."""
    rng = np.random.default_rng(seed)
    regimes = np.zeros(length, int)
    for t in range(1, length):
        regimes[t] = regimes[t - 1] if rng.random() < 0.95 else 1 - regimes[t - 1]
    u = rng.uniform(-2, 2, length)
    y = np.where(regimes == 0, np.sin(2 * u), u**2 - 2) + NOISE * rng.standard_normal(length)
    return np.stack([u, y], 1)[None].astype(np.float32), regimes


def make(key):
    return eqx.nn.MLP("scalar", "scalar", 8, 1, activation=jnp.tanh, key=key)


def neural(network, row):
    return jax.scipy.stats.norm.logpdf(row[1], network(row[0]), NOISE)


def linear(params, row):
    mean = params["intercept"] + params["slope"] * row[0]
    return jax.scipy.stats.norm.logpdf(row[1], mean, params["deviation"])


def model(kind: str) -> jaxem.HMM:
    if kind == "neural":
        return jaxem.HMM(jaxem.families.NeuralFamily(make, neural), num_states=2)
    start = {"intercept": 0.0, "slope": 0.0, "deviation": 1.0}
    return jaxem.HMM(jaxem.families.FunctionFamily(linear, start, constraints={"deviation": "positive"}), num_states=2)


def fit(kind: str, rows: np.ndarray, restarts: int = 8) -> jaxem.Fit:
    """The best of several starts: from most of them a network ends as a compromise between the two curves."""
    algorithm = jaxem.gem(optax.adam(0.03), steps=10)
    return jaxem.fit(
        model(kind), rows, key=jax.random.key(0), restarts=restarts, algorithm=algorithm, tol=0.01, max_steps=150
    )


def main() -> None:
    rows, regimes = simulate()
    for kind in ("linear", "neural"):
        found = fit(kind, rows)
        path = np.asarray(model(kind).predict(found.params, jnp.asarray(rows)))[0]
        right = max(np.mean(path == regimes), np.mean(path != regimes))
        print(f"{kind:7s} log-likelihood {float(found.log_likelihood):8.1f}, regimes found {right:.0%}")


if __name__ == "__main__":
    main()
