"""One contender in a process of its own, driven by lines of JSON.

``python -m benchmarks._worker CONTENDER TASK SPEC``: writes one line when it is ready, then one line per line read.
"""

import importlib
import json
import os
import sys


def main() -> None:
    # Replies keep the real standard output; whatever a library prints goes to standard error.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(message: dict) -> None:
        replies.write(json.dumps(message) + "\n")

    contender, task, spec = sys.argv[1:4]
    try:
        module = importlib.import_module(f"benchmarks.contenders.{contender}")
    except ModuleNotFoundError as error:
        reply({"missing": error.name})
        return
    job = module.TASKS[task](json.loads(spec))
    reply({"ready": True, "info": getattr(job, "info", {})})
    for _ in sys.stdin:
        reply(job.repetition())


if __name__ == "__main__":
    main()
