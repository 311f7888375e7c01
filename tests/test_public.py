"""The names of `jaxem`: few at the top, the others in a module each, and those that moved found with a warning."""

import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxem
from jaxem._moved import MOVED
from jaxem._public import PLACES

ROOT = Path(__file__).parents[1]
TOP = set(PLACES)
EXTRAS = {"plot", "sklearn"}
MODULES = set(dir(jaxem)) - TOP
PAIRS = [(old, name) for old, names in MOVED.items() for name in names]
INNER = {"engine", "kernels", "sources"}  # modules without an underscore that are no part of the public face

# Every public name of the version before, at the top or in `jaxem.families`, that is not at the top any more.
BEFORE = """
    AbstractFamily AbstractLinearModel AbstractModel BernoulliParams Beta BinomialRegression
    CategoricalParams CensoredExponential CensoredLogNormal CensoredNormal CensoredRegression CensoredWeibull Dirichlet
    ExponentialParams FactorParams FunctionFamily GLMParams Gamma Gated GaussianParams HMMParams IncompleteColumns
    LDAParams MixtureOfExpertsParams MixtureParams MultivariateNormal MultivariateT NegativeBinomial
    NegativeBinomialParams NegativeBinomialRegression NegativeBinomialRegressionParams NeuralFamily NormalInverseWishart
    OneOf PointMass PoissonParams PoissonRegression Progress Racing RegressionParams Restarts StateSpaceParams
    StickBreaking StreamProgress StudentTParams TRegression TRegressionParams Tobit Variational WeibullParams
    ZeroInflatedNegativeBinomial ZeroInflatedPoisson conjugate_gradient_em factor_analysis gradient_ascent newton
    parabolic_em quasi_newton_em
"""


def own(module):
    """Public names that a module offers as its own: those that it imports as themselves, or defines."""
    text = Path(module.__file__).read_text()
    offered = set(re.findall(r"import \(?\s*(\w+) as \1\b", text)) | set(
        re.findall(r"^(?:class|def) (\w+)", text, re.M)
    )
    return {name for name in offered if not name.startswith("_")}


def test_the_top_has_few_names():
    assert len(TOP) <= 70  # about sixty
    assert {"fit", "solve", "GaussianMixture", "Gaussian", "em", "vbem", "DataError", "Fit", "Status", "bic"} < TOP


def test_type_checkers_see_them_where_they_are():
    text = (ROOT / "jaxem" / "_public.py").read_text()
    assert {name: place for place, name in re.findall(r"from (\S+) import (\w+) as \2\n", text)} == PLACES


def test_dir_and_all_show_them_and_the_modules():
    assert set(dir(jaxem)) == TOP | MODULES
    assert set(jaxem.__all__) == (TOP | MODULES) - EXTRAS
    public = {module.name for module in pkgutil.iter_modules(jaxem.__path__) if not module.name.startswith("_")}
    assert public - INNER == MODULES
    for name in jaxem.__all__:
        assert getattr(jaxem, name) is not None


def homes(name, value):
    """The modules that offer this very thing."""
    modules = {module: getattr(jaxem, module) for module in MODULES - EXTRAS}
    return [at for at, module in modules.items() if name in own(module) and getattr(module, name) is value]


def test_every_name_lives_in_one_module():
    for name in BEFORE.split():
        place = MOVED["jaxem"].get(name, "jaxem.families")
        assert homes(name, getattr(importlib.import_module(place), name)) == [place.removeprefix("jaxem.")], name
    assert {*BEFORE.split()} - {"AbstractFamily"} == set(MOVED["jaxem"])


def test_what_is_at_the_top_is_at_most_in_one_module_besides():
    found = {name: homes(name, getattr(jaxem, name)) for name in TOP}
    assert not {name: at for name, at in found.items() if len(at) > 1}
    assert (found["Gaussian"], found["HMM"], found["fit"]) == (["families"], ["models"], [])
    assert found["em"] == found["Algorithm"] == ["algorithms"]


@pytest.mark.parametrize(("old", "name"), PAIRS)
def test_what_moved_says_its_place(old, name):
    place = MOVED[old][name]
    wanted = getattr(importlib.import_module(place), name)
    with pytest.warns(
        DeprecationWarning, match=f"^{re.escape(old)}\\.{name} is now {re.escape(place)}\\.{name}$"
    ) as seen:
        found = getattr(importlib.import_module(old), name)
    assert found is wanted
    assert seen[0].filename == __file__
    assert name not in dir(jaxem)


def test_what_moved_can_be_imported_and_unpickled():
    namespace, statement = {}, compile("from jaxem import GaussianParams", __file__, "exec")
    with pytest.warns(DeprecationWarning, match=r"jaxem\.GaussianParams is now jaxem\.families\.Gaus") as seen:
        exec(statement, namespace)
    assert namespace["GaussianParams"] is jaxem.families.GaussianParams
    assert seen[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r"is now jaxem\.models\.MixtureParams"):
        assert pickle.loads(b"cjaxem\nMixtureParams\n.") is jaxem.models.MixtureParams


def test_an_unknown_name_is_an_attribute_error():
    for module in (jaxem, jaxem.families):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
            _ = module.nothing


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


def test_importing_everything_starts_no_backend_and_no_extra():
    code = """
import sys, jaxem
from jaxem import *
assert GaussianMixture is jaxem.GaussianMixture and testing is jaxem.testing and priors.Dirichlet
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
assert not {"matplotlib", "sklearn"} & set(sys.modules)
assert jaxem.plot.scatter and jaxem.sklearn.GaussianMixture
assert {"matplotlib", "sklearn"} <= set(sys.modules)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_a_module_whose_package_is_missing_says_so():
    code = "import sys, jaxem; sys.modules.update(matplotlib=None, sklearn=None)"
    for name, words in (("plot", "pip install 'jaxem[cli]'"), ("sklearn", "pip install 'jaxem[sklearn]'")):
        for statement, kind in (f"jaxem.{name}", "AttributeError"), (f"import jaxem.{name}", "ImportError"):
            code += f"""
assert not hasattr(jaxem, "{name}")
try:
    {statement}
except {kind} as error:
    assert str(error).startswith("jaxem.{name} needs ") and "{words}" in str(error), error
else:
    raise AssertionError
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_a_fit_imports_no_scipy_and_nothing_of_what_comes_after_it():
    code = """
import sys, jaxem
assert jaxem.fit and jaxem.GaussianMixture and jaxem.squarem and jaxem.select
late = ("scipy.stats", "scipy.optimize", "jaxem.information", "jaxem.resampling", "jaxem.goodness")
assert not [name for name in late if name in sys.modules]
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def factories():
    for module in ("models", "families"):
        for name, value in vars(getattr(jaxem, module)).items():
            if name[0].isupper() and inspect.isfunction(value):
                yield name, value


@pytest.mark.parametrize(("name", "make"), list(factories()))
def test_a_function_that_is_named_like_a_class_says_what_it_makes(name, make):
    kind = make.__annotations__["return"]
    assert inspect.isclass(kind)
    assert f"It is a function that makes a `{kind.__name__}`" in inspect.getdoc(make)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (jaxem.GaussianMixture(2), "GaussianMixture"),
        (jaxem.StudentTMixture(2), "StudentTMixture"),
        (jaxem.MixtureOfFactorAnalyzers(2, 1), "MixtureOfFactorAnalyzers"),
        (jaxem.FactorAnalysis(1), "FactorAnalysis"),
        (jaxem.PPCA(1), "PPCA"),
        (jaxem.models.MultivariateNormal(), "models.MultivariateNormal"),
        (jaxem.models.MultivariateT(), "models.MultivariateT"),
        (jaxem.models.Tobit(), "models.Tobit"),
        (jaxem.models.ZeroInflatedPoisson(), "models.ZeroInflatedPoisson"),
        (jaxem.models.ZeroInflatedNegativeBinomial(), "models.ZeroInflatedNegativeBinomial"),
    ],
)
def test_what_its_docstring_says_tells_such_a_model(model, name):
    made = jaxem
    for part in name.split("."):
        made = getattr(made, part)
    test = re.search(r"`(isinstance\(model, .*\))`", inspect.getdoc(made))[1]
    assert eval(test, {"model": model, "jaxem": jaxem})
    other = jaxem.Mixture(jaxem.Poisson(), 2)
    assert not eval(test, {"model": other, "jaxem": jaxem})


def texts():
    for folder in ("jaxem", "tests", "docs", "benchmarks", "notebooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".ipynb"):
                yield path
    if (ROOT / "README.md").exists():
        yield ROOT / "README.md"


def test_nothing_here_uses_an_old_place():
    old = [re.compile(rf"(?<![\w.]){re.escape(module)}\.({'|'.join(names)})\b") for module, names in MOVED.items()]
    imported = re.compile(r"^[\s>\"]*from (jaxem(?:\.families)?) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
    found = []
    for path in texts():
        text = path.read_text()
        uses = [match[0] for pattern in old for match in pattern.finditer(text)] if path != Path(__file__) else []
        for match in imported.finditer(text):
            uses += [
                f"from {match[1]} import {name}" for name in re.findall(r"\w+", match[2]) if name in MOVED[match[1]]
            ]
        found += [f"{path.relative_to(ROOT)}: {use}" for use in uses if path != Path(__file__)]
    assert not found
