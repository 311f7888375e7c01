"""Runs contenders in processes of their own and interleaves their repetitions."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 1800  # seconds that a contender may take for one answer
INTERPRETERS: dict[str, str] = {}  # of contenders that have an environment of their own


class Missing(Exception):
    """A contender that is not installed."""


def environment(dtype: str, root: Path = ROOT) -> dict[str, str]:
    """The worker's environment: the precision of its process, no compilation cache, no grab of a whole GPU.

    The package, and the contender, are those of the checkout at `root`.

    Python's own cache of bytecode is allowed: an installed package has it.
    """
    kept_out = "JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE"
    env = {name: value for name, value in os.environ.items() if name not in kept_out}
    env["JAX_ENABLE_X64"] = "1" if dtype == "float64" else "0"
    env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return env


class Worker:
    """A started contender. ``seconds_to_first`` is from the start of the process to its first result.

    A specification may name, as its `checkout`, another copy of the repository to take the contender from.
    """

    def __init__(self, contender: str, task: str, spec: dict):
        self.contender, self.task = contender, task
        self.started = time.perf_counter()
        self.seconds_to_first: float | None = None
        self.process = subprocess.Popen(
            [
                INTERPRETERS.get(contender, sys.executable),
                "-m",
                "benchmarks._worker",
                contender,
                task,
                json.dumps(spec),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=spec.get("checkout", ROOT),
            env=environment(spec["dtype"], spec.get("checkout", ROOT)),
        )
        self.info: dict[str, Any] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _read(self) -> dict:
        alarm = threading.Timer(PATIENCE, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        overdue = not alarm.is_alive()
        alarm.cancel()
        if not line:
            code = self.process.wait()
            reason = f"gave no answer in {PATIENCE} s" if overdue else f"died with exit code {code}; see above"
            raise RuntimeError(f"contender {self.contender} ({self.task}) {reason}")
        message = json.loads(line)
        if "missing" in message:
            raise Missing(f"{self.contender} (no module {message['missing']})")
        return message

    def wait_until_ready(self) -> None:
        self.info = self._read()["info"]

    def repetition(self) -> dict:
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        result = self._read()
        if self.seconds_to_first is None:
            self.seconds_to_first = time.perf_counter() - self.started
        return result


def interleaved(
    entries: dict[str, tuple[str, str, dict]], repetitions: int
) -> tuple[dict[str, list[dict]], dict, list]:
    """Warm processes for all entries, then round after round one repetition of each.

    `entries` maps a label to (contender, task, spec). Returns the results by label, what each contender said of
    itself, and the names of the missing.
    """
    workers: dict[str, Worker] = {}
    missing: list[str] = []
    results: dict[str, list[dict]] = {}
    try:
        for label, entry in entries.items():
            worker = workers[label] = Worker(*entry)
            try:
                worker.wait_until_ready()
                results[label] = []
            except Missing as error:
                missing.append(str(error))
                workers.pop(label).__exit__()
        labels = list(workers)
        for round_ in range(repetitions):
            turn = round_ % len(labels)
            for label in labels[turn:] + labels[:turn]:
                results[label].append(workers[label].repetition())
    finally:
        for worker in workers.values():
            worker.__exit__()
    return results, {label: worker.info for label, worker in workers.items()}, missing


def fresh(
    entries: dict[str, tuple[str, str, dict]], repetitions: int, again: tuple[str, ...] = ()
) -> tuple[dict[str, list[dict]], list]:
    """One fresh process for each repetition of each entry, round after round.

    Every result gains `wall`, the seconds from the start of the process to its result, imports and compilation
    included. Labels in `again` do the work a second time in the same process: `warm` is that result's `seconds`.
    """
    results: dict[str, list[dict]] = {label: [] for label in entries}
    missing: list[str] = []
    for entry in entries.values():  # imports, so that everyone finds his bytecode
        with Worker(*entry) as worker, contextlib.suppress(Missing):
            worker.wait_until_ready()
    for _ in range(repetitions):
        for label, entry in entries.items():
            if label not in results:
                continue
            with Worker(*entry) as worker:
                try:
                    worker.wait_until_ready()
                except Missing as error:
                    missing.append(str(error))
                    del results[label]
                    continue
                result = worker.repetition()
                result["wall"] = worker.seconds_to_first
                result["info"] = worker.info
                if label in again:
                    result["warm"] = worker.repetition()["seconds"]
                results[label].append(result)
    return results, missing


def median(results: list[dict], key: str = "seconds") -> float:
    return statistics.median(result[key] for result in results)


def spread(results: list[dict], key: str = "seconds") -> tuple[float, float]:
    values = [result[key] for result in results]
    return min(values), max(values)
