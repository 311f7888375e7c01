"""dynamax: state space models in JAX. Imports nothing of the package, so that it may live in another environment."""

import importlib.metadata
import time

import jax
import jax.numpy as jnp
from dynamax.hidden_markov_model import GaussianHMM
from dynamax.linear_gaussian_ssm import LinearGaussianSSM

from benchmarks import _chains
from benchmarks.contenders._timed import Timed, lists


class HiddenMarkov(Timed):
    """`fit_em` inside `jit`, compiled once for each number of iterations; priors flat, so that it maximises the
    likelihood."""

    def __init__(self, spec: dict):
        self.spec, d, k = spec, spec["d"], spec["k"]
        x = _chains.sequences(spec["n"], spec["length"], d, k, spec["dtype"])
        self.x = jnp.asarray(x)
        initial, transition, means, covariances = map(jnp.asarray, _chains.start(x, k))
        self.start, properties = GaussianHMM(k, d).initialize(
            initial_probs=initial, transition_matrix=transition, emission_means=means, emission_covariances=covariances
        )
        # Flat priors. That of the covariances is improper; the check of its degrees of freedom is for constants.
        self.extra_df = jnp.asarray(-(2 * d + 2), x.dtype)

        def program(steps, params, x, extra_df):
            model = GaussianHMM(
                k,
                d,
                initial_probs_concentration=1.0,
                transition_matrix_concentration=1.0,
                emission_prior_concentration=0.0,
                emission_prior_scale=0.0,
                emission_prior_extra_df=extra_df,
            )
            return model.fit_em(params, properties, x, num_iters=steps, verbose=False)

        self.program = jax.jit(program, static_argnums=0)
        for steps in (spec["few"], spec["few"] + spec["added"], spec["check"]):
            self.run(steps)
        found, version = self.found, importlib.metadata.version("dynamax")
        self.info = {
            "note": f"version {version}, jax {jax.__version__}; its priors made flat",
            "found": lists(
                initial=found.initial.probs,
                transition=found.transitions.transition_matrix,
                means=found.emissions.means,
                covariances=found.emissions.covs,
            ),
        }

    def run(self, steps: int) -> float:
        began = time.perf_counter()
        self.found, values = jax.block_until_ready(self.program(steps, self.start, self.x, self.extra_df))
        elapsed = time.perf_counter() - began
        if len(values) != steps or self.found.emissions.covs.dtype != self.spec["dtype"]:
            raise RuntimeError(f"asked for {steps} iterations in {self.spec['dtype']}, got {len(values)}")
        return elapsed


class StateSpace(Timed):
    """`fit_em` of a linear Gaussian state space inside `jit`, compiled once for each number of iterations."""

    def __init__(self, spec: dict):
        self.spec, q, d = spec, spec["k"], spec["d"]
        self.y = jnp.asarray(_chains.states(spec["n"], spec["length"], d, spec["dtype"]))
        model = LinearGaussianSSM(q, d, has_dynamics_bias=False, has_emissions_bias=False)
        one = jnp.eye(q, dtype=self.y.dtype)
        self.start, properties = model.initialize(
            initial_mean=jnp.zeros(q, self.y.dtype),
            initial_covariance=one,
            dynamics_weights=0.5 * one,
            dynamics_covariance=0.5 * one,
            emission_weights=jnp.eye(d, q, dtype=self.y.dtype),
            emission_covariance=0.5 * jnp.eye(d, dtype=self.y.dtype),
        )

        def program(steps, params, y):
            return model.fit_em(params, properties, y, num_iters=steps, verbose=False)

        self.program = jax.jit(program, static_argnums=0)
        for steps in (spec["few"], spec["few"] + spec["added"]):
            self.run(steps)

    def run(self, steps: int) -> float:
        began = time.perf_counter()
        found, values = jax.block_until_ready(self.program(steps, self.start, self.y))
        elapsed = time.perf_counter() - began
        if len(values) != steps or found.emissions.cov.dtype != self.spec["dtype"]:
            raise RuntimeError(f"asked for {steps} iterations in {self.spec['dtype']}, got {len(values)}")
        return elapsed


TASKS = {"chains": HiddenMarkov, "states": StateSpace}
