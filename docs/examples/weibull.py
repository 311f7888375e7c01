"""A mixture of Weibull lifetimes: no closed-form M-step, so one Newton step on Q, or a few of an Optax optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxem


def log_joint(params, x, z):
    shape, scale = params["shape"][z], params["scale"][z]
    log_ratio = jnp.log(x) - jnp.log(scale)
    log_density = jnp.log(shape) - jnp.log(scale) + (shape - 1) * log_ratio - jnp.exp(shape * log_ratio)
    return jnp.log(params["weights"][z]) + log_density


def model(k=2):
    """`k` Weibull distributions; a start is drawn at random around the data."""

    def start(key, data, weights):
        scale = data[jax.random.choice(key, data.shape[0], (k,), replace=False)]
        return {"weights": jnp.full(k, 1 / k, data.dtype), "shape": jnp.ones_like(scale), "scale": scale}

    constraints = {"weights": "simplex", "shape": "positive", "scale": "positive"}
    return jaxem.FunctionModel(log_joint, k, start, constraints=constraints)


def lifetimes(n=400):
    """Early failures of some parts, and the wear of the others."""
    rng = np.random.default_rng(0)
    early = rng.random(n) < 0.3
    return jnp.asarray(np.where(early, 0.5 * rng.weibull(0.9, n), 6.0 * rng.weibull(3.5, n)))


def gem():
    return jaxem.Algorithm(m_step=jaxem.m_step.Optax(optax.adam(0.05), steps=20))


def main():
    x, key = lifetimes(), jax.random.key(0)
    for name, algorithm in {"EM gradient": jaxem.em_gradient(), "GEM with Adam": gem()}.items():
        fit = jaxem.fit(model(), x, key=key, restarts=8, algorithm=algorithm, tol=1e-10)
        found = {name: np.round(value, 3) for name, value in fit.params.items()}
        print(f"{name}: log-likelihood {float(fit.log_likelihood):.6f} in {int(fit.num_steps)} steps; {found}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
