"""What the data tell of the parameters, and what is lost with what is hidden."""

from jaxem.information._functions import Estimate as Estimate
from jaxem.information._functions import Interval as Interval
from jaxem.information._functions import Wald as Wald
from jaxem.information._information import Information as Information
from jaxem.information._pooled import Pooled as Pooled
from jaxem.information._profile import Profile as Profile
from jaxem.information._summary import Summary as Summary
from jaxem.information._summary import summary as summary
from jaxem.information.draw_parameters import draw_parameters as draw_parameters
from jaxem.information.observed import observed as observed
from jaxem.information.pool import pool as pool
from jaxem.information.profile import profile as profile
from jaxem.information.rate import fraction_missing as fraction_missing
from jaxem.information.rate import rate_eigenvalues as rate_eigenvalues
from jaxem.information.rate import rate_matrix as rate_matrix
from jaxem.information.score import ScoreTest as ScoreTest
from jaxem.information.score import score_test as score_test
