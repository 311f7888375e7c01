"""Inference by samples like the data: the bootstrap, and tests by simulation."""

from jaxem.resampling._bootstrap import Bootstrap as Bootstrap
from jaxem.resampling._bootstrap import bootstrap as bootstrap
from jaxem.resampling._likelihood_ratio import LikelihoodRatioTest as LikelihoodRatioTest
from jaxem.resampling._likelihood_ratio import LocalOptimumWarning as LocalOptimumWarning
from jaxem.resampling._likelihood_ratio import likelihood_ratio_test as likelihood_ratio_test
from jaxem.resampling._replicates import Replicates as Replicates
