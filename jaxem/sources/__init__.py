"""Where the batches of a stream come from: arrays, files, anything that can be gone through again."""

from jaxem.sources._source import AbstractSource as AbstractSource
from jaxem.sources._source import seed_of as seed_of
from jaxem.sources.arrays import Batches as Batches
from jaxem.sources.delimited import Delimited as Delimited
from jaxem.sources.parquet import Parquet as Parquet
