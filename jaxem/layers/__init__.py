"""EM as a layer of a network: soft clustering, mixture densities, smoothing by hidden Markov models, slots."""

from jaxem.layers._layer import Fitting as Fitting
from jaxem.layers.hmm_smoothing import HMMSmoothing as HMMSmoothing
from jaxem.layers.hmm_smoothing import Smoothed as Smoothed
from jaxem.layers.hmm_smoothing import hmm_smoothing as hmm_smoothing
from jaxem.layers.mixture_density import Density as Density
from jaxem.layers.mixture_density import MixtureDensity as MixtureDensity
from jaxem.layers.mixture_density import mixture_density as mixture_density
from jaxem.layers.slot_competition import SlotCompetition as SlotCompetition
from jaxem.layers.slot_competition import Slots as Slots
from jaxem.layers.slot_competition import slot_competition as slot_competition
from jaxem.layers.soft_clustering import Clusters as Clusters
from jaxem.layers.soft_clustering import SoftClustering as SoftClustering
from jaxem.layers.soft_clustering import soft_clustering as soft_clustering
