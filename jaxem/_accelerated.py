"""Algorithms with an accelerator around another one."""

import dataclasses

from jaxem._algorithm import Algorithm
from jaxem.accelerate import AbstractAccelerator, Anderson, Parabolic, QuasiNewton, Squarem


def squarem(algorithm: Algorithm | None = None, unconstrained: bool = True, tail: bool = False) -> Algorithm:
    """Squared extrapolation of any monotone variant (EM by default). Varadhan and Roland (2008).

    The objective never falls over a cycle of three evaluations of the map, which `num_steps` counts. Extrapolates the
    parameters themselves if not `unconstrained`.

    With `tail`, a run goes where EM takes it until its steps shrink along one direction, and is extrapolated from
    there: more often than not it ends where EM ends, without most of the steps that EM needs in the end.

    **Example**

    >>> import jaxem
    >>> accelerated = jaxem.squarem(jaxem.em_gradient())
    """
    return _accelerated(algorithm, Squarem(parameters=not unconstrained, tail=tail))


def anderson(algorithm: Algorithm | None = None, window: int = 5) -> Algorithm:
    """Damped Anderson acceleration of any monotone variant (EM by default). Henderson and Varadhan (2019).

    The objective never falls. One evaluation of the map an iteration.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.anderson(window=3)
    """
    return _accelerated(algorithm, Anderson(window))


def quasi_newton_em(algorithm: Algorithm | None = None, pairs: int = 3) -> Algorithm:
    """Quasi-Newton acceleration of any monotone variant (EM by default). Zhou, Alexander and Lange (2011).

    The objective never falls. A cycle takes two evaluations of the map.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.algorithms.quasi_newton_em(pairs=2)
    """
    return _accelerated(algorithm, QuasiNewton(pairs))


def parabolic_em(algorithm: Algorithm | None = None) -> Algorithm:
    """Extrapolation along the parabola through two steps of any monotone variant. Berlinet and Roland (2009).

    The objective never falls. A cycle takes three evaluations of the map.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.algorithms.parabolic_em()
    """
    return _accelerated(algorithm, Parabolic())


def _accelerated(algorithm: Algorithm | None, accelerator: AbstractAccelerator) -> Algorithm:
    return dataclasses.replace(algorithm or Algorithm(), accelerator=accelerator)
