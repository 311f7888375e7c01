"""The table of sizes by device, and that what cuts work up goes by it."""

import jax
import pytest

from jaxem.engine.runner import AtHand
from jaxem.kernels import chunks, devices
from jaxem.kernels import forward_backward as fb


def test_any_platform_has_sizes():
    assert devices.sizes("cpu") is devices.sizes() is devices.CPU
    assert devices.sizes("cuda") is devices.sizes("tpu") is devices.ACCELERATOR


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")


def test_chunks_rounds_and_stretches_of_time_go_by_it(elsewhere):
    assert chunks.chunk_rows(10**7, 100) == chunks.chunk_rows(10**7, 100, platform="cuda") > 2**20
    assert AtHand().few == devices.ACCELERATOR.round_steps
    assert fb.num_blocks(500, 5, 1000) > 1  # one after the other on a CPU
