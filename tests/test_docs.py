"""Everything that a page of the documentation shows runs as it is written, one block after the other."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import jax
import pytest

import jaxem

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("**/*.md"))


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # as a reader has it
        try:
            for number, code in enumerate(blocks(page)):
                exec(compile(code, f"{page.name}, block {number}", "exec"), names)
        finally:
            jaxem.cache(enabled=False)


MODULES = sorted(module.name for module in pkgutil.walk_packages(jaxem.__path__, "jaxem.") if ".cli" not in module.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run_in_the_precision_that_users_have(name):
    module = importlib.import_module(name)
    with (
        jax.enable_x64(False),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_there_is_code_to_run():
    assert {"extending", "derivatives"} <= {page.stem for page in PAGES if blocks(page)}
