"""Pictures of a fit: the data with the fitted components, the objective of every start, the choice of `num_components`.

Every function draws on axes or figures that you pass, and touches no global state of matplotlib.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("jaxem.plot needs matplotlib: pip install 'jaxem[cli]'") from error

from jaxem._gaussians import Gaussians as Gaussians
from jaxem._gaussians import gaussians as gaussians
from jaxem.plot._counts import counts as counts
from jaxem.plot._counts import profiles as profiles
from jaxem.plot._density import histogram as histogram
from jaxem.plot._goodness import qq as qq
from jaxem.plot._goodness import rootogram as rootogram
from jaxem.plot._loadings import loadings as loadings
from jaxem.plot._replicates import replicates as replicates
from jaxem.plot._scatter import pairs as pairs
from jaxem.plot._scatter import scatter as scatter
from jaxem.plot._scatter import scatter_with_marginals as scatter_with_marginals
from jaxem.plot._selection import selection as selection
from jaxem.plot._sequence import sequence as sequence
from jaxem.plot._starts import criterion as criterion
from jaxem.plot._starts import history as history
from jaxem.plot._starts import starts as starts
from jaxem.plot._summary import gaussian_panel as gaussian_panel
from jaxem.plot._summary import summary as summary
