"""What the data tell of the parameters, and what is lost with what is hidden."""

from jaxem.information.rate import fraction_missing as fraction_missing
from jaxem.information.rate import rate_eigenvalues as rate_eigenvalues
from jaxem.information.rate import rate_matrix as rate_matrix
