"""A fit as a JSON file, and back, to the last bit."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxem.cli._document import FORMAT as FORMAT
from jaxem.cli._document import Wrong, array, parameters, parse
from jaxem.cli._errors import CommandError, one_line
from jaxem.cli._output import recover
from jaxem.cli.kinds import KINDS, Kind


class Stored(NamedTuple):
    """What `fit.json` holds.

    - `model`: the specification, ready for `model.log_prob(fit.params, x)`.
    - `fit`: the `jaxem.Fit`; its arrays are NumPy arrays of the precision in which they were computed.
    - `columns`: names of the columns that it was fitted to.
    - `shift`, `scale`: the parameters belong to `(x - shift) / scale`; zeros and ones unless `--standardize` was given.
    - `document`: everything in the file.
    """

    model: Any
    fit: Any
    columns: tuple[str, ...]
    shift: np.ndarray
    scale: np.ndarray
    document: dict[str, Any]

    @property
    def kind(self) -> Kind:
        """The entry of `jaxem.cli.kinds` that the model belongs to."""
        return KINDS[self.document["model"]]

    def model_for(self, x: np.ndarray) -> Any:
        """`model` as it takes the rows `x [n, d]`, which may have missing cells where those of the fit had none."""
        options = self.kind.options_for(x, self.document["options"])
        return self.kind.build(self.document["num_components"], **options)


def encode_fit(fit: Any) -> dict[str, Any]:
    """The part of the document that says all that a `jaxem.Fit` holds."""
    import jaxem

    return {
        "log_likelihood": encode(fit.log_likelihood),
        "objective": encode(fit.objective),
        "status": jaxem.status_name(fit.status),
        "num_steps": int(fit.num_steps),
        "params": encode(fit.params),
        "restarts": {
            "objective": encode(fit.restarts.objective),
            "status": jaxem.status_name(fit.restarts.status),
            "num_steps": encode(fit.restarts.num_steps),
        },
        "history": encode(fit.history),
    }


def dump(document: dict[str, Any]) -> str:
    """JSON with one key on a line and arrays of numbers kept together."""
    return _dump(document, "") + "\n"


def load_fit(path: str | Path) -> Stored:
    """Read the fit that `jaxem fit` wrote to `fit.json`.

    **Arguments:**

    - `path`: the file, or the folder that holds it.

    **Returns:** a `Stored`. A float64 fit keeps its last bits in NumPy; give it to JAX under `jax.enable_x64`.

    **Raises:** `jaxem.DataError`, which names the file and the field, if it is no such file or holds what no fit can
    hold: parameters of another shape or not finite, probabilities that do not sum to 1, covariances that are not
    positive definite, and so on.

    **Example**

    >>> import tempfile
    >>> from jaxem.cli import load_fit, main
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     code = main(["fit", "--components", "1", "--restarts", "1", "--quiet", "--out", folder])
    ...     stored = load_fit(folder)
    >>> stored.columns, round(float(stored.fit.log_likelihood), 3)
    (('eruptions', 'waiting'), -1289.797)
    """
    file = Path(path)
    try:
        recover(file.parent if file.name == "fit.json" else file)
        if file.is_dir():
            file = file / "fit.json"
        if not file.exists():
            raise CommandError(f"{file}: no such file")
        return _restore(parse(file.read_text(encoding="utf-8")))
    except Wrong as error:
        raise CommandError(f"{file}: is no fit of jaxem: {error}") from error
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror or one_line(error)}") from error
    except RecursionError as error:
        raise CommandError(f"{file}: is no fit of jaxem: it is nested too deeply") from error
    except MemoryError as error:
        raise CommandError(f"{file}: is no fit of jaxem: it is too large for the memory") from error
    except ValueError as error:
        if isinstance(error, CommandError):
            raise
        raise CommandError(f"{file}: is no fit of jaxem: {one_line(error)}") from error


def _restore(document: dict[str, Any]) -> Stored:
    import jaxem

    dtype, integer = np.dtype(document["dtype"]), np.dtype(np.int32)
    kind, options, restarts = KINDS[document["model"]], document["options"], document["restarts"]
    columns = tuple(document["columns"])
    sizes = {"k": document["num_components"], "d": len(columns)}
    try:
        layout = kind.layout(options)
        params = parameters(layout, document["params"], sizes, dtype)
        model = kind.build(document["num_components"], **options)
    except CommandError:
        raise
    except KeyError as error:
        raise Wrong("options", f"{error} is missing or unknown") from error
    except (TypeError, ValueError) as error:
        raise Wrong("options", f"cannot be those of a {document['model']}: {one_line(error)}") from error
    fit = jaxem.Fit(
        params=params,
        log_likelihood=array("log_likelihood", document["log_likelihood"], (), dtype),
        objective=array("objective", document["objective"], (), dtype),
        status=_status(document["status"]),
        num_steps=array("num_steps", document["num_steps"], (), integer),
        history=array("history", document["history"], (None,), dtype, spelled=True),
        restarts=jaxem.record.Restarts(
            objective=array("restarts.objective", restarts["objective"], (None,), dtype, spelled=True),
            status=_status(restarts["status"]),
            num_steps=array("restarts.num_steps", restarts["num_steps"], (None,), integer),
        ),
    )
    shift, scale = np.zeros(len(columns)), np.ones(len(columns))
    if document["standardize"] is not None:
        units = document["standardize"]
        for name in ("shift", "scale"):
            if name not in units:
                raise Wrong(f"standardize.{name}", "is missing")
        shift = array("standardize.shift", units["shift"], (len(columns),), np.float64)
        scale = array("standardize.scale", units["scale"], (len(columns),), np.float64)
        if not (scale > 0).all():
            raise Wrong("standardize.scale", "holds a scale that is not positive")
    return Stored(model=model, fit=fit, columns=columns, shift=shift, scale=scale, document=document)


def encode(tree: Any) -> Any:
    """Named tuples and dicts as dicts, arrays as nested lists of Python numbers, which JSON prints exactly."""
    if hasattr(tree, "_asdict"):
        return {name: encode(value) for name, value in tree._asdict().items()}
    if isinstance(tree, dict):
        return {name: encode(value) for name, value in tree.items()}
    return _spell(np.asarray(tree).tolist())


def _spell(value: Any) -> Any:
    """JSON has no number for what is not finite: "nan", "inf" and "-inf" stand for it, as `float` reads them."""
    if isinstance(value, list):
        return [_spell(item) for item in value]
    return value if np.isfinite(value) else str(value)


def _status(names: Any) -> Any:
    import jaxem
    from jaxem._status import status_code, status_from_code

    if isinstance(names, str):
        return getattr(jaxem.Status, names)
    codes = [int(status_code(getattr(jaxem.Status, name))) for name in names]
    return status_from_code(np.asarray(codes, np.int32))


def _dump(value: Any, indent: str) -> str:
    if isinstance(value, dict) and value:
        inner = indent + "  "
        items = ",\n".join(f"{inner}{json.dumps(name)}: {_dump(item, inner)}" for name, item in value.items())
        return "{\n" + items + "\n" + indent + "}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        inner = indent + "  "
        return "[\n" + ",\n".join(inner + json.dumps(item, allow_nan=False) for item in value) + "\n" + indent + "]"
    return json.dumps(value, allow_nan=False)
