"""The package itself: standard errors, refits, tests and sweeps. A repetition is one call, compilation included."""

import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from benchmarks import _data
from benchmarks.contenders.jaxem import described, parameters


class _Call:
    """Seconds of `call()`, which returns what is said of it besides."""

    def __init__(self, spec: dict):
        self.spec, self.key = spec, jax.random.key(spec.get("seed", 0))
        self.prepare()

    def prepare(self) -> None:
        raise NotImplementedError

    def call(self) -> dict:
        raise NotImplementedError

    def repetition(self) -> dict:
        began = time.perf_counter()
        found = self.call()
        return {"seconds": time.perf_counter() - began, **found}


class Fit(_Call):
    """A Gaussian mixture with full covariances; parameters go to the reply if `keep` says so."""

    def prepare(self):
        spec = self.spec
        self.x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        self.model = jaxem.GaussianMixture(spec["k"])

    def fitted(self) -> jaxem.Fit:
        fit = jaxem.fit(self.model, self.x, key=self.key, tol=self.spec["tol"], max_steps=2000)
        if not fit.converged:
            raise RuntimeError(f"the fit did not converge: {fit}")
        return jax.block_until_ready(fit)

    def call(self):
        fit = self.fitted()
        own = described(fit.params, 0.0) if self.spec.get("keep") else {}
        return {"steps": int(fit.num_steps), **{name: own[name] for name in own if name != "seconds"}}


class StandardErrors(Fit):
    """Those of all parameters of such a fit, which is at hand."""

    def prepare(self):
        super().prepare()
        self.params = self.fitted().params

    def call(self):
        found = jaxem.information.observed(self.model, self.params, self.x)
        errors = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.standard_errors)])
        if not np.isfinite(errors).all():
            raise RuntimeError("some standard errors are not finite")
        return {"parameters": found.matrix.shape[0], "decrement": found.decrement}


class Refits(Fit):
    """A bootstrap from given parameters, by `spec["algorithm"]`."""

    def prepare(self):
        super().prepare()
        start = np.load(self.spec["start"])
        self.params = parameters(*(start[name].astype(self.spec["dtype"]) for name in _data.Start._fields))

    def call(self):
        drawn = jaxem.bootstrap(
            self.model,
            self.params,
            self.x,
            key=self.key,
            replicates=self.spec["replicates"],
            tol=self.spec["tol"],
            max_steps=2000,
            algorithm=getattr(jaxem, self.spec["algorithm"])(),
        )
        at = float(np.median(drawn.log_likelihood))
        return {"refits": self.spec["replicates"], "failed": drawn.num_failed, "log_likelihood": at}


class Classes(_Call):
    """The test of `k` latent classes against one more, by a parametric bootstrap."""

    def prepare(self):
        spec = self.spec
        self.x = _data.binary_items(spec["n"], spec["d"], spec["k"]).astype(spec["dtype"])

    def call(self):
        low, high = (jaxem.Mixture(jaxem.Bernoulli(), self.spec["k"] + more) for more in (0, 1))
        names = ("replicates", "restarts", "tol")
        test = jaxem.likelihood_ratio_test(
            low,
            high,
            self.x,
            key=self.key,
            max_steps=2000,
            racing=jaxem.termination.Racing(steps=8, finalists=2) if self.spec["race"] else None,
            **{name: self.spec[name] for name in names},
        )
        return {
            "replicates": len(test.replicates),
            "statistic": test.statistic,
            "p_value": test.p_value,
            "negative": test.num_negative,
            "failed": test.num_failed,
        }


class Sweep(_Call):
    """Numbers of components on the same data."""

    def prepare(self):
        spec = self.spec
        self.x = jnp.asarray(_data.overlapping(spec["n"], spec["d"], 4, spec["dtype"]))

    def call(self):
        models = [jaxem.GaussianMixture(k) for k in self.spec["components"]]
        chosen = jaxem.select(models, self.x, key=self.key, restarts=self.spec["restarts"], tol=self.spec["tol"])
        return {"best": chosen.best.num_components}


TASKS = {"fit": Fit, "standard-errors": StandardErrors, "refits": Refits, "classes": Classes, "sweep": Sweep}
