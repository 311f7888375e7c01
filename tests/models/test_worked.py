"""The worked models of the documentation: published iterates, and the same maximum from the density alone."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.stats import weibull_min

import jaxem
from jaxem.information import fraction_missing
from jaxem.testing import check_model
from tests.helpers import engine

pytestmark = pytest.mark.slow


def example(name):
    path = Path(__file__).parents[2] / "docs" / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


linkage, abo, weibull, speed = (example(name) for name in ("linkage", "abo", "weibull", "speed_accuracy"))


def iterates(model, start, x, weights, steps):
    return [engine.solve(model, start, x, weights, tol=0.0, max_steps=i).params for i in range(1, steps + 1)]


# Dempster, Laird and Rubin (1977), table 1
LINKAGE = [0.608247423, 0.624321051, 0.626488879, 0.626777323, 0.626815632, 0.626820719, 0.626821395, 0.626821484]
LINKAGE_MAXIMUM = (15 + 53809**0.5) / 394


def test_linkage_iterates_and_rate_are_the_published_ones():
    cells, counts = linkage.data()
    start = linkage.LinkageParams(jnp.array(0.5))
    found = [float(params.t) for params in iterates(linkage.Linkage(), start, cells, counts, 8)]
    np.testing.assert_allclose(found, LINKAGE, rtol=0, atol=1.1e-9)
    behind = np.array([0.5, *found]) - LINKAGE_MAXIMUM
    rates = behind[1:] / behind[:-1]
    np.testing.assert_allclose(rates[:7], [0.1465, 0.1346, 0.1330, 0.1328, 0.1328, 0.1328, 0.1328], atol=6e-5)
    np.testing.assert_allclose(rates[-1], 0.1327787337455989, rtol=1e-4)


def test_linkage_information():
    """Observed and complete information; Louis (1982), and the standard error of Meng and Rubin (1991)."""
    cells, counts = linkage.data()
    model, t = linkage.Linkage(), jnp.asarray(LINKAGE_MAXIMUM)
    information = -jax.hessian(lambda t: model.log_likelihood(linkage.LinkageParams(t), cells, counts))(t)
    np.testing.assert_allclose(information, 377.51690039468724, rtol=1e-12)
    np.testing.assert_allclose(1 / np.sqrt(information), 0.05146734920088868, rtol=1e-12)
    missing = fraction_missing(model, linkage.LinkageParams(t), cells, weights=counts)
    np.testing.assert_allclose(information / (1 - missing), 435.31785379896564, rtol=1e-9)


def test_linkage_with_other_counts():
    """Wei and Tanner (1990)."""
    cells, _ = linkage.data()
    counts = jnp.array([14.0, 0.0, 1.0, 5.0])
    fit = engine.solve(linkage.Linkage(), linkage.LinkageParams(jnp.array(0.5)), cells, counts, tol=1e-16)
    np.testing.assert_allclose(fit.params.t, 0.9034401142169988, rtol=1e-7)


def test_linkage_from_the_density_alone():
    cells, counts = linkage.data()
    model = linkage.function_model()
    fit = engine.solve(model, model.start, cells, counts, algorithm=jaxem.em_gradient(), tol=1e-16)
    closed = engine.solve(linkage.Linkage(), linkage.LinkageParams(jnp.array(0.5)), cells, counts, tol=1e-16)
    np.testing.assert_allclose([fit.params["t"], closed.params.t], LINKAGE_MAXIMUM, rtol=1e-7)
    np.testing.assert_allclose(closed.log_likelihood, -205.71588704589828, rtol=1e-12)
    np.testing.assert_allclose(fit.log_likelihood, closed.log_likelihood, rtol=1e-12)


# Lange, with the counts of Clarke et al. (1959)
ABO = [[0.2322, 0.0550, 0.7128], [0.2160, 0.0503, 0.7337], [0.2139, 0.0502, 0.7360], [0.2136, 0.0501, 0.7362]]
ABO_MAXIMUM = [0.21359094, 0.05014533, 0.73626373]


def test_abo_iterates_are_the_published_ones():
    groups, counts = abo.data()
    start = abo.AlleleParams(jnp.array([0.3, 0.2, 0.5]))
    found = [params.frequency for params in iterates(abo.BloodGroups(), start, groups, counts, 4)]
    np.testing.assert_allclose(found, ABO, rtol=0, atol=6e-5)
    closed = engine.solve(abo.BloodGroups(), start, groups, counts, tol=1e-16)
    np.testing.assert_allclose(closed.params.frequency, ABO_MAXIMUM, atol=5e-9)

    def log_likelihood(free):
        frequency = jnp.append(free, 1 - jnp.sum(free))
        return abo.BloodGroups().log_likelihood(abo.AlleleParams(frequency), groups, counts)

    information = -np.asarray(jax.hessian(log_likelihood)(closed.params.frequency[:2]))
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(errors, [0.01351735, 0.00684499], rtol=0, atol=2e-8)


def test_abo_from_the_density_of_a_pair_of_alleles():
    groups, counts = abo.data()
    model = abo.function_model()
    fit = engine.solve(model, model.start, groups, counts, algorithm=jaxem.em_gradient(), tol=1e-16)
    np.testing.assert_allclose(fit.params["frequency"], ABO_MAXIMUM, atol=2e-8)
    a, b, o = ABO_MAXIMUM
    expected = np.array([186.0, 38.0, 13.0, 284.0]) @ np.log([a**2 + 2 * a * o, b**2 + 2 * b * o, 2 * a * b, o**2])
    np.testing.assert_allclose(fit.log_likelihood, expected, rtol=1e-12)
    posterior = np.asarray(model.posterior(fit.params, groups))
    assert posterior.shape == (4, 9)
    np.testing.assert_allclose(posterior[0, 0], a / (a + 2 * o), rtol=1e-6)


@pytest.fixture(scope="module")
def lifetimes():
    """Data, a start, and the maximum that SciPy finds from it."""
    x = weibull.lifetimes()
    start = {"weights": jnp.array([0.5, 0.5]), "shape": jnp.array([1.0, 2.0]), "scale": jnp.array([1.0, 5.0])}
    data = np.asarray(x)

    def loss(v):
        share, shape, scale = 1 / (1 + np.exp(-v[0])), np.exp(v[1:3]), np.exp(v[3:])
        density = weibull_min.pdf(data[:, None], shape, scale=scale) @ np.array([share, 1 - share])
        return -np.log(density).sum()

    begin = np.concatenate([[0.0], np.log(np.concatenate([start["shape"], start["scale"]]))])
    found = optimize.minimize(loss, begin, method="BFGS", options={"gtol": 1e-5})
    return x, start, found


@pytest.mark.parametrize("algorithm", [jaxem.em_gradient(), weibull.gem()], ids=["em gradient", "gem"])
def test_weibull_mixtures_reach_the_maximum_of_the_likelihood(lifetimes, algorithm):
    x, start, found = lifetimes
    fit = engine.solve(weibull.model(), start, x, algorithm=algorithm, tol=1e-13)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-9
    np.testing.assert_allclose(fit.log_likelihood, -found.fun, rtol=1e-9)
    np.testing.assert_allclose(np.log([*fit.params["shape"], *fit.params["scale"]]), found.x[1:], atol=2e-4)


def test_weibull_starts_are_drawn_from_the_data():
    x = weibull.lifetimes()
    a, b = (weibull.model().init(jax.random.key(seed), x, None) for seed in (0, 1))
    assert set(np.asarray(a["scale"])) <= set(np.asarray(x))
    assert not np.allclose(a["scale"], b["scale"])


def test_the_worked_models_keep_the_contract():
    cells = jnp.arange(12.0) % 4
    check_model(linkage.Linkage(), linkage.LinkageParams(jnp.array(0.4)), cells)
    check_model(abo.BloodGroups(), abo.AlleleParams(jnp.array([0.3, 0.2, 0.5])), cells)
    check_model(abo.function_model(), {"frequency": jnp.array([0.3, 0.2, 0.5])}, cells)


@pytest.mark.parametrize("module", [linkage, abo])
def test_they_run(module, capsys):
    module.main()
    assert "from the density alone: " in capsys.readouterr().out


def test_networks_find_the_regimes_that_lines_cannot_tell_apart():
    neural = example("neural_hmm")
    rows, regimes = neural.simulate()
    rows = rows.astype(np.float64)
    fits = {kind: neural.fit(kind, rows) for kind in ("linear", "neural")}
    right = {}
    for kind, fit in fits.items():
        # Every step of a generalised M-step raises the bound, and with it the likelihood.
        history = np.asarray(fit.history)
        assert np.all(np.diff(history) > -1e-4 * np.abs(history[1:]))
        path = np.asarray(neural.model(kind).predict(fit.params, jnp.asarray(rows)))[0]
        right[kind] = max(np.mean(path == regimes), np.mean(path != regimes))
    assert fits["neural"].log_likelihood > fits["linear"].log_likelihood + 100
    assert right["neural"] > 0.95 > right["linear"]


def test_speed_and_accuracy_is_the_fit_of_depmixs4():
    """Its tests (tests/test1speed.R) have -248.972219 for the pay-off as covariate."""
    (_, _, without), (model, data, fit) = speed.fits(restarts=4)
    np.testing.assert_allclose(fit.log_likelihood, -248.972219, atol=3e-5)
    np.testing.assert_allclose(fit.restarts.objective, fit.objective, atol=1e-5)
    assert -296.1151 < without.log_likelihood < -296.10
    assert model.num_parameters(fit.params) == 1 + 4 + 6
    slow = np.argmax(fit.params.emission["log_time"].mean[:, 0])
    constant, slope = np.asarray(fit.params.transition)[slow, 0]
    np.testing.assert_allclose(-constant / slope, 0.2135, atol=1e-3)
    p = np.asarray(model.transition_probabilities(fit.params, data))
    np.testing.assert_allclose(p.sum(-1), np.repeat(data.moving()[..., None], 2, -1), rtol=1e-12)
