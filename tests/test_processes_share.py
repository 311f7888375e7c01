"""Models that are chosen, and samples that are fitted, by several processes: the answer of one."""

import pytest

from tests.helpers.apart import right, together

pytestmark = pytest.mark.slow

SELECT = r"""
models = [jaxem.GaussianMixture(k) for k in (1, 2)]
weights = rng.integers(0, 3, n).astype(float)
absent = x.copy()
absent[weights == 0] = np.nan
options = dict(key=key, restarts=2, tol=1e-10)
whole = jaxem.select(models, absent, weights=weights, **options)
chosen = jaxem.select(models, spread(absent), weights=own(weights), **options)
assert chosen.index == whole.index
for one, two in zip(chosen.table, whole.table, strict=True):
    assert one["status"] == two["status"]
    same(*([row[name] for name in ("bic", "icl", "log_likelihood")] for row in (one, two)))
same(chosen.fit.params, whole.fit.params, 1e-5)
survey = [
    jaxem.select(models[:1], given, weights=w, weights_are="survey", **options)
    for given, w in ((absent, weights), (spread(absent), spread(weights)))
]
same(*(selection.table[0]["bic"] for selection in survey))

path, options = FOLDER + "/select", dict(key=key, criterion="cv", restarts=4)
names = np.array(["north", "east", "south-west"])[rng.integers(0, 3, n)]
for folds, given, place in ((2, 2, None), (names, own(names), path)):
    whole = jaxem.select(models, absent, weights=weights, folds=folds, **options)
    chosen = jaxem.select(models, spread(absent), weights=own(weights), folds=given, checkpoint=place, **options)
    np.testing.assert_array_equal(chosen.folds, whole.folds)
    assert chosen.index == whole.index and not chosen.table[1]["failed_folds"]
    for one, two in zip(chosen.table, whole.table, strict=True):
        same([one["cv"], one["cv_standard_error"]], [two["cv"], two["cv_standard_error"]], 1e-4)
rounds = []
again = jaxem.select(models, spread(absent), weights=own(weights), folds=own(names), checkpoint=path,
                     progress=lambda told: rounds.append(told.rounds) if told.running else None, **options)
assert again.table == chosen.table and not rounds  # read, not computed again
refused(jaxem.DataError, lambda: jaxem.select(models, spread(x), folds=names[:3], **options), "must be 200 values")
"""

BOOTSTRAP = r"""
params = jaxem.fit(model, x, key=key, restarts=2).params
half = x[:101]
weights = rng.integers(0, 3, n).astype(float)
for options in (
    dict(kind="nonparametric", weights=weights, restarts=1), dict(kind="weighted"), dict(kind="parametric"),
):
    common = dict(key=key, replicates=67, tol=1e-10, max_steps=200, **options)  # 67: the processes have as many but one
    one, both = (jaxem.bootstrap(model, params, x, together=together, **common) for together in (False, True))
    assert len(both.log_likelihood) == 67
    same((both.params, both.log_likelihood), (one.params, one.log_likelihood), 1e-5)
    np.testing.assert_array_equal(jaxem.status_name(both.status), jaxem.status_name(one.status))
    same(both.standard_errors, one.standard_errors, 1e-5)
few = dict(key=key, replicates=130, max_steps=20)
ended = jaxem.bootstrap(model, params, x, together=True, progress=lambda told: number == 1, **few)
assert 65 < len(ended.log_likelihood) < 130, len(ended.log_likelihood)  # all of one process, what the other had begun
tests = [
    jaxem.likelihood_ratio_test(jaxem.GaussianMixture(1), model, half, key=key, replicates=9, restarts=2, together=both)
    for both in (False, True)
]
same(tests[0].replicates, tests[1].replicates, 1e-4)
assert tests[0].p_value == tests[1].p_value
refused(jaxem.DataError, lambda: jaxem.bootstrap(model, params, spread(x), key=key), "together=True")
other = jax.random.key(number)
refused(jaxem.DataError, lambda: jaxem.bootstrap(model, params, x, key=other, together=True), "process 1 has arguments")
"""


def test_selection(tmp_path):
    right(together(SELECT, devices=1, FOLDER=str(tmp_path)))


def test_samples_that_are_shared_out():
    right(together(BOOTSTRAP, devices=2))
