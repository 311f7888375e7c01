"""What `fit.json` may hold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxem
from jaxem.cli import load_fit
from jaxem.cli._document import FORMAT
from jaxem.cli._store import dump, encode
from jaxem.cli.kinds import COVARIANCES, KINDS

K, D = 2, 3
_OPTIONS = {
    "gaussian-mixture": [{"covariance": name} for name in COVARIANCES] + [{"covariance": "full", "missing": True}],
    "student-t-mixture": [{"covariance": "tied"}],
    "hmm": [{"covariance": "diagonal"}],
    "categorical-mixture": [KINDS["categorical-mixture"].options("full", np.array([[0.0, 1.0, 2.0]]))],
}
CASES = [(name, options) for name in KINDS for options in _OPTIONS.get(name, [{}])]


def valid(rng, declaration):
    """An array as a kind declares it."""
    where, *axes = declaration.split()
    shape = tuple({"k": K, "d": D}.get(axis) or int(axis) for axis in axes)
    match where:
        case "real":
            return rng.normal(size=shape)
        case "unit":
            return rng.uniform(size=shape)
        case "positive" | "nonnegative":
            return rng.uniform(0.5, 2, size=shape)
        case "simplex":
            return rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        case "definite":
            root = rng.normal(size=shape)
            return root @ np.swapaxes(root, -1, -2) + np.eye(D)
    raise NotImplementedError(where)


def leaves(layout, path=("params",)):
    if not hasattr(layout, "_fields"):
        return {path: layout}
    found = {}
    for name in layout._fields:
        found |= leaves(getattr(layout, name), (*path, name))
    return found


def get(document, path):
    for name in path:
        document = document[name]
    return document


def put(document, path, value):
    """A copy of `document` with another value at `path`."""
    copy = json.loads(json.dumps(document))
    get(copy, path[:-1])[path[-1]] = value
    return copy


def document_of(name, options, dtype="float64"):
    """A document such as `jaxem fit` writes, without the fit."""
    kind, rng = KINDS[name], np.random.default_rng(0)
    document = {
        "format": FORMAT,
        "version": "0",
        "data": "x.csv",
        "num_rows": 90,
        "columns": ["a", "b", "c"],
        "table": {"header": True, "separator": ",", "decimal": ".", "encoding": "utf-8"},
        "missing_cells": 0,
        "model": name,
        "num_components": K,
        "covariance": options.get("covariance"),
        "options": options,
        "log_likelihood": -12.5,
        "objective": -12.5,
        "status": "converged",
        "num_steps": 7,
        "params": {},
        "restarts": {"objective": [-12.5, "nan"], "status": ["converged", "not_finite"], "num_steps": [7, 2]},
        "history": [-20.0, -13.0, "nan"],
        "bic": 30.0,
        "icl": None,
        "criterion": "bic",
        "criteria": [],
        "standardize": {"shift": [1.0, 2.0, 3.0], "scale": [1.0, 2.0, 3.0]} if kind.continuous else None,
        "dtype": dtype,
        "seed": 0,
        "tolerance": 1e-9,
        "max_steps": 50,
    }
    for path, declaration in leaves(kind.layout(options)).items():
        home = document
        for field in path[:-1]:
            home = home.setdefault(field, {})
        home[path[-1]] = encode(valid(rng, declaration).astype(dtype))
    return document


@pytest.fixture
def load(tmp_path):
    """Loads a document from a file, or the error that refuses it."""

    def call(document):
        file = tmp_path / "fit.json"
        if isinstance(document, bytes):
            file.write_bytes(document)
        else:
            file.write_text(json.dumps(document))
        return load_fit(file)

    return call


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_what_a_kind_writes_is_read(load, name, options, dtype):
    document = document_of(name, options, dtype)
    stored = load(dump(document).encode())
    assert stored.document == document
    assert stored.columns == ("a", "b", "c")
    assert encode(stored.fit.params) == document["params"]
    assert all(np.asarray(leaf).dtype == dtype for leaf in (stored.fit.objective, stored.fit.history))
    assert jaxem.status_name(stored.fit.restarts.status) == ["converged", "not_finite"]


def wrong(declaration, value):
    """Values that a declaration excludes, from one that it allows."""
    where, *axes = declaration.split()
    first = np.unravel_index(0, value.shape)

    def with_first(number):
        changed = value.tolist()
        if not axes:
            return number
        home = changed
        for i in first[:-1]:
            home = home[i]
        home[first[-1]] = number
        return changed

    yield from (with_first(number) for number in ("nan", "1.5", None, True, [1.0], {}, 10**400))
    yield from ([value.tolist()], None, "x", {}, [])
    if axes:
        yield value.tolist()[:-1]
        yield [*value.tolist(), value.tolist()[0]]
        yield value[..., None].tolist()
    if where != "real":
        yield with_first(-0.5)
    if where == "positive":
        yield with_first(0.0)
    if where == "unit":
        yield with_first(1.5)
    if where == "simplex":
        yield (4.5 * value).tolist()
        yield with_first(float(value[first]) + 1e-3)
    if where == "definite":
        yield (-value).tolist()
        yield (value - 2 * np.linalg.eigvalsh(value).max() * np.eye(D)).tolist()
        yield (value + np.triu(np.ones((D, D)), 1)).tolist()
        yield np.ones_like(value).tolist()
        yield with_first(0.0)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_parameters_that_no_model_has_are_refused_by_name(load, tmp_path, name, options):
    document = document_of(name, options)
    for path, declaration in leaves(KINDS[name].layout(options)).items():
        for value in wrong(declaration, np.asarray(get(document, path))):
            with pytest.raises(jaxem.DataError) as refusal:
                load(put(document, path, value))
            line = str(refusal.value)
            assert line.startswith(f"{tmp_path}/fit.json: is no fit of jaxem: {'.'.join(path)}: "), (value, line)
            assert "\n" not in line


def test_numbers_that_single_precision_cannot_hold_are_refused(load):
    document = document_of("poisson-mixture", {}, "float32")
    load(put(document, ("params", "components", "rate"), [[1e38] * D] * K))
    with pytest.raises(jaxem.DataError, match=r"params\.components\.rate: .* float32 cannot hold"):
        load(put(document, ("params", "components", "rate"), [[1e39] * D] * K))
    with pytest.raises(jaxem.DataError, match=r"params\.components\.rate: .*null"):
        load(put(document, ("params", "components", "rate"), [[None] * D] * K))


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("format",), [None, 2, "1", True, []]),
        (("dtype",), ["float16", "int32", "object", None, 1, ["float64"]]),
        (("model",), ["gauss", "", None, ["hmm"], {}]),
        (
            ("standard_errors",),
            [
                1,
                {},
                {"level": 0.95, "why": "", "table": [3]},
                {"level": "x", "why": "", "table": []},
                {"level": 0.95, "why": "", "table": [{"parameter": 3}]},
            ],
        ),
        (("num_components",), [0, -1, 3, 2.0, "2", None, True, 10**30]),
        (
            ("options",),
            [None, [], {}, {"covariance": "half"}, {"covariance": ["full"]}, {"covariance": "full", "x": 1}],
        ),
        (("options", "missing"), [1.5, "yes", None]),
        (("covariance",), ["tied", None, 1]),
        (("columns",), [[], ["a"], ["a", "a", "b"], ["a", "b", 1], "abc", None, {"a": 1}]),
        (("params",), [None, [], {}, 1]),
        (("params", "weights_"), [[0.5, 0.5]]),
        (("log_likelihood",), ["nan", None, "x", [1.0], True]),
        (("objective",), ["inf", {}]),
        (("status",), ["fine", None, ["converged"], 1]),
        (("num_steps",), [-1, 1.5, None, 2**40, [1]]),
        (("history",), [None, 1.0, [[1.0]], [None], ["x"]]),
        (("restarts",), [None, [], {}]),
        (("restarts", "objective"), [[1.0], "nan", [None, 1.0], [1.0, [1.0]]]),
        (("restarts", "status"), [["converged"], ["converged", "fine"], "converged", [1, 2]]),
        (("restarts", "num_steps"), [[1], [1, -1], [1, "2"]]),
        (("standardize",), [[], 1, {}, {"shift": [0.0] * D}, {"shift": [0.0] * D, "scale": [1.0, 0.0, 1.0]}]),
        (("standardize", "scale"), [[1.0, -1.0, 1.0], [1.0], "nan", [1.0, 1.0, "inf"]]),
        (("num_rows",), [0, "90", None]),
        (("version",), [1, None]),
        (("seed",), [-1, 0.5]),
        (("criteria",), [1, [1]]),
    ],
)
def test_fields_that_no_fit_has_are_refused_by_name(load, path, values):
    document = document_of("gaussian-mixture", {"covariance": "full"})
    for value in values:
        with pytest.raises(jaxem.DataError, match=f"is no fit of jaxem: ({path[0]}|params|covariance)"):
            load(put(document, path, value))


def test_missing_fields_are_named(load):
    document = document_of("hmm", {"covariance": "full"})
    for field in ("format", "model", "params", "restarts", "dtype", "columns", "standardize"):
        with pytest.raises(jaxem.DataError, match=f"{field}: is"):
            load({name: value for name, value in document.items() if name != field})
    for field in ("initial", "transition", "emission"):
        fewer = {name: value for name, value in document["params"].items() if name != field}
        with pytest.raises(jaxem.DataError, match=rf"params\.{field}: is missing"):
            load({**document, "params": fewer})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"text"',
        b"\xff\xfe\x00",
        b"\x00" * 1000,
        b"[" * 100_000,
        b'{"format":' * 100_000,
        b'{"format": 1, "format": 1}',
        b'{"format": NaN}',
        b'{"format": ' + b"9" * 10_000 + b"}",
        b"9" * 10_000_000,
    ],
    ids=range(15),
)
def test_files_that_are_no_documents_are_refused(load, content):
    with pytest.raises(jaxem.DataError) as refusal:
        load(content)
    assert "fit.json: is no fit of jaxem" in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_a_file_that_was_cut_short_is_refused(load):
    content = dump(document_of("ppca", {})).encode()
    for length in range(0, len(content) - 2, 97):
        with pytest.raises(jaxem.DataError):
            load(content[:length])


def test_folders_and_names_that_are_no_files(tmp_path):
    (tmp_path / "fit.json").mkdir()
    for path in (tmp_path, tmp_path / "fit.json", tmp_path / "nothing", "", "\0", tmp_path / ("n" * 300)):
        with pytest.raises(jaxem.DataError):
            load_fit(path)


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


DOCUMENTS = [document_of(*case, dtype) for case in CASES for dtype in ("float64", "float32")]
# What predictions are made from.
_SUBSTANCE = {"params", "options", "model", "dtype", "num_components", "columns", "standardize", "covariance"}


@settings(max_examples=300)
@given(st.data())
def test_no_edit_of_a_file_ends_in_anything_but_a_refusal_or_the_same_fit(tmp_path_factory, data):
    document = data.draw(st.sampled_from(DOCUMENTS), "document")
    path = data.draw(st.sampled_from(list(paths(document))[1:]), "path")
    values = [
        None,
        True,
        -1,
        0,
        3,
        1e308,
        -1e308,
        1e-320,
        10**400,
        0.5,
        "nan",
        "inf",
        "",
        "x",
        [],
        {},
        [[]],
        [0.5, 0.5],
    ]
    edited = json.loads(json.dumps(document))
    home = get(edited, path[:-1])
    match data.draw(st.sampled_from(["replace", "delete", "wrap", "twice", "cut"]), "edit"):
        case "replace":
            home[path[-1]] = data.draw(st.sampled_from(values), "value")
        case "delete":
            del home[path[-1]]
        case "wrap":
            home[path[-1]] = [home[path[-1]]]
        case "twice":
            if isinstance(home, list):
                home.append(home[path[-1]])
            else:
                home[path[-1] + "_"] = home[path[-1]]
        case "cut":
            path = ("params",)
    content = json.dumps(edited).encode()
    if path == ("params",):
        start = data.draw(st.integers(0, len(content)), "start")
        content = content[:start] + data.draw(st.binary(max_size=3), "bytes") + content[start + 1 :]
    file = tmp_path_factory.mktemp("fuzz") / "fit.json"
    file.write_bytes(content)
    try:
        stored = load_fit(file)
    except jaxem.DataError:
        return
    for leaf in (stored.fit.objective, stored.fit.log_likelihood, stored.shift, stored.scale):
        assert np.isfinite(leaf).all()
    if path[0] not in _SUBSTANCE:
        file.write_text(json.dumps(document))
        before = load_fit(file)
        assert repr(stored.model) == repr(before.model)
        assert encode(stored.fit.params) == encode(before.fit.params)
        assert stored.columns == before.columns


@pytest.mark.parametrize("command", [("predict", "fit.json", "x.npy"), ("sample", "fit.json")])
def test_an_edited_file_is_refused_on_one_line(refused, tmp_path, command):
    np.save("x.npy", np.zeros((4, D)))
    document = document_of("gaussian-mixture", {"covariance": "full"})
    for path, value, words in [
        (("params", "weights"), [4.5, 4.5], "params.weights: holds probabilities that sum to 9"),
        (("params", "components", "mean"), [["nan"] * D] * K, "params.components.mean: holds 'nan'"),
        (
            ("params", "components", "covariance"),
            [np.diag([1.0, 1.0, -1.0]).tolist()] * K,
            "params.components.covariance",
        ),
        (("columns",), ["a\x1b[31m", "b"], "params.components.mean: has 3 entries where 2 belong"),
    ]:
        (tmp_path / "fit.json").write_text(json.dumps(put(document, path, value)))
        line = refused(*command)
        assert line.startswith(f"jaxem: error: fit.json: is no fit of jaxem: {words}")
