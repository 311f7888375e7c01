"""scikit-learn estimators on `jaxem.fit`: many starts at once, under scikit-learn's names."""

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jaxem.sklearn needs scikit-learn: pip install 'jaxem[sklearn]'") from error

from jaxem.sklearn._gaussian import GaussianMixture as GaussianMixture
from jaxem.sklearn._mixture import Mixture as Mixture
