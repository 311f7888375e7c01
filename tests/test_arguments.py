"""Arguments that are refused, each by the name that it has in the call."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem

X = np.random.default_rng(0).normal(size=(40, 2))
MODEL = jaxem.GaussianMixture(2)
KEY = jax.random.key(0)
EYES = np.stack([np.eye(2)] * 2)


def start(weights=(0.5, 0.5), covariance=EYES, mean=((0.0, 0.0), (1.0, 1.0))):
    return jaxem.models.MixtureParams(
        np.array(weights), jaxem.families.GaussianParams(np.array(mean), np.array(covariance, float))
    )


REFUSED = {
    "an algorithm by name": ({"algorithm": "squarem"}, "algorithm is 'squarem'"),
    "an algorithm not called": ({"algorithm": jaxem.squarem}, "algorithm=jaxem.squarem()"),
    "racing as a flag": ({"racing": True}, "jaxem.termination.Racing()"),
    "a termination by name": ({"termination": "gain"}, "termination is 'gain'"),
    "no key": ({"key": None}, "jax.random.key(0)"),
    "a seed for a key": ({"key": 7}, "jax.random.key(7)"),
    "a negative tolerance": ({"tol": -1e-3}, "tol must be at least 0"),
    "a tolerance in words": ({"tol": "small"}, "tol must be a number"),
    "more steps than can be counted": ({"max_steps": 2**40}, "max_steps must be at most"),
    "negative steps": ({"max_steps": -1}, "max_steps must be at least 0"),
    "restarts as a flag": ({"restarts": True}, "restarts must be an integer"),
    "restarts that are no integer": ({"restarts": 2.5}, "restarts must be an integer"),
    "no restarts": ({"restarts": 0}, "restarts must be at least 1"),
    "weights that do not sum to 1": (
        {"init": start((0.75, 0.75))},
        "init.weights holds probabilities that sum to 1.5, not 1",
    ),
    "weights below 0": ({"init": start((-0.5, 1.5))}, "init.weights holds a negative probability, -0.5 (at [0])"),
    "an indefinite covariance": (
        {"init": start(covariance=-EYES)},
        "init.components.covariance holds a covariance with a variance that is not positive, -1",
    ),
    "a singular covariance": (
        {"init": start(covariance=np.ones((2, 2, 2)))},
        "init.components.covariance holds a covariance that is not positive definite (at [0])",
    ),
    "a skew covariance": (
        {"init": start(covariance=[np.eye(2), [[1, 0.5], [0, 1]]])},
        "init.components.covariance holds a covariance that is not symmetric (at [1])",
    ),
    "a covariance of another shape": (
        {"init": start(covariance=np.ones((2, 1)))},
        "init.components.covariance has shape (2, 1), expected (2, 2, 2)",
    ),
    "means of another width": (
        {"init": start(mean=np.zeros((2, 3)))},
        "init.components.mean has shape (2, 3), expected (2, 2)",
    ),
    "parameters of another kind": ({"init": {"a": 1}}, "init has structure {'a': a int}"),
    "a stack with a wrong member": (
        {"init": jax.tree.map(lambda *a: np.stack(a), start(), start((0.3, 0.3)))},
        "init 1.weights holds probabilities that sum to 0.6",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_fit_refuses(name):
    options, message = REFUSED[name]
    with pytest.raises(jaxem.DataError, match=re.escape(message)) as error:
        jaxem.fit(MODEL, X, **{"key": KEY, **options})
    assert "PyTreeDef" not in str(error.value)


def _of_a_run():
    for name, (options, _) in REFUSED.items():
        if options.keys() <= {"algorithm", "termination", "key", "tol", "max_steps"} and options != {"key": None}:
            yield name


@pytest.mark.parametrize("name", list(_of_a_run()))
def test_what_a_run_refuses(name):
    options, message = REFUSED[name]
    with pytest.raises(jaxem.DataError, match=re.escape(message)):
        jaxem.solve(MODEL, jax.tree.map(jnp.asarray, start()), jnp.asarray(X), **options)


@pytest.mark.parametrize("wrong", [start((0.75, 0.75)), start(covariance=-EYES), start((np.nan, 1.0))])
def test_parameters_that_are_none_are_refused_everywhere(wrong):
    for ask in (
        lambda: jaxem.solve(MODEL, wrong, X, max_steps=1),
        lambda: jaxem.fit_stream(MODEL, [X], init=wrong, key=KEY),
        lambda: MODEL.log_prob(wrong, X),
        lambda: MODEL.predict(wrong, X),
        lambda: jaxem.bic(MODEL, wrong, X),
    ):
        with pytest.raises(jaxem.DataError, match=r"params|init"):
            ask()


def test_the_model_too():
    for model in (jaxem.GaussianMixture, "gaussian", None, jaxem.Gaussian()):
        with pytest.raises(jaxem.DataError, match="model"):
            jaxem.fit(model, X, key=KEY)


@pytest.mark.parametrize("structure", [jaxem.Mixture, jaxem.HMM, jaxem.MixtureOfExperts])
def test_families_of_a_structure(structure):
    with pytest.raises(jaxem.DataError, match=r"such as jaxem\.Gaussian\(\), got 'gaussian'"):
        structure("gaussian", 2)
    with pytest.raises(jaxem.DataError, match=r"is the class Gaussian; pass an instance: Gaussian\(\)"):
        structure(jaxem.Gaussian, 2)
    with pytest.raises(ValueError, match="must be a positive integer, got True"):
        structure(jaxem.Gaussian(), True)


def test_structures_of_covariance_go_by_several_names():
    assert jaxem.Gaussian("diag") == jaxem.Gaussian("VVI") == jaxem.Gaussian("diagonal")
    assert jaxem.GaussianMixture(2, "VVV") == jaxem.GaussianMixture(2, "full")
    assert jaxem.Gaussian("EEE").covariance == "tied"
    assert jaxem.StudentT("VII").covariance == "spherical"
    assert jaxem.LinearGaussianStateSpace(1, "diag").transition_covariance == "diagonal"
    with pytest.raises(jaxem.DataError, match=r"one of full, diagonal.*VVV for full.*'EVI'"):
        jaxem.Gaussian("EVI")


def test_one_fixed_start_is_the_same_three_times():
    def log_joint(params, x, z):
        return -((x - params["centre"][z]) ** 2) / 2 - jnp.log(2.0)

    model = jaxem.FunctionModel(log_joint, num_values=2, start={"centre": jnp.array([-1.0, 1.0])})
    with pytest.raises(jaxem.DataError, match="all would be the same"):
        jaxem.fit(model, X[:, 0], key=KEY, restarts=3)
    drawn = jaxem.Algorithm(e_step=jaxem.e_step.Sample(), m_step=jaxem.m_step.Newton())
    many = jaxem.fit(model, X[:, 0], key=KEY, restarts=3, algorithm=drawn, max_steps=3)
    assert many.restarts.objective.shape == (3,)


def test_converged_is_where_the_maximum_is():
    """Heavy censoring makes EM slow, so that a small gain is no sign of the maximum."""
    times = np.random.default_rng(0).exponential(40.0, 200)
    rows = jaxem.Interval.right(np.minimum(times, 10.0), times > 10)
    best = np.minimum(times, 10).sum() / (times <= 10).sum()
    fit = jaxem.fit(jaxem.Single(jaxem.families.CensoredExponential()), rows, key=KEY)
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(1 / fit.params.rate, best, rtol=5e-4)
    gains = jaxem.fit(
        jaxem.Single(jaxem.families.CensoredExponential()),
        rows,
        key=KEY,
        termination=jaxem.termination.Gain(),
        tol=1e-6,
    )
    assert abs(float(1 / gains.params.rate[0]) / best - 1) > 1e-3  # what the gain of a step says


def test_a_run_that_falls_at_once_is_an_error(monkeypatch):
    """Of models that do not say where their parameters lie: the objective of no such place is one that EM can keep."""
    monkeypatch.setattr(jaxem.Mixture, "domains", property(lambda self: {}))
    wrong = start((1.5, 1.5))
    with pytest.raises(jaxem.FitError, match="1 objective_decreased"):
        jaxem.fit(MODEL, X, init=wrong, key=KEY)
    left = jaxem.fit(MODEL, X, init=wrong, key=KEY, throw=False)
    assert jaxem.status_name(left.status) == "objective_decreased"


def test_a_fit_under_a_trace_names_solve():
    with pytest.raises(jaxem.DataError, match=r"jaxem\.solve"):
        jax.grad(lambda w: jaxem.fit(MODEL, X, weights=w, key=KEY).log_likelihood)(jnp.ones(40))
    with pytest.raises(jaxem.DataError, match=r"jaxem\.solve"):
        jax.jit(lambda x: jaxem.fit(MODEL, x, key=KEY).log_likelihood)(X)


@pytest.mark.parametrize("model", [MODEL, jaxem.HMM(jaxem.Gaussian(), 2)])
def test_parameters_come_first(model):
    with pytest.raises(jaxem.DataError, match="parameters come first, then data"):
        model.log_prob(X, start())


def test_one_row_is_too_few():
    with pytest.raises(jaxem.DataError, match="1 rows with positive weight, fewer than num_components=2"):
        jaxem.fit(MODEL, X[:1], key=KEY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jaxem.GaussianMixture(2, prior=True), r"prior of Gaussian is True: pass a jaxem.priors.NormalInverse"),
        (lambda: jaxem.GaussianMixture(2, weights_prior=2.0), r"prior of Weights is 2.0: pass .*StickBreaking"),
        (lambda: jaxem.Poisson(prior=jaxem.priors.Beta(1.0, 1.0)), r"prior of Poisson is Beta.*jaxem.priors.Gamma"),
        (lambda: jaxem.LDA(2, 5, topics_prior=0.1), r"topics_prior of LDA is 0.1"),
    ],
)
def test_priors_of_another_kind(make, message):
    with pytest.raises(jaxem.DataError, match=message):
        make()
