"""What the scenarios of seconds per iteration have in common."""

from benchmarks import _harness

DTYPES = ("float64", "float32")


def measure(contenders: dict[str, dict], size: dict, repetitions: int):
    """Interleaved seconds per iteration: {dtype: {contender: results}}, infos and missing contenders.

    `contenders` maps a name to what its specification has beyond `size`.
    """
    results, infos, missing = {}, {}, []
    for dtype in DTYPES:
        entries = {
            name: (name, "iterations", {"starts": 1, **size, **extra, "dtype": dtype})
            for name, extra in contenders.items()
        }
        results[dtype], infos[dtype], missing = _harness.interleaved(entries, repetitions)
    return results, infos, missing


def milliseconds(results: list[dict]) -> str:
    low, high = _harness.spread(results)
    return f"{1e3 * _harness.median(results):.3g} ({1e3 * low:.3g} to {1e3 * high:.3g})"


def rows(results, names: dict[str, str]) -> list[list[str]]:
    """A row per contender; ratios are of medians, to the package's own."""
    table = []
    for name, label in names.items():
        if name not in results[DTYPES[0]]:
            continue
        row = [label]
        for dtype in DTYPES:
            ours = _harness.median(results[dtype]["jaxem"])
            row += [milliseconds(results[dtype][name]), f"{_harness.median(results[dtype][name]) / ours:.2f}"]
        table.append(row)
    return table


def ratio(results, dtype: str, over: str, under: str) -> float:
    return _harness.median(results[dtype][over]) / _harness.median(results[dtype][under])


def headers(unit: str) -> list[str]:
    return ["contender", f"float64, {unit}", "x jaxem", f"float32, {unit}", "x jaxem"]


def notes(infos, missing: list[str], scale: dict[str, int], results) -> list[str]:
    """How the products were laid out and how fast they ran, what a peer needed, and who is missing."""
    lines = []
    for dtype in DTYPES:
        for name, info in infos[dtype].items():
            line = f"{name} in {dtype}: {info['note']}" if "note" in info else ""
            if "flops" in info:
                seconds = _harness.median(results[dtype][name]) * scale.get(name, 1)
                ours = _harness.median(results[dtype]["jaxem"]) * scale.get("jaxem", 1)
                rate, share = info["flops"] / seconds / 1e9, seconds / ours
                line += f"; {rate:.0f} GFLOP/s; jaxem reaches {100 * share:.0f}% of that rate"
            if line:
                lines.append(f"- {line}.")
    lines += [f"- not installed: {name}." for name in missing]
    return ["\n".join(lines)] if lines else []
