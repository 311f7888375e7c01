"""Samples end early and keep what is done: at a time limit, when progress asks for it, and at an interrupt."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem import status_name
from jaxem.resampling._rounds import at_a_time

MODEL = jaxem.Single(jaxem.Poisson())
X = jnp.array([0.0, 1, 1, 2, 3, 3, 5, 9])[:, None]
PARAMS = jaxem.families.PoissonParams(jnp.array([3.0]))


def test_sizes():
    assert [at_a_time(count, together=True) for count in (1, 99, 999, 8000)] == [64, 64, 125, 1000]
    assert at_a_time(999, together=False) == 999


@pytest.mark.parametrize("kind", ["nonparametric", "parametric"])
def test_a_time_limit_keeps_the_samples_that_are_done(kind):
    given = {"key": jax.random.key(0), "kind": kind, "replicates": 200}
    whole = jaxem.bootstrap(MODEL, PARAMS, X, lanes=20, **given)
    part = jaxem.bootstrap(MODEL, PARAMS, X, lanes=20, **given, time_limit=1e-9)
    assert whole.params.rate.shape == (200, 1)
    done = len(part.log_likelihood)
    assert 2 <= done <= 20  # what was begun at once
    np.testing.assert_array_equal(part.params.rate, whole.params.rate[:done])
    with pytest.raises(jaxem.DataError, match="time_limit"):
        jaxem.bootstrap(MODEL, PARAMS, X, **given, time_limit=-1)


@pytest.mark.parametrize("kind", ["nonparametric", "parametric"])
def test_one_process_alone_shares_nothing_out(kind):
    given = {"key": jax.random.key(0), "kind": kind, "replicates": 67, "restarts": 1}
    one, both = (jaxem.bootstrap(MODEL, PARAMS, X, together=together, **given) for together in (False, True))
    np.testing.assert_array_equal(one.params.rate, both.params.rate)
    np.testing.assert_array_equal(one.log_likelihood, both.log_likelihood)


def test_progress_counts_all_of_them_and_may_stop():
    told = []
    jaxem.bootstrap(MODEL, PARAMS, X, key=jax.random.key(0), replicates=150, progress=told.append)
    assert (told[-1].done, {one.total for one in told}) == (150, {150})
    assert [one.done for one in told] == sorted(one.done for one in told)
    options = {"key": jax.random.key(0), "replicates": 150, "lanes": 16}
    part = jaxem.bootstrap(MODEL, PARAMS, X, **options, progress=lambda told: True)
    assert part.log_likelihood.shape == (16,)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_keeps_what_was_begun():
    model = jaxem.Mixture(jaxem.Poisson(), 2)  # which takes many rounds
    params = jaxem.fit(model, X, key=jax.random.key(0), restarts=4).params
    running = []

    def interrupt(told):
        running.append(told.running)
        if told.done >= 50 and not interrupt.sent:
            interrupt.sent = True
            os.kill(os.getpid(), signal.SIGINT)

    interrupt.sent = False

    before = signal.getsignal(signal.SIGINT)
    with pytest.warns(UserWarning, match="interrupted: the samples that were begun"):
        part = jaxem.bootstrap(model, params, X, key=jax.random.key(0), replicates=150, lanes=16, progress=interrupt)
    assert 50 <= len(part.log_likelihood) < 100
    assert not np.any(np.asarray(status_name(part.status)) == "stopped")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_a_test_of_the_samples_that_are_done():
    models = jaxem.Mixture(jaxem.Poisson(), 1), jaxem.Mixture(jaxem.Poisson(), 2)
    told = []
    given = {"key": jax.random.key(0), "replicates": 130, "restarts": 2, "progress": told.append}
    test = jaxem.likelihood_ratio_test(*models, X, **given, time_limit=1e-9)
    done = len(test.replicates)
    assert 2 <= done < 43  # what was begun at once
    exceeded = int(np.sum(test.replicates >= test.statistic))
    assert test.p_value == (1 + exceeded) / (1 + done)
    assert not test.stopped
    assert told[-1].total == 130 * (3 + 3)
