"""Latent structures: each is an exponential family over the hidden variables of one observation."""

from jaxem.latent._latent import AbstractChoice as AbstractChoice
from jaxem.latent._latent import AbstractLatent as AbstractLatent
from jaxem.latent.categorical import Categorical as Categorical
from jaxem.latent.chain import Chain as Chain
from jaxem.latent.chain import ChainTree as ChainTree
from jaxem.latent.continuous import Continuous as Continuous
from jaxem.latent.gamma_scale import GammaScale as GammaScale
from jaxem.latent.gamma_scale import GammaScaleTree as GammaScaleTree
from jaxem.latent.gaussian import GaussianLatent as GaussianLatent
from jaxem.latent.gaussian import GaussianPotentials as GaussianPotentials
from jaxem.latent.gaussian_chain import Entries as Entries
from jaxem.latent.gaussian_chain import GaussianChain as GaussianChain
from jaxem.latent.gaussian_chain import GaussianChainTree as GaussianChainTree
from jaxem.latent.mean_field import MeanField as MeanField
from jaxem.latent.mean_field import MeanFieldTree as MeanFieldTree
from jaxem.latent.missing_block import MissingBlock as MissingBlock
from jaxem.latent.several import Independent as Independent
from jaxem.latent.several import Nested as Nested
from jaxem.latent.several import NestedTree as NestedTree
from jaxem.latent.several import SeveralTree as SeveralTree
from jaxem.latent.several import Unlike as Unlike
from jaxem.latent.truncated import TruncatedExponential as TruncatedExponential
from jaxem.latent.truncated import TruncatedExponentialPotentials as TruncatedExponentialPotentials
from jaxem.latent.truncated import TruncatedNormal as TruncatedNormal
from jaxem.latent.truncated import TruncatedNormalPotentials as TruncatedNormalPotentials
