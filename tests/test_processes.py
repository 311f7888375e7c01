"""Several processes, each with rows of its own: the same answer on every one, and what befalls one befalls all."""

import pytest

from tests.helpers.apart import right, together

pytestmark = pytest.mark.slow

SAME = r"""
weights = rng.integers(0, 3, n).astype(float)
absent = x.copy()
absent[weights == 0] = np.nan
options = dict(key=key, restarts=3, max_steps=20)
whole = jaxem.fit(model, absent, weights=weights, **options)
criterion = jaxem.bic(model, whole.params, absent, weights)
for given in (spread(weights), own(weights)):
    fit = jaxem.fit(model, spread(absent), weights=given, **options)
    same((fit.params, fit.restarts.objective, fit.history), (whole.params, whole.restarts.objective, whole.history))
    same(jaxem.bic(model, fit.params, spread(absent), given), criterion, 1e-10)
for ask in (model.posterior, model.predict, model.log_prob):
    answer = ask(fit.params, spread(x))
    shards = sorted(answer.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    same(np.concatenate([shard.data for shard in shards]), own(ask(fit.params, x)))
same(model.log_likelihood(fit.params, spread(x)), model.log_likelihood(fit.params, x))
labels = np.where(x[:, 0] > 3, 1, -1)
known = jaxem.fit(model, spread(x), labels=spread(labels), **options)
same(known.params, jaxem.fit(model, x, labels=labels, **options).params)
tiny = jaxem.fit(model, spread(x), weights=own(np.full(n, 1e-50)), **options)
same(tiny.params, jaxem.fit(model, x, **options).params)
"""

MODELS = r"""
from tests.helpers import product

cell = product.models()[CASE]
index = np.arange(8 * (len(cell.weights) // 8 + 1)) % len(cell.weights)
rows = jax.tree.map(lambda leaf: np.asarray(leaf)[index], cell.x)
options = dict(key=key, init=cell.start, max_steps=8)
whole = jaxem.fit(cell.model, rows, **options)
apart = jaxem.fit(cell.model, spread(rows), **options)
same(apart.params, whole.params, 1e-7)
same(apart.history, whole.history)
drawn = [jaxem.fit(cell.model, data, key=key, max_steps=3) for data in (rows, spread(rows))]
assert all(np.isfinite(fit.objective) for fit in drawn)
"""

MANY = r"""
tables = rng.normal(size=(8, 40, 2)) + 2.0 * rng.integers(0, 2, (8, 40, 1))
whole = jaxem.fit_many(model, tables, key=key, restarts=2)
for given in (jaxem.fit_many(model, spread(tables), key=key, restarts=2),):
    same((given.params, given.objective, given.restarts), (whole.params, whole.objective, whole.restarts))
    same(given.status, whole.status)
    same(np.nan_to_num(given.history), np.nan_to_num(whole.history))
weights = rng.multinomial(n, np.full(n, 1 / n), size=8).astype(float)
start = jaxem.fit(model, x, key=key).params
whole = jaxem.fit_many(model, x, weights=weights, key=key, init=start, tol=1e-12)
given = jaxem.fit_many(model, x, weights=spread(weights), key=key, init=start, tol=1e-12)
same(given.params, whole.params, 1e-4)
path, options = FOLDER + "/many", dict(key=key, restarts=2, lanes=3)
never = jaxem.fit_many(model, spread(tables), **options)
ended = jaxem.fit_many(model, spread(tables), checkpoint=jaxem.Checkpoint(path, rounds=1),
                       progress=lambda told: told.rounds >= 2 and number == 1, **options)
stopped = np.array([name == "stopped" for name in jaxem.status_name(ended.status)])
assert stopped[4:].any() and not stopped[:4].any()  # of the process that was asked to
assert os.path.exists(path) and os.path.exists(path + ".1")
again = jaxem.fit_many(model, spread(tables), checkpoint=path, **options)
for one, two in zip(jax.tree.leaves(again), jax.tree.leaves(never), strict=True):
    np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
refused(jaxem.DataError, lambda: jaxem.fit_many(model, spread(2 * tables), checkpoint=path, **options), "process 0",
        "another data")
tables[5, 3] = np.nan
refused(jaxem.DataError, lambda: jaxem.fit_many(model, spread(tables), key=key), "process 1", "not finite")
refused(jaxem.DataError, lambda: jaxem.fit_many(model, spread(x), weights=weights, key=key), "jaxem.fit takes rows")
"""

MANY_LOST = r"""
path = FOLDER + "/many"
weights = rng.random((8, n)) * rng.integers(0, 2, (8, n))  # whose sum depends on the order
options = dict(key=key, restarts=3, lanes=2, tol=1e-9)


def told(progress):
    if progress.done >= 3 and number == processes - 1:
        os._exit(9)


jaxem.fit_many(model, x, weights=spread(weights), progress=told, checkpoint=jaxem.Checkpoint(path, rounds=1), **options)
"""

MANY_GOES_ON = r"""
path = FOLDER + "/many"
weights = rng.random((8, n)) * rng.integers(0, 2, (8, n))
options = dict(key=key, restarts=3, lanes=2, tol=1e-9)
given, heard = weights if processes == 1 else spread(weights), []
wrong = weights.copy()
wrong[1, 3] += 1
refused(jaxem.DataError, lambda: jaxem.fit_many(model, x, weights=wrong if processes == 1 else spread(wrong),
                                                checkpoint=path, **options), "another weights of fit 1)")
again = jaxem.fit_many(model, x, weights=given, checkpoint=path, progress=heard.append, **options)
never = jaxem.fit_many(model, x, weights=weights, **options)
for name in ("params", "objective", "restarts"):
    same(getattr(again, name), getattr(never, name))
np.testing.assert_array_equal(again.restarts.num_steps, never.restarts.num_steps)
assert heard[0].done > 0 or number > 0, heard[0]  # not from the beginning
ended = len(heard)
jaxem.fit_many(model, x, weights=given, checkpoint=path, progress=heard.append, **options)
assert len(heard) == ended + 1 and heard[-1].done == heard[-1].total  # read, not computed again
"""

STREAM = r"""
weights = rng.integers(0, 3, n).astype(float)
rows, own_weights = own(x), own(weights)
cut = 130 if number else 60  # batches of other sizes
batches = [(rows[at : at + cut], own_weights[at : at + cut]) for at in range(0, len(rows), cut)]
options = dict(key=key, algorithm=jaxem.squarem(), max_steps=40)
start = jaxem.fit(model, x, weights=weights, key=key, max_steps=2).params
stream = jaxem.fit_stream(model, batches, init=start, together=True, **options)
whole = jaxem.fit(model, x, weights=weights, init=start, **options)
assert stream.num_steps == whole.num_steps and stream.status == whole.status
same((stream.params, stream.history), (whole.params, whole.history), 1e-10)
drawn = jaxem.fit_stream(model, batches, restarts=3, together=True, **options)  # the same starts in both
from jax.experimental import multihost_utils
same(multihost_utils.process_allgather(drawn.params.components.mean)[1 - number], drawn.params.components.mean, 0)
path = FOLDER + "/stream"
ended = jaxem.fit_stream(model, batches, init=start, together=True, checkpoint=path,
                         progress=lambda told: told.pass_number >= 9 and number == 1, **options)
assert ended.status == jaxem.Status.stopped
again = jaxem.fit_stream(model, batches, init=start, together=True, checkpoint=path, **options)
for one, two in zip(jax.tree.leaves(again.params), jax.tree.leaves(stream.params), strict=True):
    np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
rows = rows.copy()
rows[np.flatnonzero(own_weights)[0], 2] = np.nan
fault = [(rows, own_weights)] if number else batches[1:]
refused(jaxem.DataError, lambda: jaxem.fit_stream(model, fault, together=True, **options), "process 1: batch 0: data")
narrow = batches if number else [rows[:, :2]]
refused(jaxem.DataError, lambda: jaxem.fit_stream(model, narrow, together=True, **options), "process 1 has rows")


def broken():
    if number:
        raise OSError("the disk is gone")
    yield from batches


refused((OSError, RuntimeError), lambda: jaxem.fit_stream(model, broken, together=True, **options), "disk is gone")
"""

MESH = r"""
cut = 150  # the processes have other numbers of rows
rows = x[cut:] if number else x[:cut]
weights = rng.integers(0, 3, n).astype(float)
options = dict(key=key, restarts=5, max_steps=20)
start = jaxem.fit(model, x, key=key, max_steps=1).params
for given, shape, names in ((None, (8,), ("rows",)), (weights, (4, 2), ("rows", "lanes"))):
    share, mesh = None if given is None else given[cut:] if number else given[:cut], jax.make_mesh(shape, names)
    whole = jaxem.fit(model, x, weights=given, init=start, key=key)
    same(jaxem.fit(model, rows, weights=share, mesh=mesh, init=start, key=key).params, whole.params)
options |= dict(weights=share, mesh=mesh)
drawn = jaxem.fit(model, rows, **options)
assert np.isfinite(drawn.restarts.objective).all()
kept = jaxem.fit(model, rows, checkpoint=jaxem.Checkpoint(FOLDER + "/mesh", rounds=1), **options)
same((kept.params, kept.restarts.objective), (drawn.params, drawn.restarts.objective), 0)
again = jaxem.fit(model, rows, checkpoint=FOLDER + "/mesh", **options)
same(again.params, drawn.params, 0)
rows = rows.copy()
rows[2, 0] = np.nan if number else 0.0
refused(jaxem.DataError, lambda: jaxem.fit(model, rows, mesh=mesh, key=key), "process 1", "row 2")
"""

FAULTS = r"""
wrong = x.copy()
wrong[n // 2 + 7, 1] = np.inf
for call in (
    lambda: jaxem.fit(model, spread(wrong), key=key),
    lambda: model.predict(jaxem.fit(model, x, key=key, max_steps=1).params, spread(wrong)),
):
    refused(jaxem.DataError, call, "process 1", "row 7, column 1 has value inf")
constant = np.where(np.arange(3) == 1, 4.0, x)
refused(jaxem.DataError, lambda: jaxem.fit(model, spread(constant), key=key), "column 1 is constant")
constant[: n // 2, 1] = 3.0  # constant in each process, but not in both
jaxem.fit(model, spread(constant), key=key, max_steps=2)
refused(jaxem.DataError, lambda: jaxem.fit(jaxem.GaussianMixture(n + 1), spread(x), key=key), "fewer than")
refused(jaxem.DataError, lambda: jaxem.fit(model, spread(x), weights=own(np.zeros(n)), key=key), "sum to zero")
refused(jaxem.DataError, lambda: jaxem.fit(model, spread(x), weights=np.ones(n), key=key), "process 0", "one for each")
weights = np.r_[np.zeros(n // 2), np.ones(n // 2)]  # one process has no rows that count
fit = jaxem.fit(model, spread(x), weights=own(weights), key=key, max_steps=5)
same(fit.params, jaxem.fit(model, x, weights=weights, key=key, max_steps=5).params)
columns = NamedSharding(jax.make_mesh((4, 2), ("rows", "columns")), PartitionSpec("rows", "columns"))
table = jax.make_array_from_callback((n, 4), columns, lambda index: np.c_[x, x[:, 0]][index])
refused(jaxem.DataError, lambda: jaxem.fit(model, table, key=key), "spread rows over devices, not columns")
"""

STOPPED = r"""
path = FOLDER + "/checkpoint"
options = dict(key=key, restarts=3, max_steps=60)
ended = jaxem.fit(
    model, spread(x), checkpoint=jaxem.Checkpoint(path, rounds=1),
    progress=lambda told: told.rounds >= 2 and number == 1, **options,
)  # fmt: skip
assert ended.status == jaxem.Status.stopped
assert os.path.exists(path)
again = jaxem.fit(model, spread(x), checkpoint=path, **options)
never = jaxem.fit(model, spread(x), **options)
assert again.num_steps == never.num_steps and again.objective == never.objective
for one, two in zip(jax.tree.leaves(again.params), jax.tree.leaves(never.params), strict=True):
    np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
refused(jaxem.DataError, lambda: jaxem.fit(model, spread(2 * x), checkpoint=path, **options), "another data")
assert jaxem.fit(model, spread(x), time_limit=1e-3, **options).status == jaxem.Status.stopped
"""

LOST = r"""
def told(progress):
    if progress.rounds == 3 and number == 1:
        os._exit(9)


jaxem.fit(model, spread(x), key=key, restarts=3, max_steps=60, progress=told,
          checkpoint=jaxem.Checkpoint(FOLDER + "/lost", rounds=1))
print("went on alone")
"""

GOES_ON = r"""
path = FOLDER + "/lost"
assert os.path.exists(path)
steps = []
again = jaxem.fit(model, spread(x), key=key, restarts=3, max_steps=60, checkpoint=path,
                  progress=lambda told: steps.append(told.rounds))
assert steps[0] > 1, steps  # not from the beginning
never = jaxem.fit(model, spread(x), key=key, restarts=3, max_steps=60)
same((again.params, again.restarts.objective), (never.params, never.restarts.objective))
assert again.num_steps == never.num_steps
"""


def test_fit_and_questions():
    right(together(SAME))


@pytest.mark.parametrize("case", ["bernoulli", "Student t", "missing", "chain", "factors", "experts", "function"])
def test_models(case):
    right(together(MODELS, devices=2, CASE=case))


def test_many_fits(tmp_path):
    right(together(MANY, devices=2, FOLDER=str(tmp_path)))


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_many_fits_of_which_a_process_is_lost(before, after, tmp_path):
    ended = together(MANY_LOST, processes=before, devices=2, FOLDER=str(tmp_path))
    assert ended[-1][0] == 9, ended[-1][1][-3000:]
    assert all(status != 0 for status, _ in ended)
    right(together(MANY_GOES_ON, processes=after, devices=2, FOLDER=str(tmp_path)))


def test_exact_passes(tmp_path):
    right(together(STREAM, devices=1, FOLDER=str(tmp_path)))


def test_a_mesh(tmp_path):
    right(together(MESH, FOLDER=str(tmp_path)))


def test_faults_of_one_process():
    right(together(FAULTS))


def test_stop_and_go_on(tmp_path):
    right(together(STOPPED, FOLDER=str(tmp_path)))


def test_a_process_that_is_lost(tmp_path):
    ended = together(LOST, FOLDER=str(tmp_path))
    assert ended[1][0] == 9
    assert ended[0][0] != 0, ended[0][1][-3000:]
    assert "went on alone" not in ended[0][1]
    right(together(GOES_ON, processes=1, devices=8, FOLDER=str(tmp_path)))
    right(together(GOES_ON, processes=4, devices=2, FOLDER=str(tmp_path)))
