"""What a second fit of the same shapes traces and compiles."""

from benchmarks import _harness
from benchmarks._report import Section

NAME = "retrace"


def run(quick: bool, repetitions: int) -> Section:
    n, d, k = (500, 2, 2) if quick else (5000, 8, 8)
    counts = (1, 8) if quick else (1, 64)
    rows, claims, notes = [], [], []
    for starts in counts:
        spec = {"n": n, "d": d, "k": k, "starts": starts, "dtype": "float64"}
        results, _ = _harness.fresh({"jaxem": ("jaxem", "retrace", spec)}, 1)
        (result,) = results["jaxem"]
        label = f"{starts} start{'s' if starts > 1 else ''}"
        for which in ("first", "second"):
            fit = result[which]
            cells = [str(len(fit["traces"])), str(len(fit["compilations"])), f"{fit['seconds']:.2f}"]
            rows.append([f"{label}, {which} fit", *cells])
        for what in ("traces", "compilations"):
            again = result["second"][what]
            claims.append((f"{what} in the second fit, {label}", len(again), "<=", 0))
            notes += [f"- {what} in the second fit, {label}: {', '.join(again)}."] if again else []
    return Section(
        NAME,
        "A second fit of the same shapes",
        f"jaxem.fit, n={n:,}, d={d}, k={k}; the second fit has another key, tol and max_steps. Counted by "
        "jax.monitoring.",
        ["fit", "traces", "compilations", "seconds"],
        rows,
        claims,
        notes,
    )
