"""Published maxima of mixture likelihoods, to the digits that direct maximisation confirms.

Old Faithful, iris and galaxies: the mclust papers and vignettes (Fraley and Raftery 2002; Scrucca et al. 2016),
whose printed figures lie up to 2.5e-2 below the maximum because mclust stops early, Benaglia et al. (2009) for
the waiting times and McLachlan and Peel (1997) for the corrected galaxies. London Times: Hasselblad (1969).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.helpers import problems


class Published(NamedTuple):
    name: str
    problem: Callable[[], problems.Problem]
    log_likelihood: float
    accuracy: float  # half a unit of the last digit, at most


def _published(name, factory, *args, value, **kwargs):
    digits = len(value.split(".")[1])
    return Published(name, lambda: factory(*args, **kwargs), float(value), 10.0**-digits)


_f, _i, _g = problems.old_faithful, problems.iris, problems.galaxies
_two, _three, _four, _six = (9.7, 21.9), (9.7, 21.4, 33.0), (9.7, 16.0, 21.5, 33.0), (9.7, 16.2, 19.8, 23.0, 26.5, 33.0)

MAXIMA = (
    _published("waiting-tied-2", _f, ("waiting",), "tied", value="-1034.00176036"),
    _published("waiting-full-2", _f, ("waiting",), value="-1034.00174983"),
    _published("eruptions-full-2", _f, ("eruptions",), value="-276.36004050"),
    _published("faithful-full-2", _f, value="-1130.263960"),
    _published("faithful-tied-2", _f, covariance="tied", value="-1140.186759"),
    _published("faithful-tied-3", _f, covariance="tied", k=3, value="-1126.315928"),
    _published("iris-full-2", _i, "full", 2, value="-214.354704"),
    _published("iris-full-3", _i, "full", 3, value="-180.185477"),
    _published("iris-tied-2", _i, "tied", 2, value="-296.447575"),
    _published("iris-tied-3", _i, "tied", 3, value="-256.354043"),
    _published("iris-VEV-2", _i, "VEV", 2, value="-215.725972"),
    _published("iris-VEV-3", _i, "VEV", 3, value="-186.073283"),
    _published("iris-diagonal-2", _i, "diagonal", 2, value="-386.185347"),
    _published("iris-diagonal-3", _i, "diagonal", 3, value="-306.860461"),
    _published("galaxies-mass-full-3", _g, means=_three, value="-203.17922797"),
    _published("galaxies-mass-full-4", _g, means=_four, value="-197.45376376"),
    _published("galaxies-full-2", _g, True, means=_two, value="-220.19314360"),
    _published("galaxies-full-3", _g, True, means=_three, value="-203.48198015"),
    _published("galaxies-full-4", _g, True, means=_four, value="-197.71031124"),
    _published("galaxies-tied-3", _g, True, "tied", _three, value="-212.68022595"),
    _published("galaxies-tied-4", _g, True, "tied", (9.7, 19.8, 23.0, 33.0), value="-208.24713059"),
    _published("galaxies-tied-6", _g, True, "tied", _six, value="-197.29000244"),
    _published("london-times-2", problems.london_times, value="-1989.94585988"),
)

# In the sign that mclust gives it, at the maximum.
BIC = {
    "faithful-full-2": -2322.19174,
    "faithful-tied-2": -2325.21994,
    "faithful-tied-3": -2314.29568,
    "iris-full-2": -574.01783,
    "iris-full-3": -580.83891,
    "iris-tied-2": -688.09722,
    "iris-tied-3": -632.96333,
    "iris-VEV-2": -561.72846,
    "iris-VEV-3": -562.55071,
    "iris-diagonal-2": -857.55149,
    "iris-diagonal-3": -743.99744,
    "galaxies-mass-full-3": -441.612210,
    "galaxies-mass-full-4": -443.381439,
}

LONDON_TIMES_WEIGHT = 0.3598853969849348
LONDON_TIMES_RATES = (1.2560951012243379, 2.6634043566324726)
LONDON_TIMES_AFTER_1500 = (-1989.9458601408285, 0.3600250921611, 1.256337900747, 2.663574957686)
LONDON_TIMES_OTHER_START = -1989.9458683194243  # after 1500 iterations from a weight of 0.9
# Upper triangle; the standard errors printed in the turboEM vignette have a relative error of 7e-4.
LONDON_TIMES_INFORMATION = (907.10733, -270.22927, -341.25277, 113.48025, 61.68210, 192.78081)
LONDON_TIMES_ERRORS = (0.1946842987, 0.3500297114, 0.2504782703)

# The weight of the first component, means and standard deviations.
OLD_FAITHFUL = {
    "waiting-tied-2": (0.36084944, [[54.61362634], [80.09030362]], [5.8690914]),
    "waiting-full-2": (0.36088607, [[54.61485614], [80.0910694]], [5.87121941, 5.86773442]),
    "eruptions-full-2": (0.34840463, [[2.01860782], [4.27334342]], [0.23562177, 0.43706315]),
    "faithful-full-2": (0.35587286, [[2.03639, 54.47852], [4.28966, 79.96812]], None),
}

# Covariances of six ability tests of 112 children: general, picture, blocks, maze, reading, vocabulary; Bartholomew
# and Knott (1999), p. 62, after Smith and Stanley (1983).
ABILITY = np.array(
    [
        [24.641, 5.991, 33.52, 6.023, 20.755, 29.701],
        [5.991, 6.7, 18.137, 1.782, 4.936, 7.204],
        [33.52, 18.137, 149.831, 19.424, 31.43, 50.753],
        [6.023, 1.782, 19.424, 12.711, 4.757, 9.075],
        [20.755, 4.936, 31.43, 4.757, 52.604, 66.762],
        [29.701, 7.204, 50.753, 9.075, 66.762, 135.292],
    ]
)
