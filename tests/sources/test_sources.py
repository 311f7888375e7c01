"""Batches from files: the same rows, cut in the same way, whatever they lie in."""

import builtins
import gzip
import sys
import threading
import time
from contextlib import closing

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.sources import Batches, Delimited, Parquet
from jaxem.sources._source import recut
from jaxem.sources.ahead import ahead

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(6)
X, W = RNG.poisson([[2.0, 7.0]], (53, 2)).astype(float), np.round(RNG.uniform(0, 2, 53), 3)
W[[0, 20]] = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The table as `.npy`, Parquet (in one file and in two) and text, with a column of words and one of lists."""
    found = tmp_path_factory.mktemp("files")
    np.save(found / "rows.npy", X)
    lists = arrow.FixedSizeListArray.from_arrays(arrow.array(X.ravel()), 2)
    columns = {"a": X[:, 0], "word": ["x"] * 53, "b": X[:, 1].astype(np.int32), "weight": W, "both": lists}
    table = arrow.table(columns)
    parquet.write_table(table, found / "rows.parquet", row_group_size=10)
    parquet.write_table(table[:31], found / "first.parquet", row_group_size=8)
    parquet.write_table(table[31:], found / "second.parquet")
    lines = [f"{a:g},x,{b:g},{w:g}" for (a, b), w in zip(X, W, strict=True)]
    text = "\n".join(["a,word,b,weight", *lines]) + "\n"
    (found / "rows.csv").write_text(text)
    (found / "rows.tsv").write_text(text.replace(",", "\t"))
    with gzip.open(found / "rows.csv.gz", "wt") as packed:
        packed.write(text)
    return found


def whole(stream):
    blocks = list(stream)
    weights = [w for _, w in blocks]
    together = None if weights[0] is None else np.concatenate(weights)
    return np.concatenate([x for x, _ in blocks]), together, [len(x) for x, _ in blocks]


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("rows.parquet", ["a", "b"]),
        ("rows.parquet", "both"),
        ("rows.csv", ["a", "b"]),
        ("rows.tsv", ("a", "b")),
        ("rows.csv.gz", ["a", "b"]),
    ],
)
def test_rows_and_weights_of_files(folder, file, columns):
    stream = jaxem.batches(folder / file, 12, columns=columns, weights="weight")
    for _ in range(2):
        rows, weights, lengths = whole(stream)
        np.testing.assert_array_equal(rows, X)
        np.testing.assert_array_equal(weights, W)
        assert max(lengths) <= 12
        assert len(lengths) == 5
    assert stream.total_weight is None


def test_parquet_knows_its_length_and_reads_several_files(folder):
    paths = [folder / "first.parquet", str(folder / "second.parquet")]
    stream = jaxem.batches(paths, 20, columns=["b", "a"])
    rows, weights, lengths = whole(stream)
    np.testing.assert_array_equal(rows, X[:, ::-1])
    assert weights is None
    assert (len(stream), stream.total_weight, lengths) == (3, 53.0, [17, 18, 18])


def test_row_groups_come_in_an_order_of_their_own_each_pass(folder):
    stream = jaxem.batches(folder / "rows.parquet", 20, jax.random.key(1), columns=["a", "b"])
    passes = [np.concatenate([x for x, _ in stream.blocks(number)]) for number in (0, 1)]
    for rows in passes:
        assert sorted(map(tuple, rows)) == sorted(map(tuple, X))
        assert not np.array_equal(rows, X)
    assert not np.array_equal(*passes)
    np.testing.assert_array_equal(passes[0], np.concatenate([x for x, _ in stream.blocks(0)]))


def test_a_tree_of_columns(folder):
    columns = jaxem.Responses(["a"], "b")
    for file in ("rows.parquet", "rows.csv"):
        rows, _ = next(iter(jaxem.batches(folder / file, 53, columns=columns)))
        np.testing.assert_array_equal(rows.x, X[:, :1])
        np.testing.assert_array_equal(rows.y, X[:, 1])
    rows, _ = next(iter(jaxem.batches(folder / "rows.parquet", 53, columns={"one": ["b", "a"], "other": "a"})))
    assert (rows["one"].shape, rows["other"].shape) == ((53, 2), (53,))


def test_null_is_missing(tmp_path):
    table = arrow.table({"a": [1, None, 3], "b": [True, None, False], "c": arrow.array([None] * 3)})
    parquet.write_table(table, tmp_path / "gaps.parquet")
    (tmp_path / "gaps.csv").write_text("a,b\n1,0.5\n,NaN\n3,NA\n")
    nan = np.nan
    (rows,) = (x for x, _ in jaxem.batches(tmp_path / "gaps.parquet", 9))
    np.testing.assert_array_equal(rows, [[1, 1, nan], [nan, nan, nan], [3, 0, nan]])
    (rows,) = (x for x, _ in jaxem.batches(tmp_path / "gaps.csv", 9))
    np.testing.assert_array_equal(rows, [[1, 0.5], [nan, nan], [3, nan]])


def test_an_exact_run_is_the_same_from_every_file(folder):
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    rates = jaxem.families.PoissonParams(jnp.array([[1.0, 8.0], [3.0, 6.0]]))
    options = {"key": jax.random.key(0), "init": jaxem.models.MixtureParams(jnp.full(2, 0.5), rates), "max_steps": 4}
    fits = [
        jaxem.fit_stream(model, jaxem.batches(folder / file, 20, **given), algorithm=jaxem.em(), **options)
        for file, given in (
            ("rows.npy", {"weights": W}),
            ("rows.parquet", {"columns": ["a", "b"], "weights": "weight"}),
            ("rows.csv", {"columns": ["a", "b"], "weights": "weight"}),
        )
    ]
    expected = jaxem.fit(model, X, weights=W, **options)
    chex.assert_trees_all_close(fits[0].params, expected.params, rtol=1e-12)
    for fit in fits[1:]:
        chex.assert_trees_all_close(fit.history, expected.history, rtol=1e-12)


@pytest.mark.slow
def test_text_has_no_precision_to_lose(folder):
    """Nobody chose float64 for numbers in text: no warning where JAX computes in float32."""
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    with jax.enable_x64(False):
        stream = jaxem.batches(folder / "rows.csv", 20, columns=["a", "b"])
        fit = jaxem.fit_stream(model, stream, key=jax.random.key(0), algorithm=jaxem.em(), max_steps=1)
    assert fit.params.weights.dtype == jnp.float32


def _refusals():
    yield "no column", "rows.parquet", {"columns": ["z"]}, r"has no column 'z'; it has 'a', 'word', 'b'"
    yield "no column in text", "rows.csv", {"columns": ["z"]}, r"has no column 'z'; it has 'a', 'word'"
    yield "words", "rows.parquet", {}, "column 'word' holds values of type string, not numbers"
    yield "words in text", "rows.csv", {}, "invalid value 'x'"
    yield "lists", "rows.parquet", {"columns": ["a", "both"]}, "one of them holds lists"
    yield "names", "rows.parquet", {"columns": [1]}, "columns must be names of columns"
    yield "weights", "rows.parquet", {"weights": W}, "weights must be the name of a column"
    yield "order of text", "rows.csv", {"key": jax.random.key(0)}, "in no other order"
    yield "columns of an array", "rows.npy", {"columns": ["a"]}, "names are for Parquet and text"
    yield "ending", "rows.json", {}, "of which the end says no format"


@pytest.mark.parametrize(("file", "options", "message"), [pytest.param(*a, id=n) for n, *a in _refusals()])
def test_files_that_are_refused(folder, file, options, message):
    with pytest.raises(jaxem.DataError, match=message):
        list(jaxem.batches(folder / file, 20, **options))


def test_other_files_that_are_refused(folder):
    (folder / "no.parquet").write_text("a,b\n1,2\n")
    (folder / "no.npy").write_text("a,b\n1,2\n")
    for file in ("no.parquet", "no.npy"):
        with pytest.raises(jaxem.DataError, match=file):
            jaxem.batches(folder / file, 20)
    with pytest.raises(jaxem.DataError, match="only Parquet files can be read one after the other"):
        jaxem.batches([folder / "rows.csv", folder / "rows.csv"], 20)
    with pytest.raises(FileNotFoundError):
        jaxem.batches(folder / "nowhere.npy", 20)


def test_without_pyarrow(folder, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    own = builtins.__import__

    def without(name, *args):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
        return own(name, *args)

    monkeypatch.setattr(sys, "meta_path", [_Without(), *sys.meta_path])
    monkeypatch.setattr(builtins, "__import__", without)
    for file, what in (("rows.parquet", "Parquet files are"), ("rows.csv", "tables of text are")):
        with pytest.raises(ImportError, match=rf"{what} read by pyarrow.*jaxem\[arrow\]"):
            jaxem.batches(folder / file, 20)


class _Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)


def test_kinds_are_told_by_the_end_of_a_name(folder):
    assert isinstance(jaxem.batches(folder / "rows.npy", 5), Batches)
    assert isinstance(jaxem.batches(str(folder / "rows.csv.gz"), 5), Delimited)
    assert isinstance(jaxem.batches(folder / "rows.parquet", 5), Parquet)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [1, 11], [12], [5, 5, 5], [3, 3]])
def test_pieces_are_cut_anew(sizes):
    pieces = [{"a": np.arange(3), "b": np.zeros((3, 2))}, {"a": np.arange(3, 4), "b": np.ones((1, 2))}]
    pieces += [{"a": np.arange(4, 12), "b": np.zeros((8, 2))}]
    found = list(recut(iter(pieces), sizes))
    wanted = sizes if sum(sizes) == 12 else [5, 5, 2] if sizes[0] == 5 else [3, 3, 6]
    assert [len(piece["a"]) for piece in found] == wanted
    np.testing.assert_array_equal(np.concatenate([piece["a"] for piece in found]), np.arange(12))
    assert [piece["b"].shape for piece in found] == [(n, 2) for n in wanted]


def test_reading_goes_on_while_the_caller_works():
    """One item is being worked on, one waits, one is being read: no more, however long that takes."""
    read, third = [], threading.Event()

    def source():
        for i in range(6):
            read.append(i)
            if i == 2:
                third.set()
            yield i

    with closing(ahead(source)) as items:
        assert next(items) == 0
        assert third.wait(10)
        time.sleep(0.2)
        assert read == [0, 1, 2]
        assert list(items) == [1, 2, 3, 4, 5]


def test_a_source_is_closed_where_it_was_opened():
    closed = []

    def source():
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread().name)

    with closing(ahead(source)) as items:
        next(items)
    assert closed == ["jaxem-reader"]
    assert not [thread for thread in threading.enumerate() if thread.name == "jaxem-reader"]
