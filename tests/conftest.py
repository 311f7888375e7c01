import gc
import os
from importlib.metadata import version
from itertools import count
from pathlib import Path

# Most of the time of the suite is compilation, of small programs that run once. One thread compiles and runs each of
# them: to share such a program takes longer. XLA ends the process at a flag that it does not know, and may drop the
# last one. With `JAXEM_XLA=default` all is compiled as it is for users.
os.environ.setdefault(
    "XLA_FLAGS",
    {
        "quick": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        + " --xla_cpu_multi_thread_eigen=false"
        + " --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
        * version("jaxlib").startswith("0.10."),
        "default": "",
    }[os.environ.get("JAXEM_XLA", "quick")],
)

os.environ.setdefault("JAXEM_CACHE", "off")  # nothing is left in the folder of whoever runs the tests

import hypothesis
import jax
import pytest

from tests.helpers import slowest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("jaxem", deadline=None, max_examples=10, derandomize=True)
hypothesis.settings.load_profile("jaxem")

# Tracing makes many objects and few cycles: to look for these so often takes a tenth of the time.
gc.set_threshold(100_000, 20, 100)

_tests, _MAPS = count(1), Path("/proc/self/maps")

_SLOW = frozenset(slowest.listed())


def pytest_itemcollected(item):
    """What took long is slow as if it were marked."""
    if item.nodeid in _SLOW:
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """`JAXEM_PART=i/n` leaves every n-th test from the i-th on, for runs that have not the time for all."""
    part, parts = (int(number) for number in os.environ.get("JAXEM_PART", "0/1").split("/"))
    chosen = items[part::parts]
    config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % parts != part])
    items[:] = chosen


def pytest_runtest_teardown():
    """Forget compiled programs before the process has as many memory maps as Linux allows (65,530): each takes some."""
    if next(_tests) % 20 == 0 and _MAPS.exists():
        with _MAPS.open("rb") as maps:
            if sum(1 for _ in maps) > 45_000:
                jax.clear_caches()
