"""`jaxem test`."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from jaxem._text import plain
from jaxem.cli._errors import CommandError, reported
from jaxem.cli._fit import algorithm_for, read_for
from jaxem.cli._output import staged_file
from jaxem.cli._precision import precision
from jaxem.cli._progress import progress_bar
from jaxem.cli._request import LARGEST, FitRequest
from jaxem.cli._signals import asked
from jaxem.cli._version import version
from jaxem.cli.kinds import COVARIANCES, KINDS

METHODS = ("bootstrap", "wilks")


@dataclasses.dataclass(frozen=True)
class RatioRequest:
    """The options of `jaxem test`: a request for each of the models, which have all else in common."""

    null: FitRequest
    alternative: FitRequest
    method: str
    samples: int
    stop_after: int | None
    time_limit: float | None
    out: Path | None

    def __post_init__(self):
        if self.method not in METHODS:
            raise CommandError(f"--method {self.method}: use one of {', '.join(METHODS)}")
        for option, value, high in (("samples", self.samples, LARGEST), ("stop-after", self.stop_after, self.samples)):
            if value is not None and not 1 <= value <= high:
                raise CommandError(f"--{option} {value}: must be at least 1 and at most {high}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise CommandError(f"--time-limit {self.time_limit}: must be a positive number of seconds")
        if self.out is not None and self.out.suffix.lower() != ".json":
            raise CommandError(f"--out {self.out}: must end in .json")
        if KINDS[self.null.model].data is not KINDS[self.alternative.model].data:
            raise CommandError(
                f"--alternative {self.alternative.model}: rows are steps of a sequence for one of the models, and rows "
                "for the other"
            )
        for option in ("null", "alternative"):
            if len(getattr(self, option).counts(None)) > 1:
                raise CommandError(f"--{option}: is one model, not a range of numbers of components")


def spelled(option: str, text: str, model: str, covariance: str) -> dict[str, str]:
    """A model such as `3`, `poisson-mixture:2` or `gaussian-mixture:2:tied`; what is not said is given."""
    found: dict[str, str] = {"model": model, "covariance": covariance}
    for part in map(str.strip, text.split(":")):
        kinds = {"model": part in KINDS, "covariance": part in COVARIANCES, "components": part.isdecimal()}
        name = next((name for name, fits in kinds.items() if fits), None)
        if name is None:
            known = f"a number of components, a model ({', '.join(KINDS)}) or a structure ({', '.join(COVARIANCES)})"
            raise CommandError(f"--{option} {text}: {part!r} is none of {known}")
        found[name] = part
    if "components" not in found:
        raise CommandError(f"--{option} {text}: say how many components, such as {found['model']}:2")
    return found


def run_test(request: RatioRequest) -> None:
    """Fit both, to the table and to samples, and say how likely so large a ratio is."""
    null = request.null
    pair = (null, request.alternative)
    table = read_for(null, all(KINDS[own.model].missing is not None for own in pair))
    with precision(null.dtype), reported():
        models = [_model(own, table.values) for own in pair]
        with progress_bar(null.quiet, unit="fits") as track:
            test, told = _tested(request, models, table.values, track("likelihood ratio"))
    document = _document(request, table, test)
    if request.out is not None:
        with staged_file(request.out) as stage:
            stage.write_text(json.dumps(document, indent=2), encoding="utf-8")
    if not null.quiet:
        table.tell("note")
        _report(Console(), document, told)


def _model(own: FitRequest, x: np.ndarray) -> Any:
    kind = KINDS[own.model]
    options = kind.options_for(x, kind.options(own.covariance, x))
    return kind.build(own.counts(*x.shape)[0], **options)


def _tested(request: RatioRequest, models: list[Any], x: np.ndarray, progress: Any) -> tuple[Any, list[str]]:
    """The test, and what warnings said of it."""
    import jax

    import jaxem
    from jaxem.engine.stop import Stop

    null, stop = request.null, Stop(request.time_limit)
    with warnings.catch_warnings(record=True) as caught, asked(lambda: setattr(stop, "asked", True)):
        warnings.simplefilter("always", jaxem.resampling.LocalOptimumWarning)
        # The data are given in full precision, so that `fit` can tell whether float32 is able to hold them.
        warnings.simplefilter("ignore", jaxem.PrecisionWarning)
        test = jaxem.likelihood_ratio_test(
            models[0],
            models[1],
            KINDS[null.model].data(x.astype(null.dtype)),
            key=jax.random.key(null.seed),
            method=request.method,
            replicates=request.samples,
            restarts=null.restarts,
            stop_after=request.stop_after,
            algorithm=algorithm_for(models)["algorithm"],
            tol=null.tolerance,
            max_steps=null.max_steps,
            progress=progress,
            time_limit=stop,  # pyright: ignore[reportArgumentType]
        )
    return test, [str(one.message) for one in caught]


def _document(request: RatioRequest, table: Any, test: Any) -> dict[str, Any]:
    import jaxem

    sides = (("null", request.null, test.null), ("alternative", request.alternative, test.alternative))
    found = {
        name: {
            "model": own.model,
            "num_components": own.counts(None)[0],
            "covariance": own.covariance if KINDS[own.model].options(own.covariance, table.values) else None,
            "log_likelihood": float(fit.log_likelihood),
            "status": jaxem.status_name(fit.status),
        }
        for name, own, fit in sides
    }
    whole = request.method == "wilks" or test.stopped or len(test.replicates) >= request.samples
    return {
        "version": version(),
        "data": table.name,
        "num_rows": len(table.values),
        "columns": list(table.columns),
        **found,
        "method": test.method,
        "statistic": test.statistic,
        "degrees_of_freedom": test.degrees_of_freedom,
        "p_value": test.p_value,
        "p_value_error": test.p_value_error,
        "samples": [value if np.isfinite(value) else None for value in test.replicates.tolist()],
        "num_failed": test.num_failed,
        "num_negative": test.num_negative,
        "stopped": test.stopped,
        "whole": whole,
        "seed": request.null.seed,
    }


def _report(console: Console, document: dict[str, Any], told: list[str]) -> None:
    console.print(Text(plain(document["data"]), "bold"), soft_wrap=True)
    for name in ("null", "alternative"):
        own = document[name]
        kind = KINDS[own["model"]]
        k = own["num_components"]
        shape = f", {own['covariance']} covariance" if own["covariance"] else ""
        what = f"{kind.title}, {k} {kind.unit}{'s' * (k > 1)}{shape}"
        status = "" if own["status"] == "converged" else f" ({own['status'].replace('_', ' ')})"
        console.print(f"{name:<12} {what}: log-likelihood {own['log_likelihood']:.4f}{status}", soft_wrap=True)
    console.print(
        f"\nTwice the difference: [bold]{document['statistic']:.4f}[/], "
        f"{document['degrees_of_freedom']} parameters more.",
        soft_wrap=True,
    )
    if document["method"] == "wilks":
        console.print(f"p value [bold]{document['p_value']:.4g}[/], by chi-square.")
    else:
        done = len(document["samples"])
        error = f" ± {document['p_value_error']:.2g}"
        console.print(f"p value [bold]{document['p_value']:.4g}[/]{error}, from {done} samples of the first model.")
    if not document["whole"]:
        told = [*told, "ended early: the p value is that of the samples that were done"]
    if document["num_failed"]:
        told = [*told, f"{document['num_failed']} samples had a fit that did not converge"]
    if document["num_negative"]:
        told = [*told, f"{document['num_negative']} samples had a local optimum: raise --restarts"]
    for line in told:
        console.print(Text("Careful: ", "yellow") + Text(plain(line)), soft_wrap=True)
