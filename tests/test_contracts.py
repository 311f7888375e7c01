"""What the contracts promise of themselves: how many methods, no private field in a signature, and wrappers that
forward all that there is to forward."""

import inspect
import re
from pathlib import Path

import equinox as eqx
import pytest

import jaxem
from jaxem import families, models, structures
from jaxem._bound import AbstractBound, AbstractPlain
from jaxem._model import AbstractBoundModel
from jaxem.engine.variational import VariationalBound
from jaxem.families import AbstractFamily
from jaxem.families.kernels import AbstractKernel
from jaxem.families.kernels.parts import AbstractPartsKernel
from jaxem.families.kernels.scaled import AbstractScaledKernel
from jaxem.families.kernels.wrapped import AbstractWrappedKernel
from jaxem.latent import AbstractLatent
from jaxem.models import AbstractLinearModel, AbstractModel
from jaxem.models._joined_bound import JoinedBound
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


def test_no_test_imports_a_test():
    imports = re.compile(r"^\s*(?:from|import) tests\S*\.test_|^\s*from tests\S* import .*\btest_", re.M)
    files = sorted(Path(__file__).parent.rglob("*.py"))
    assert [str(file) for file in files if imports.search(file.read_text())] == []


@pytest.mark.parametrize("kind", public_modules())
def test_what_a_user_writes_has_no_private_field(kind):
    private = [name for name in inspect.signature(kind).parameters if name.startswith("_")]
    assert not private


def test_a_family_answers_to_few_methods():
    assert len(methods(AbstractFamily)) <= 25


@pytest.mark.parametrize("contract", [AbstractModel, AbstractLinearModel])
def test_a_model_answers_to_few_methods(contract):
    assert len(methods(contract)) <= 25
    assert len(contract.__abstractmethods__) <= 5


def test_what_went_to_the_bound_model_says_so():
    model = jaxem.GaussianMixture(2)
    for name in methods(AbstractBound) - methods(AbstractModel) - {"name", "plain", "linear"}:
        with pytest.raises(AttributeError, match=rf"Mixture has no {name}: ask model.bound\(\)"):
            getattr(model, name)
    with pytest.raises(AttributeError, match=r"num_observations: it is jaxem\.selection\.num_observations"):
        model.num_observations  # noqa: B018
    with pytest.raises(AttributeError, match=r"Mixture has no colour$"):
        model.colour  # noqa: B018


def test_a_structure_needs_few_methods():
    assert len(AbstractStructure.__abstractmethods__) <= 8
    assert len(AbstractLatent.__abstractmethods__) == 0


# What the kernel of a wrapper says by itself, since `family`, the wrapper, says it, or the default is the right one.
GAPS = {"integrated", "gaps", "laid_out"}
OWN = {
    AbstractWrappedKernel: {
        *("latent", "product_form", "coefficients", "statistics", "prepare", "potentials", "log_base", "add_constant"),
        *("potentials_of", "quadratic"),
        *("expands", "maximize_expanded", "imputes", "impute", "floats_per_row", "from_points", "embed", "refine"),
        *GAPS,
    },
    AbstractScaledKernel: {
        *("latent", "product_form", "coefficients", "statistics", "prepare", "potentials", "natural", "add_constant"),
        *("potentials_of", "quadratic"),
        *("expands", "maximize_expanded", "maximize", "imputes", "impute", "floats_per_row", "pool"),
        *("about", "translate", "rounding_error", "accurate"),
        *GAPS,
    },
    AbstractPartsKernel: {
        *("latent", "product_form", "coefficients", "statistics", "prepare", "potentials", "natural", "add_constant"),
        *("potentials_of", "quadratic"),
        *("log_base", "expands", "maximize_expanded", "maximize", "imputes", "impute", "conjugate", "translate"),
        *("from_points", "embed", "refine", "pool"),
        *GAPS,
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


# What a bound model says by itself, since its own default is the right one, or there is nothing to forward to.
BOUND = {
    AbstractPlain: {
        "prepare",
        "potentials_of",
        "maximize_expanded",
        "blocks",
        "encode",
        "decode",
        "plain",
        "about",
        "translate",
    }
    | {"rounding_error", "accurate", "degenerate", "for_lanes", "floats_per_row", "expanded_per_row"}
    | GAPS,
    JoinedBound: {"freeze", "plain"},
    VariationalBound: {"maximize_expanded", "conjugate", "freeze", "blocks"},
}


@pytest.mark.parametrize("wrapper", BOUND)
def test_a_bound_model_forwards_all_that_it_does_not_say_itself(wrapper):
    forwarded = {name for name in methods(AbstractBound) if getattr(wrapper, name) is not getattr(AbstractBound, name)}
    missing = methods(AbstractBound) - forwarded - BOUND[wrapper]
    assert not missing, f"{wrapper.__name__} neither forwards nor lists {sorted(missing)}"
    assert not BOUND[wrapper] & forwarded


def test_a_model_is_asked_what_its_bound_says():
    """All that both contracts have, but for what is asked of the data."""
    shared = methods(AbstractModel) & methods(AbstractBound)
    assert all(getattr(AbstractBoundModel, name) is not getattr(AbstractModel, name) for name in shared)
