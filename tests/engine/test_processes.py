"""What processes agree on, where there is one: several are in tests/test_processes.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxem
from jaxem.engine import mesh, processes, shared
from jaxem.engine.fingerprint import sum_of_rows
from jaxem.engine.spread import beside, explicit_mesh, is_spread, ones_beside
from jaxem.engine.weights import Span, held

KEY = jax.random.key(0)
MODEL = jaxem.GaussianMixture(2)


def table(n=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) + 3.0 * (np.arange(n) % 2)[:, None]


@pytest.mark.parametrize("values", [np.arange(3.0), np.asarray([[1, 2]], np.int64), np.asarray([True]), np.zeros(0)])
def test_what_is_gathered_is_what_was_given(values):
    found = processes.gathered(values)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[None])


def test_trees_and_rows_of_all():
    tree = {"a": np.arange(6.0).reshape(3, 2), "b": np.arange(3, dtype=np.int32)}
    (found,) = processes.gathered_trees(tree)
    joined = processes.joined_rows(tree)
    for name, leaf in tree.items():
        for other in (found[name], joined[name]):
            assert other.dtype == leaf.dtype
            np.testing.assert_array_equal(other, leaf)
    assert processes.whole(tree) is tree
    assert len(processes.joined_rows({"a": np.zeros((0, 2))})["a"]) == 0


def test_flags_texts_and_faults():
    assert processes.any_of(True, False) == (True, False)
    assert processes.texts(b"\x00a\x00") == [b"\x00a\x00"]
    assert processes.of_first(None) is None
    assert processes.of_first(b"") == b""
    assert processes.of_first(b"a\x00") == b"a\x00"
    assert processes.agreed(lambda: 3) == 3
    processes.require_alike("rows", "of two columns")

    def wrong():
        raise jaxem.DataError("data: row 3")

    with pytest.raises(jaxem.DataError, match="process 0: data: row 3"):
        processes.agreed(wrong)
    with pytest.raises(RuntimeError, match="process 0: 1"):
        processes.agreed(lambda: {}[1])


def test_own_rows_of_an_array():
    x = table()
    lies = NamedSharding(jax.make_mesh((1,), ("rows",)), PartitionSpec("rows"))
    spread = jax.device_put(x, lies)
    assert not processes.is_shared(spread)
    np.testing.assert_array_equal(processes.own_rows({"x": spread})["x"], x)
    np.testing.assert_array_equal(processes.own_numbers(spread), np.arange(40))
    assert not is_spread(spread)  # all rows lie with one device
    np.testing.assert_array_equal(beside(spread, np.arange(40.0)), np.arange(40.0))
    np.testing.assert_array_equal(ones_beside(spread, np.float32), np.ones(40, np.float32))
    assert explicit_mesh(spread) is None


def test_the_door_of_shared_rows():
    x, weights = jnp.asarray(table()), np.r_[0.0, 2.0, np.ones(38)]

    found = shared.Shared(np.asarray(x), weights, Span.of(weights), 1, 39, False)
    shared.check_fit(MODEL, found)
    with pytest.raises(jaxem.DataError, match="fewer than num_components=50"):
        shared.check_fit(jaxem.GaussianMixture(50), found)
    constant = found._replace(rows=np.where(np.arange(2) == 1, 4.0, np.asarray(x)))
    with pytest.raises(jaxem.DataError, match="column 1 is constant"):
        shared.check_fit(MODEL, constant)
    lost = np.asarray(x).copy()
    lost[0] = np.nan  # a row of weight 0 is no row
    shared.check_fit(MODEL, found._replace(rows=lost))
    lost[7] = np.nan
    with pytest.raises(jaxem.DataError, match="process 0: data: row 7"):
        shared.check_question(MODEL, found._replace(rows=lost))
    few = np.asarray([[0.0, 0.0, 5.0], [1.0, 1.0, 4.0]])  # fewer than rows at which a column is least or largest
    shared.check_fit(MODEL, shared.Shared(few, None, Span.of(np.ones(2)), 0, 2, True))
    with pytest.raises(jaxem.DataError, match="has 2 rows with positive weight, fewer than num_components=3"):
        shared.check_fit(jaxem.GaussianMixture(3), shared.Shared(few, None, Span.of(np.ones(2)), 0, 2, True))
    none = found._replace(weights=np.zeros(40))
    shared.check_question(MODEL, none)
    with pytest.raises(jaxem.DataError, match="one table in data is spread"):
        shared.look_at(x, None)


def test_spans_of_weights_together():
    weights = np.asarray([0.0, 1e-50, 3e-50])
    span = Span.around([Span.of(weights[:2]), Span.of(weights[2:])])
    assert span == Span.of(weights)
    whole, part = held(weights, np.float32), held(weights[:2], np.float32, span=span)
    assert part.unit == whole.unit
    np.testing.assert_array_equal(part.values, whole.values[:2])


def test_digests_of_parts_add_up():
    x, numbers = table(), np.arange(40)
    whole = sum_of_rows((numbers, x))
    parts = sum_of_rows((numbers[:13], x[:13])) + sum_of_rows((numbers[13:], x[13:]))
    np.testing.assert_array_equal(whole, parts)
    other = x.copy()
    other[3, 0] = np.nextafter(other[3, 0], 9)
    for changed in ((numbers, other), (numbers[::-1], x)):
        assert (sum_of_rows(changed) != whole).all()


@pytest.mark.parametrize("names", [("rows",), ("lanes",), ("rows", "lanes")])
def test_a_mesh_of_one_device(names):
    x = table()
    whole = jaxem.fit(MODEL, x, key=KEY, restarts=2, max_steps=5)
    fit = jaxem.fit(MODEL, x, key=KEY, restarts=2, max_steps=5, mesh=jax.make_mesh((1,) * len(names), names))
    np.testing.assert_allclose(fit.restarts.objective, whole.restarts.objective, rtol=1e-9)


@pytest.mark.parametrize(
    ("given", "told"),
    [("all", "jax.make_mesh"), (jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("batch",)), "'rows' and")],
)
def test_what_is_no_mesh_of_a_fit(given, told):
    with pytest.raises(jaxem.DataError, match=told):
        mesh.require_mesh(given)
    assert mesh.of_lanes(None) is None
