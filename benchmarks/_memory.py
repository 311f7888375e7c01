"""Resident memory of this process, now and at its highest, in megabytes (10**6 bytes)."""

import sys


def _status(field: str) -> float:
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {field} in /proc/self/status")


def resident() -> float:
    if sys.platform == "linux":
        return _status("VmRSS")
    import psutil

    return psutil.Process().memory_info().rss / 1e6


def peak() -> float:
    """The high-water mark. On Linux not by getrusage, which a child process inherits from its parent."""
    if sys.platform == "linux":
        return _status("VmHWM")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
