"""Standard errors, a bootstrap, a test of the number of classes, a sweep: each beside what it should not outlast."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import _harness
from benchmarks._report import Section

OWN = "jaxem_inference"
DTYPES = ("float64", "float32")


def _seconds(results: list[dict], key: str = "seconds", scale: float = 1.0) -> str:
    low, high = (scale * value for value in _harness.spread(results, key))
    return f"{scale * _harness.median(results, key):.3g} ({low:.3g} to {high:.3g})"


def _notes(missing: list) -> list[str]:
    return [f"Not installed: {', '.join(sorted(set(missing)))}."] if missing else []


def standard_errors(quick: bool, repetitions: int) -> Section:
    n, d, k = (3000, 12, 3) if quick else (50_000, 16, 8)
    rows, claims, found = [], [], {}
    for dtype in DTYPES:
        spec = {"n": n, "d": d, "k": k, "tol": 1e-6, "dtype": dtype}
        entries = {name: (OWN, name, spec) for name in ("fit", "standard-errors")}
        found, _ = _harness.fresh(entries, repetitions, tuple(entries))
        labels = {"fit": "jaxem.fit to 1e-6", "standard-errors": "information.observed(...).standard_errors"}
        rows += [[f"{labels[name]}, {dtype}", _seconds(found[name], "warm"), _seconds(found[name])] for name in entries]
        for key, word in (("warm", "again"), ("seconds", "first")):
            ratio = _harness.median(found["standard-errors"], key) / _harness.median(found["fit"], key)
            claims.append((f"standard errors / fit, {dtype}, {word}", ratio, "<=", 1.0))
    first, fit = found["standard-errors"][0], found["fit"][0]
    return Section(
        "standard-errors",
        f"Standard errors of {first['parameters']} parameters",
        f"A Gaussian mixture of {k} components with full covariances, {d} columns, {n:,} rows; the fit has one start. "
        f"Seconds, median of {repetitions} fresh processes (least to most): a second time, and the first time with "
        "what it compiles.",
        ["", "again, s", "first, s"],
        rows,
        claims,
        [
            f"Steps of the fit in single precision: {fit['steps']}. The maximum is {first['decrement']:.2g} standard "
            "errors away."
        ],
    )


def _write_start(spec: dict, path: str) -> None:
    """The parameters of a fit, as a file that all contenders start from."""
    with _harness.Worker(OWN, "fit", {**spec, "dtype": "float64", "keep": True}) as worker:
        worker.wait_until_ready()
        fit = worker.repetition()
    np.savez(path, weights=fit["weights"], means=fit["means"], covariances=fit["covariances"])


def refits(quick: bool, repetitions: int) -> Section:
    n, d, k, replicates, few = (600, 3, 2, 40, 2) if quick else (5000, 16, 8, 999, 20)
    rows, claims, missing = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "start.npz")
        spec = {"n": n, "d": d, "k": k, "tol": 1e-6, "replicates": replicates, "few": few, "start": path}
        _write_start(spec, path)
        for dtype in DTYPES:
            own = {**spec, "dtype": dtype}
            entries = {name: (OWN, "refits", {**own, "algorithm": name}) for name in ("em", "squarem")}
            entries["scikit_learn"] = ("scikit_learn", "refits", own)
            found, lost = _harness.fresh(entries, repetitions, ("em", "squarem"))
            missing += lost
            for name in ("em", "squarem"):
                last, took = found[name][0], _seconds(found[name])
                at = f"{last['log_likelihood']:.1f}"
                rows.append([f"jaxem.{name}(), {dtype}", str(last["refits"]), str(last["failed"]), at, took])
            if "scikit_learn" not in found:
                continue
            peer = found["scikit_learn"]
            scale = replicates / few
            steps, at = f"{peer[0]['steps']:.0f} steps each", f"{peer[0]['log_likelihood']:.1f}"
            rows.append(
                [f"a loop over scikit-learn, {dtype}", f"{few}, scaled", steps, at, _seconds(peer, scale=scale)]
            )
            for name in ("em", "squarem"):
                ratio = scale * _harness.median(peer) / _harness.median(found[name])
                claims.append((f"scikit-learn / jaxem.{name}(), {dtype}", ratio, ">=", 20.0))
    return Section(
        "refits",
        f"{replicates} bootstrap samples of {n:,} rows",
        f"The same mixture, {k} components and {d} columns: samples of rows fitted again from the parameters of the "
        "fit, until an iteration gains less than 1e-6 a row. Seconds in fresh processes after the imports, compilation "
        f"included, median of {repetitions} (least to most).",
        ["", "refits", "failed", "median log-likelihood", f"s for {replicates}"],
        rows,
        claims,
        _notes(missing),
    )


def classes(quick: bool, repetitions: int) -> Section:
    n, d, k, replicates, restarts = (200, 5, 2, 20, 4) if quick else (2000, 20, 3, 999, 20)
    few, fewer = (1, replicates) if quick else (3, 99)
    spec = {"n": n, "d": d, "k": k, "replicates": replicates, "restarts": restarts, "tol": 1e-6, "few": few}
    entries = {dtype: (OWN, "classes", {**spec, "dtype": dtype, "race": True}) for dtype in DTYPES}
    entries["whole"] = (OWN, "classes", {**spec, "dtype": "float32", "race": False, "replicates": fewer})
    entries["stepmix"] = ("stepmix", "classes", {**spec, "dtype": "float64"})
    found, missing = _harness.fresh(entries, repetitions, DTYPES)
    rows, claims, notes = [], [], _notes(missing)
    for dtype in DTYPES:
        own, last = found[dtype], found[dtype][0]
        rows.append([f"jaxem.likelihood_ratio_test, {dtype}", _seconds(own, "warm"), _seconds(own)])
        claims.append((f"seconds, {dtype}, first", _harness.median(own), "<=", 60.0))
        claims.append((f"seconds, {dtype}, again", _harness.median(own, "warm"), "<=", 60.0))
        if "stepmix" in found:
            ratio = _harness.median(found["stepmix"]) / _harness.median(own)
            claims.append((f"StepMix / jaxem, {dtype}, first", ratio, ">=", 50.0))
        notes.append(
            f"{dtype}: statistic {last['statistic']:.4g}, p value {last['p_value']:.3g}; {last['failed']} samples "
            f"failed, {last['negative']} with a worse fit of the alternative."
        )
    whole, scale = found["whole"], replicates / fewer
    rows.append([f"every start to its end, float32, scaled from {fewer} samples", "", _seconds(whole, scale=scale)])
    notes.append(f"Every start to its end: statistic {whole[0]['statistic']:.4g}, p value {whole[0]['p_value']:.3g}.")
    if "stepmix" in found:
        rows.append([f"StepMix blrt, scaled from {few} samples", "", _seconds(found["stepmix"])])
    return Section(
        "latent-classes",
        f"{k} against {k + 1} latent classes: {replicates} samples, {restarts} starts each",
        f"{n:,} rows of {d} binary items. Both models are fitted to the data and to each sample, until an iteration "
        "gains less than 1e-6 a row; most of jaxem's starts end after 8 iterations (`racing`), but for a row that says "
        f"otherwise. Seconds, median of {repetitions} fresh processes (least to most): a second time, and the first "
        "time with what it compiles.",
        ["", "again, s", "first, s"],
        rows,
        claims,
        notes,
    )


def sweep(quick: bool, repetitions: int) -> Section:
    n, d, most, restarts = (200, 2, 3, 2) if quick else (2000, 4, 10, 10)
    rows, claims = [], []
    for dtype in DTYPES:
        spec = {"n": n, "d": d, "restarts": restarts, "tol": 1e-6, "dtype": dtype}
        entries = {
            "all": (OWN, "sweep", {**spec, "components": list(range(1, most + 1))}),
            "largest": (OWN, "sweep", {**spec, "components": [most]}),
        }
        found, _ = _harness.fresh(entries, repetitions, tuple(entries))
        labels = {"all": f"jaxem.select, 1 to {most} components", "largest": f"{most} components alone"}
        rows += [[f"{labels[name]}, {dtype}", _seconds(found[name], "warm"), _seconds(found[name])] for name in entries]
        for key, word in (("warm", "again"), ("seconds", "first")):
            ratio = _harness.median(found["all"], key) / _harness.median(found["largest"], key)
            claims.append((f"sweep / largest, {dtype}, {word}", ratio, "<=", 2.0))
    return Section(
        "sweep",
        f"1 to {most} components beside {most} alone",
        f"Gaussian mixtures with full covariances, {n:,} rows of {d} columns, {restarts} starts each, until an "
        f"iteration gains less than 1e-6 a row. Seconds, median of {repetitions} fresh processes (least to most): a "
        "second time, and the first time with what it compiles.",
        ["", "again, s", "first, s"],
        rows,
        claims,
    )


INFERENCE = {"standard-errors": standard_errors, "refits": refits, "latent-classes": classes, "sweep": sweep}
