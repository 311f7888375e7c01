"""Tables in Markdown, and their place in benchmarks/README.md."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

README = Path(__file__).parent / "README.md"
PACKAGES = ("jaxem", "jax", "jaxlib", "numpy", "scipy", "scikit-learn", "gmmx", "hmmlearn", "dynamax")


@dataclass
class Section:
    """One scenario's result: a table, and claims with what was measured and what is asked."""

    name: str
    title: str
    text: str
    headers: list[str]
    rows: list[list[str]]
    claims: list[tuple[str, float, str, float]] = field(default_factory=list)  # what, measured, ">=" or "<=", bound
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"### {self.title}", self.text, table(self.headers, self.rows)]
        if self.claims:
            verdicts = [
                [what, f"{value:.3g}", f"{sign} {bound:g}", "yes" if met(value, sign, bound) else "**no**"]
                for what, value, sign, bound in self.claims
            ]
            parts.append(table(["claim", "measured", "asked", "met"], verdicts))
        if self.notes:
            parts.append("\n".join(self.notes))
        return "\n\n".join(parts)


def met(value: float, sign: str, bound: float) -> bool:
    return value >= bound if sign == ">=" else value <= bound


def table(headers: list[str], rows: list[list[str]]) -> str:
    lines = [headers, ["---"] + ["---:"] * (len(headers) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def devices() -> tuple[str, list[str]]:
    """JAX's default platform and its devices, asked in another process so that this one never holds a GPU."""
    code = "import jax, json; d = jax.devices(); print(json.dumps([d[0].platform, [x.device_kind for x in d]]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return tuple(json.loads(out.splitlines()[-1]))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def provenance(command: str, backend: str, kinds: list[str]) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    hardware = f"{_processor()}, {cores} cores"
    if backend != "cpu":
        hardware += f"; {len(kinds)} x {kinds[0]}"
    versions = [f"{package} {version}" for package in PACKAGES if (version := _version(package))]
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    python = platform.python_version()
    return f"{date}. {hardware}. Python {python}, {', '.join(versions)}. Command: `{command}`"


def markers(backend: str, name: str) -> tuple[str, str]:
    return f"<!-- begin {backend} {name} -->", f"<!-- end {backend} {name} -->"


def write(backend: str, name: str, text: str, path: Path = README) -> None:
    """Replace what stands between the markers of this device and scenario, or append them."""
    begin, end = markers(backend, name)
    block = f"{begin}\n\n{text}\n\n{end}"
    whole = path.read_text() if path.exists() else ""
    if begin in whole and end in whole:
        head, rest = whole.split(begin, 1)
        whole = head + block + rest.split(end, 1)[1]
    else:
        whole = whole.rstrip() + "\n\n" + block + "\n"
    path.write_text(whole)
