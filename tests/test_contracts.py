"""What the contracts promise of themselves: how many methods, no private field in a signature, and wrappers that
forward all that there is to forward."""

import inspect

import equinox as eqx
import pytest

import jaxem
from jaxem import families, models, structures
from jaxem.families import AbstractFamily
from jaxem.families.kernels import AbstractKernel
from jaxem.families.kernels.parts import AbstractPartsKernel
from jaxem.families.kernels.scaled import AbstractScaledKernel
from jaxem.families.kernels.wrapped import AbstractWrappedKernel
from jaxem.latent import AbstractLatent
from jaxem.structures import AbstractStructure


def methods(contract):
    """Public methods and properties of a class, those of its bases in this package included."""
    own = [vars(base) for base in contract.__mro__ if base.__module__.startswith("jaxem")]
    return {
        name
        for names in own
        for name, value in names.items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property) or hasattr(value, "__get__"))
    }


def public_modules():
    named = {
        f"{module.__name__}.{name}": value
        for module in (jaxem, families, models, structures)
        for name in dir(module)
        if inspect.isclass(value := getattr(module, name)) and issubclass(value, eqx.Module)
    }
    return [pytest.param(value, id=name) for name, value in named.items()]


@pytest.mark.parametrize("kind", public_modules())
def test_what_a_user_writes_has_no_private_field(kind):
    private = [name for name in inspect.signature(kind).parameters if name.startswith("_")]
    assert not private


def test_a_family_answers_to_few_methods():
    assert len(methods(AbstractFamily)) <= 25


def test_a_structure_needs_few_methods():
    assert len(AbstractStructure.__abstractmethods__) <= 8
    assert len(AbstractLatent.__abstractmethods__) == 0


# What the kernel of a wrapper says by itself, since `family`, the wrapper, says it.
OWN = {
    AbstractWrappedKernel: {
        *("latent", "product_form", "coefficients", "statistics", "prepare", "potentials", "log_base", "add_constant"),
        *("expands", "maximize_expanded", "imputes", "impute", "floats_per_row", "from_points", "embed", "refine"),
    },
    AbstractScaledKernel: {
        *("latent", "product_form", "coefficients", "statistics", "prepare", "potentials", "natural", "add_constant"),
        *("expands", "maximize_expanded", "maximize", "imputes", "impute", "floats_per_row", "pool"),
        *("about", "translate", "rounding_error", "accurate"),
    },
    AbstractPartsKernel: {
        *("latent", "product_form", "coefficients", "statistics", "prepare", "potentials", "natural", "add_constant"),
        *("log_base", "expands", "maximize_expanded", "maximize", "imputes", "impute", "conjugate", "translate"),
        *("from_points", "embed", "refine", "pool"),
    },
}


@pytest.mark.parametrize("wrapper", OWN)
def test_a_wrapper_forwards_all_that_it_does_not_say_itself(wrapper):
    forwarded = {
        name for name in methods(AbstractKernel) if getattr(wrapper, name) is not getattr(AbstractKernel, name)
    }
    missing = methods(AbstractKernel) - forwarded - OWN[wrapper]
    assert not missing, f"{wrapper.__name__} neither forwards nor lists {sorted(missing)}"
    assert not OWN[wrapper] & forwarded
