"""Standard errors, and for tables with missing cells how much of the information is missing."""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from jaxem.cli._errors import one_line
from jaxem.cli._signals import asked
from jaxem.cli.kinds._kind import Derived

_FEW, _MOST = 100, 1000  # parameters for which the rate matrix is computed in any case, and at most


class Missing(NamedTuple):
    """The worst `fraction` of missing information, or `None`, and a `note` that says what it counts, or why there
    is none; no note for a table that lacks nothing."""

    fraction: float | None
    note: str | None


def missing_information(model: Any, fit: Any, data: Any, unit: str) -> Missing:
    """The largest of `jaxem.information.rate_eigenvalues` but those of directions in which the likelihood is flat.

    The rotations of factors are such directions, and so are probabilities at 0 or 1, such as those of the first state
    of a sequence. `unit` is what the model hides besides cells.
    """
    import jaxem

    status = jaxem.status_name(fit.status)
    if status != "converged":
        return Missing(None, f"not computed: the fit ended with status {status}, and only one that converged has it")
    size = int(model.num_parameters(fit.params))
    # A parameter takes a pass over the data, or what a few steps take.
    limit = min(max(int(np.sum(fit.restarts.num_steps)), _FEW), _MOST)
    if size > limit:
        return Missing(None, f"not computed: too costly for {size} parameters (more than {limit})")
    try:
        eigenvalues = jaxem.information.rate_eigenvalues(model, fit.params, data)
    except np.linalg.LinAlgError:
        return Missing(None, "not computed: its rate matrix is not finite at these parameters")
    rotations = len(eigenvalues) - size
    flat = max(rotations, int(np.sum(eigenvalues > 1 - _rounding(fit))))
    if flat == len(eigenvalues):
        return Missing(None, "none: the likelihood is flat in all directions")
    others = flat - rotations
    left_out = f"; {others} flat direction{'s' * (others > 1)} of the likelihood left out" if others else ""
    return Missing(max(float(eigenvalues[flat]), 0.0), _hidden(model, unit) + left_out)


class Errors(NamedTuple):
    """Standard errors for `fit.json`, as text, and for the picture: lower and upper bounds by a parameter's name."""

    kept: dict[str, Any]
    shown: str
    bounds: dict[str, tuple[np.ndarray, np.ndarray]]


def errors_of(
    model: Any, fit: Any, data: Any, columns: Sequence[str], drawn: Any, note: str, derived: Mapping[str, Derived]
) -> Errors:
    """The estimates with standard errors and intervals, and those of the bootstrap beside them where it was `drawn`.

    `note` is what there is to say of the bootstrap. The picture has its bounds where there are any. What is `derived`
    has Wald's.
    """
    import jaxem

    summary = jaxem.summary(model, fit, data, columns=list(columns), bootstrap=drawn)
    table = [{name: _written(value) for name, value in row.items()} for row in summary.table]
    kept = {"level": summary.level, "why": summary.why, "table": table}
    if drawn is not None or note:
        done = 0 if drawn is None else len(drawn.log_likelihood)
        failed = 0 if drawn is None else drawn.num_failed
        kept["bootstrap"] = {"samples": done, "failed": failed, "kind": drawn and drawn.kind, "note": note}
    bounds = {}
    for own in summary.measured:
        lower, upper = own.drawn[1:] or (own.lower, own.upper)
        bounds[own.leaf.name] = lower, upper
    text = f"{summary}\n{note}".rstrip("\n")
    if derived:
        more = _derived(model, fit, data, derived, summary.level)
        kept["derived"] = {name: own.rows(columns) for name, own in more.items()}
        bounds |= {name: (own.lower, own.upper) for name, own in more.items()}
        text += "".join(f"\n\n{name.capitalize()}\n{own.written(columns)}" for name, own in more.items())
    return Errors(kept, text, bounds)


class _Told(NamedTuple):
    """Numbers that depend on the parameters, `[d, ...]`: estimates, standard errors and bounds."""

    value: np.ndarray
    error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def rows(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """A row for each number, as JSON can hold it."""
        names = ("estimate", "standard_error", "lower", "upper")
        rows = []
        for at in np.ndindex(self.value.shape):
            told = {name: _written(float(own[at])) for name, own in zip(names, self, strict=True)}
            rows.append({"column": columns[at[0]], "factor": at[1] if len(at) > 1 else None, **told})
        return rows

    def written(self, columns: Sequence[str]) -> str:
        """The same as lines of text; one line where the data determine none of them."""
        if not np.isfinite(self.error).any():
            return "  not determined: other values have the same likelihood"
        lines, wide = [], max(map(len, columns)) + 14
        for row in self.rows(columns):
            of = row["column"] + ("" if row["factor"] is None else f", factor {row['factor']}")
            known = row["standard_error"] is not None
            told = (
                f"{row['standard_error']:.3g}   {row['lower']:.3f} to {row['upper']:.3f}" if known else "not determined"
            )
            lines.append(f"  {of:{wide}}{row['estimate']:8.3f}   {told}")
        return "\n".join(lines)


def _derived(model: Any, fit: Any, data: Any, derived: Mapping[str, Derived], level: float) -> dict[str, _Told]:
    """Wald's errors and bounds of what depends on the parameters; nothing where these have none."""
    import jaxem

    try:
        info = jaxem.information.observed(model, fit.params, data)
        found = info.delta(lambda params: {name: own.scaled(params) for name, own in derived.items()})
    except (jaxem.FitError, jaxem.MissingCapabilityError):
        return {}
    wide, told = NormalDist().inv_cdf((1 + level) / 2), {}
    for name, own in derived.items():
        at, error = (np.asarray(tree[name], float) for tree in (found.value, found.standard_error))
        value = own.back(at)
        bounds = (own.back(at + sign * wide * error) for sign in (-1, 1))
        told[name] = _Told(value, error * own.slope(value), *bounds)
    return told


def bootstrapped(
    model: Any, fit: Any, data: Any, kind: str, count: int, seed: int, max_steps: int, progress: Any
) -> tuple[Any, str]:
    """So many bootstrap samples, fitted; or `None`. And what there is to say: why there are none, or fewer."""
    import jax

    import jaxem
    from jaxem.engine.stop import Stop

    stop = Stop()
    try:
        with asked(lambda: setattr(stop, "asked", True)):
            drawn = jaxem.bootstrap(
                model,
                fit.params,
                data,
                key=jax.random.fold_in(jax.random.key(seed), 1),
                replicates=count,
                kind=kind,
                max_steps=max_steps,
                progress=progress,
                time_limit=stop,  # pyright: ignore[reportArgumentType]
            )
    except (jaxem.DataError, jaxem.FitError, jaxem.MissingCapabilityError) as error:
        return None, f"no bootstrap: {one_line(error)}"
    done = len(drawn.log_likelihood)
    return drawn, f"bootstrap: interrupted after {done} of {count} samples" if done < count else ""


def _written(value: Any) -> Any:
    """As JSON can hold it: a bound that is not finite is none."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _hidden(model: Any, unit: str) -> str:
    """Only dependent columns make hidden variables of missing cells; otherwise the likelihood just goes without."""
    import jaxem

    if isinstance(model.distribution, jaxem.Incomplete):
        return f"hidden: missing cells and {unit}s"
    return f"hidden: {unit}s, while missing cells are left out"


def _rounding(fit: Any) -> float:
    """How far below 1 an eigenvalue may come out that is 1."""
    return max(1e-6, 1e4 * float(np.finfo(np.asarray(fit.objective).dtype).eps))
