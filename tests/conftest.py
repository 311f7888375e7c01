import os
from importlib.metadata import version
from itertools import count
from pathlib import Path

# Most of the time of the suite is compilation, of small programs that run once. XLA ends the process at a flag that it
# does not know, and may drop the last one.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("jaxem", deadline=None, max_examples=10, derandomize=True)
hypothesis.settings.load_profile("jaxem")

_tests, _MAPS = count(1), Path("/proc/self/maps")


def pytest_runtest_teardown():
    """Forget compiled programs before the process has as many memory maps as Linux allows (65,530): each takes some."""
    if next(_tests) % 20 == 0 and _MAPS.exists():
        with _MAPS.open("rb") as maps:
            if sum(1 for _ in maps) > 45_000:
                jax.clear_caches()
