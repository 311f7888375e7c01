"""Programs in processes of their own, since the number of devices is set at the start, and what several begin with."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FEW = "--xla_backend_optimization_level=0"
JOINED = """
import os
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(
    os.environ["COORDINATOR"], int(os.environ["PROCESSES"]), int(os.environ["PROCESS"]), initialization_timeout=120,
    heartbeat_timeout_seconds=20,
)
"""


def environment(devices, flags=FEW):
    """That of a process that has so many devices."""
    flags = f"{flags} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAXEM_CACHE": "off"}


def run(program, devices, flags=FEW, timeout=900):
    """Runs a program, and shows the end of what it wrote where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(devices, flags),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def run_together(program, processes, devices, timeout=600):
    """Runs a program in several processes that are joined; returns the status and the output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", JOINED + program],
            cwd=ROOT,
            env=environment(devices)
            | {"COORDINATOR": coordinator, "PROCESSES": str(processes), "PROCESS": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        output = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, output, strict=True)]


PREAMBLE = r"""
import os
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
jax.config.update("jax_enable_x64", True)
import jaxem

mesh = jax.make_mesh((jax.device_count(),), ("rows",))
number, processes, key = jax.process_index(), jax.process_count(), jax.random.key(0)


def own(tree):
    return jax.tree.map(lambda leaf: np.split(np.asarray(leaf), processes)[number], tree)


def spread(tree):
    sharding = NamedSharding(mesh, PartitionSpec("rows"))
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), own(tree))


def same(a, b, tol=1e-8):
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), rtol=tol, atol=tol)


def refused(kind, call, *words):
    try:
        call()
    except kind as error:
        assert all(word in str(error) for word in words), str(error)
    else:
        raise AssertionError("nothing was raised")


rng = np.random.default_rng(0)
n = 8 * 50
x = rng.normal(size=(n, 3)) + 1.5 * rng.integers(0, 2, (n, 1))
model = jaxem.GaussianMixture(2)
"""


def together(program, processes=2, devices=4, **names):
    told = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return run_together(told + PREAMBLE + program, processes, devices)


def right(ended):
    for status, text in ended:
        assert status == 0, text[-3000:]
