"""Ways to draw the start of a run, on the device."""

from jaxem.init._init import AbstractInit as AbstractInit
from jaxem.init.kmeans import KMeansPlusPlus as KMeansPlusPlus
from jaxem.init.random import Points as Points
from jaxem.init.random import RandomResponsibilities as RandomResponsibilities
from jaxem.init.short_runs import ShortRuns as ShortRuns

METHODS = {
    "kmeans++": KMeansPlusPlus(),
    "points": Points(),
    "random": RandomResponsibilities(),
    "short_runs": ShortRuns(),
}
