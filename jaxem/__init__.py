"""Expectation-maximization on JAX.

The names are those of `jaxem._public`: what most users type. Each is imported, and JAX with it, when it is asked for,
so that `jaxem --help` need not wait. All else is in the modules below, each of which is imported when it is asked for:
parameters and the other families in `jaxem.families`, priors in `jaxem.priors`, the other models and the contracts of
models in `jaxem.models`, the other algorithms in `jaxem.algorithms`.

`jaxem.plot` and `jaxem.sklearn` need packages that are extras; `from jaxem import *` leaves these two out.
"""

from typing import TYPE_CHECKING

from jaxem import _fork as _fork  # listens from here on

if TYPE_CHECKING:
    from jaxem import accelerate as accelerate
    from jaxem import adjoint as adjoint
    from jaxem import algorithms as algorithms
    from jaxem import cli as cli
    from jaxem import datasets as datasets
    from jaxem import e_step as e_step
    from jaxem import families as families
    from jaxem import goodness as goodness
    from jaxem import information as information
    from jaxem import init as init
    from jaxem import latent as latent
    from jaxem import layers as layers
    from jaxem import m_step as m_step
    from jaxem import models as models
    from jaxem import plot as plot
    from jaxem import priors as priors
    from jaxem import record as record
    from jaxem import resampling as resampling
    from jaxem import selection as selection
    from jaxem import sklearn as sklearn
    from jaxem import structures as structures
    from jaxem import termination as termination
    from jaxem import testing as testing
    from jaxem import update as update
    from jaxem._public import *  # noqa: F403
else:
    _WITH_EXTRAS = ("plot", "sklearn")
    _OTHERS = """
        accelerate adjoint algorithms cli datasets e_step families goodness information init latent layers m_step models
        priors record resampling selection structures termination testing update
    """
    _MODULES = (*_OTHERS.split(), *_WITH_EXTRAS)

    def __getattr__(name):
        from importlib import import_module

        from jaxem._moved import moved
        from jaxem._public import PLACES, public

        if name == "__all__":
            return sorted({*PLACES, *_MODULES} - {*_WITH_EXTRAS})
        if name in _MODULES:
            try:
                return import_module(f"jaxem.{name}")
            except ImportError as error:
                if name not in _WITH_EXTRAS:
                    raise
                # `hasattr` is false where the package that it needs is not installed.
                raise AttributeError(str(error)) from error
        if name not in PLACES:
            return moved(name, "jaxem")
        globals()[name] = found = public(name)
        return found

    def __dir__():
        from jaxem._public import PLACES

        return sorted({*PLACES, *_MODULES})
