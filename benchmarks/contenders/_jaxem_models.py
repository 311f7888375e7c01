"""The package's models other than the plain mixture."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from benchmarks import _chains, _data, _documents, _factors
from benchmarks.contenders import plain_em
from benchmarks.contenders._solve import Solve
from benchmarks.contenders._timed import Passes


class HiddenMarkov(Solve):
    def problem(self):
        spec = self.spec
        x = _chains.sequences(spec["n"], spec["length"], spec["d"], spec["k"], spec["dtype"])
        initial, transition, means, covariances = map(jnp.asarray, _chains.start(x, spec["k"]))
        start = jaxem.models.HMMParams(initial, transition, jaxem.families.GaussianParams(means, covariances))
        return jaxem.HMM(jaxem.Gaussian(), num_states=spec["k"]), start, jnp.asarray(x)

    def parameters(self, params):
        means, covariances = params.emission
        return {"initial": params.initial, "transition": params.transition, "means": means, "covariances": covariances}


class Factors(Solve):
    def problem(self):
        spec, k = self.spec, self.spec.get("k", 1)
        x = _factors.table(spec["n"], spec["d"], spec["factors"], spec["missing"], spec["dtype"])
        if k > 1:
            model = jaxem.MixtureOfFactorAnalyzers(k, spec["factors"])
            return model, model.init(jax.random.key(0), x, np.ones(len(x), x.dtype)), jnp.asarray(x)
        start = jaxem.families.FactorParams(*map(jnp.asarray, _factors.start(x, spec["factors"])))
        return jaxem.FactorAnalysis(spec["factors"]), start, jnp.asarray(x)

    def parameters(self, params):
        return params._asdict()


class MixtureOf(Solve):
    """A mixture of Gaussians or t distributions, on rows with tails of `tails` degrees of freedom or gaps; or of
    another family, on what becomes of such rows as counts, categories or bits."""

    @property
    def sees_rows(self) -> bool:
        return "missing" in self.spec

    def problem(self):
        spec, k = self.spec, self.spec["k"]
        x = _data.overlapping(spec["n"], spec["d"], k, spec["dtype"])
        rng = np.random.default_rng(4)
        if spec["family"] in OTHERS:
            family, x = OTHERS[spec["family"]](x, rng, spec)
            model = jaxem.Mixture(family, k)
            return model, model.init(jax.random.key(0), x, np.ones(len(x), x.dtype)), jnp.asarray(x)
        if "tails" in spec:
            scale = np.sqrt(spec["tails"] / rng.chisquare(spec["tails"], size=(len(x), 1)))
            x = (x * scale).astype(x.dtype)
        weights, means, covariances = (jnp.asarray(leaf[0]) for leaf in _data.starts(x, k, 1))
        components = jaxem.families.GaussianParams(means, covariances)
        model = jaxem.GaussianMixture(k, missing="missing" in spec)
        if "missing" in spec:
            patterns = rng.random((spec.get("patterns", len(x)), x.shape[1])) < spec["missing"]
            x[patterns[np.arange(len(x)) % len(patterns)]] = np.nan
        if spec["family"] == "student_t":
            model = jaxem.StudentTMixture(k)
            components = jaxem.families.StudentTParams(means, covariances, jnp.full(k, 10, x.dtype))
        return model, jaxem.models.MixtureParams(weights, components), jnp.asarray(x)


def _counts(x, rng):
    return rng.poisson(np.exp(0.5 * x + 1)).astype(x.dtype)


def _mixed(x, rng, spec):
    half = spec["d"] // 2
    columns = {"a": range(half), "b": range(half, spec["d"])}
    return jaxem.Product({"a": jaxem.Gaussian(), "b": jaxem.Poisson()}, columns), np.c_[
        x[:, :half], _counts(x, rng)[:, half:]
    ]


def _categories(x, rng, spec):
    edges = np.quantile(x[:1000], np.arange(1, spec["levels"]) / spec["levels"])
    return jaxem.Categorical(spec["levels"]), np.digitize(x, edges).astype(x.dtype)


OTHERS = {  # the family, and the rows made into its own
    "poisson": lambda x, rng, spec: (jaxem.Poisson(), _counts(x, rng)),
    "bernoulli": lambda x, rng, spec: (jaxem.Bernoulli(), (x > 0).astype(x.dtype)),
    "categorical": _categories,
    "mixed": _mixed,
}


class StateSpace(Solve):
    """A linear Gaussian state space of as many states as columns, from the identity."""

    def problem(self):
        spec, q, d = self.spec, self.spec["k"], self.spec["d"]
        y = jnp.asarray(_chains.states(spec["n"], spec["length"], d, spec["dtype"]))
        one, seen = jnp.eye(q, dtype=y.dtype), jnp.eye(d, q, dtype=y.dtype)
        start = jaxem.models.StateSpaceParams(
            jnp.zeros(q, y.dtype), one, 0.5 * one, 0.5 * one, seen, 0.5 * jnp.eye(d, dtype=y.dtype)
        )
        return jaxem.LinearGaussianStateSpace(q), start, y


class Shapes(Solve):
    """A Gaussian mixture of any structure, from one start or several."""

    def problem(self):
        spec = self.spec
        x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        weights, means, covariances = _data.starts(x, spec["k"], spec["starts"])
        members = jaxem.families.GaussianParams(means, _data.of_structure(covariances, spec["covariance"]))
        start = jax.tree.map(jnp.asarray, jaxem.models.MixtureParams(weights, members))
        start = jax.tree.map(lambda leaf: leaf[0], start) if spec["starts"] == 1 else start
        return jaxem.GaussianMixture(spec["k"], spec["covariance"]), start, jnp.asarray(x)


class KMeans(Solve):
    """k-means: hard EM of spherical members with equal weights and variances that stay."""

    algorithm = jaxem.hard_em()

    def problem(self):
        spec, k = self.spec, self.spec["k"]
        x = _data.overlapping(spec["n"], spec["d"], 8, spec["dtype"])
        means, ones = _data.centres(x, k, spec["starts"]), np.ones((spec["starts"], k), x.dtype)
        start = jaxem.models.MixtureParams(ones / k, jaxem.families.GaussianParams(means, ones))
        start = jax.tree.map(lambda leaf: jnp.asarray(leaf[0] if spec["starts"] == 1 else leaf), start)
        model = jaxem.GaussianMixture(k, "spherical", frozen=("weights", "components.covariance"))
        return model, start, jnp.asarray(x)


class Small(plain_em.Small):
    """Many small data sets, side by side by `vmap` of `solve`."""

    def one(self, start, x, steps):
        params = jaxem.models.MixtureParams(start.weights, jaxem.families.GaussianParams(*start[1:]))
        fit = jaxem.solve(
            jaxem.GaussianMixture(self.spec["k"], "diagonal"),
            params,
            x,
            kernel=self.spec.get("kernel", "auto"),
            termination=jaxem.termination.FixedSteps(),
            max_steps=steps,
        )
        return fit.log_likelihood, fit.num_steps


class Documents(Passes, Solve):
    """Variational Bayes for latent Dirichlet allocation."""

    def problem(self):
        spec, prior = self.spec, 1 / self.spec["k"]
        table, _, _ = _documents.corpus(spec["n"], spec["words"], spec["k"], spec["dtype"])
        data = jaxem.Documents.from_counts(table, spec["dtype"])
        if spec["online"]:
            self.updates = -(-spec["n"] // spec["rows"])
            update = jaxem.update.Stepwise(spec["rows"], spec["power"], spec["delay"])
        else:
            self.updates, update = 1, jaxem.update.Full()
        self.algorithm = jaxem.Algorithm(update=update, m_step=jaxem.m_step.Posterior())
        topics = jaxem.priors.Dirichlet(prior)
        document = jaxem.latent.MeanField(**spec.get("document", {}))
        self.model = jaxem.LDA(spec["k"], spec["words"], concentration=prior, topics_prior=topics, document=document)
        self.data = jax.tree.map(jnp.asarray, data)
        self.restart(0)
        return self.model, self.start, self.data

    def restart(self, seed):
        self.start = self.model.init(jax.random.key(seed), self.data, jnp.ones(self.spec["n"], self.spec["dtype"]))

    def run(self, steps):
        return super().run(steps * self.updates)

    @property
    def topics(self):
        return self.found.topics.concentration


TASKS = {
    "chains": HiddenMarkov,
    "factors": Factors,
    "mixture": MixtureOf,
    "states": StateSpace,
    "shapes": Shapes,
    "kmeans": KMeans,
    "documents": Documents,
    "small": Small,
}
