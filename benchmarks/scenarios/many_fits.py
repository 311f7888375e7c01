"""Bootstrap samples and small tables in lanes that are refilled, beside lanes that wait for the slowest."""

from benchmarks import _harness
from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "many-fits"
LABELS = {
    "jaxem": "jaxem.fit_many",
    "lockstep": "jax.vmap of jaxem.solve",
    "plain_em": "jax.vmap of EM written by hand",
    "tables": "jaxem.fit_many, small tables",
}


def run(quick: bool, repetitions: int) -> Section:
    samples, n, tables = (20, 100, 40) if quick else (200, 300, 10_000)
    spec = {"samples": samples, "n": n, "d": 2, "k": 3, "tol": 1e-9, "max_steps": 2000}
    small = {"problems": tables, "n": 200, "d": 2, "k": 3}
    entries = {
        "jaxem": ("jaxem", "bootstrap", spec),
        "lockstep": ("jaxem", "bootstrap", {**spec, "lockstep": True}),
        "plain_em": ("plain_em", "bootstrap", spec),
        "tables": ("jaxem", "many-tables", small),
    }
    results, infos, missing = it.interleave(entries, repetitions)

    def each(dtype: str, name: str, steps: str) -> float:
        found = results[dtype][name]
        return _harness.median(found) / found[0][steps] * 1e6

    rows = [
        [
            label,
            *(
                cell
                for dtype in it.DTYPES
                for cell in (
                    it.milliseconds(results[dtype][name]),
                    f"{results[dtype][name][0]['useful']:,}",
                    f"{each(dtype, name, 'useful'):.2f}",
                )
            ),
        ]
        for name, label in LABELS.items()
    ]
    claims = []
    for dtype in it.DTYPES:
        by_hand = each(dtype, "plain_em", "made")
        claims += [
            (f"vmap of solve / fit_many, {dtype}", it.ratio(results, dtype, "lockstep", "jaxem"), ">=", 2.5),
            (f"a useful step of fit_many / one by hand, {dtype}", each(dtype, "jaxem", "useful") / by_hand, "<=", 1.3),
        ]
    seconds = _harness.median(results["float64"]["tables"])
    claims.append((f"seconds for {tables:,} tables of 200 rows, float64", seconds, "<=", 60.0))
    return Section(
        NAME,
        f"{samples} bootstrap samples of {n} rows, and {tables:,} tables of 200 rows",
        "Diagonal covariances and one start (samples), full covariances and starts by k-means++ (tables); d=2, k=3. "
        f"Milliseconds for all, median of {repetitions} interleaved repetitions (least to most); iterations that were "
        "needed, and microseconds for each. By hand, a step that is made counts, needed or not, in the ratio below.",
        ["contender", *(cell for dtype in it.DTYPES for cell in (f"{dtype}, ms", "iterations", "us each"))],
        rows,
        claims,
        it.notes(infos, missing, {}, results),
    )
