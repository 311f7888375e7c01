"""What the scenarios of seconds per iteration have in common."""

from collections.abc import Callable

from benchmarks import _harness

DTYPES = ("float64", "float32")
AGREE = 1e-8  # relative difference of log-likelihoods in float64


def interleave(entries: dict[str, tuple[str, str, dict]], repetitions: int, dtypes=DTYPES):
    """Interleaved seconds per iteration: {dtype: {label: results}}, infos and missing contenders.

    `entries` maps a label to (contender, task, specification without the dtype).
    """
    results, infos, missing = {}, {}, []
    for dtype in dtypes:
        of_dtype = {
            label: (contender, task, {**spec, "dtype": dtype}) for label, (contender, task, spec) in entries.items()
        }
        results[dtype], infos[dtype], missing = _harness.interleaved(of_dtype, repetitions)
    return results, infos, missing


def measure(contenders: dict[str, dict], size: dict, repetitions: int):
    """The same of the plain mixture; `contenders` maps a name to what its specification has beyond `size`."""
    entries = {name: (name, "iterations", {"starts": 1, **size, **extra}) for name, extra in contenders.items()}
    return interleave(entries, repetitions)


def milliseconds(results: list[dict]) -> str:
    low, high = _harness.spread(results)
    return f"{1e3 * _harness.median(results):.3g} ({1e3 * low:.3g} to {1e3 * high:.3g})"


def rows(results, names: dict[str, str], base: str = "jaxem") -> list[list[str]]:
    """A row per contender; ratios are of medians, to that of `base`."""
    table = []
    for name, label in names.items():
        if any(name not in found for found in results.values()):
            continue
        row = [label]
        for dtype, found in results.items():
            row += [milliseconds(found[name]), f"{ratio(results, dtype, name, base):.2f}"]
        table.append(row)
    return table


def ratio(results, dtype: str, over: str, under: str) -> float:
    return _harness.median(results[dtype][over]) / _harness.median(results[dtype][under])


def headers(unit: str, dtypes=DTYPES, base: str = "jaxem") -> list[str]:
    return ["contender", *(cell for dtype in dtypes for cell in (f"{dtype}, {unit}", f"x {base}"))]


def agreement(infos: dict[str, dict], value: Callable[..., float], steps: int) -> str:
    """What the log-likelihoods of the parameters `found` after `steps` iterations from the same start differ by.

    Contenders that do not agree do not compute the same thing: an error.
    """
    values = {label: value(**info["found"]) for label, info in infos.items() if "found" in info}
    ours = values["jaxem"]
    apart = {label: abs(found - ours) / abs(ours) for label, found in values.items() if label != "jaxem"}
    if not all(difference <= AGREE for difference in apart.values()):
        raise RuntimeError(f"the log-likelihoods after {steps} iterations do not agree: {values}")
    each = "; ".join(f"{label} {difference:.1e}" for label, difference in apart.items())
    each = f" Relative differences: {each}." if each else ""
    return f"- log-likelihood after {steps} iterations from the start, by the same yardstick: {ours:.6f}.{each}"


def notes(infos, missing: list[str], scale: dict[str, int], results) -> list[str]:
    """How the products were laid out and how fast they ran, what a peer needed, and who is missing."""
    lines = []
    for dtype in infos:
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
