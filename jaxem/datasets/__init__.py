"""Small real data sets that ship with the package."""

from jaxem.datasets._dataset import Dataset as Dataset
from jaxem.datasets._old_faithful import old_faithful as old_faithful
