"""How work is cut up, by kind of device: the one place of what has been measured on some and is a guess on others."""

from typing import NamedTuple

import jax


class Sizes(NamedTuple):
    """What fits and what pays on a kind of device.

    - `floats`, `expanded`: numbers of a chunk of rows, all that it holds and what matrix products read again.
    - `alone`: the latter of a run that has all cores to itself.
    - `least`, `most`: rows of a chunk.
    - `lanes`, `groups`: runs side by side in a group, and groups at most, each with a thread of the host.
    - `apart`: bytes of the tables of a group of lanes, each of which has its own.
    - `idle`: products of a step of all chains below which the device idles, and stretches of time pay.
    - `round_steps`, `long_round`: iterations of a round, after which the host looks at the lanes; at most, and where
        they take less time than that look.
    """

    floats: int
    expanded: int
    alone: int
    least: int
    most: int
    lanes: int
    groups: int
    apart: int
    idle: int
    round_steps: int
    long_round: int


# A chunk lives in the last-level cache, and what is expanded in the second-level cache of a core, beside what its
# products make of it. At 16 to 64 columns that took 0.5 to 0.9 of the time of as many rows as the last-level cache
# holds (Xeon, 2 MB for each core). XLA spreads a large product over cores: with eight times as many rows
# one run alone took 0.7 to 0.8 of the time at 16 to 128 columns, and several runs 1.1 (EPYC, 1 MB, 2 cores). A step of
# 32 lanes with 160 kB each took 1.3 times that of 16 or of 8, for each lane, and of 64 lanes 2.5 times (Xeon); of 16
# lanes 1.5 times that of 8 (EPYC).
CPU = Sizes(2**21, 2**16, 2**19, 256, 4096, lanes=32, groups=4, apart=2**21, idle=2**10, round_steps=8, long_round=64)
# A step costs a launch or more, and a look of the host as much as many: chunks only keep memory bounded. Not measured.
ACCELERATOR = Sizes(
    2**27, 2**27, 2**27, 4096, 2**22, lanes=1024, groups=1, apart=2**26, idle=2**23, round_steps=32, long_round=64
)

_BY_PLATFORM = {"cpu": CPU}


def sizes(platform: str | None = None) -> Sizes:
    """Those of a platform, by default that of JAX's default device."""
    return _BY_PLATFORM.get(platform or jax.default_backend(), ACCELERATOR)
