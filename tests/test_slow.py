"""The list of tests that take long."""

import re

from tests.helpers import slowest


def test_the_list_names_tests_that_there_are():
    root = slowest.LISTED.parents[1]
    for name in slowest.listed():
        file, test = re.fullmatch(r"(tests/[\w/]+\.py)::(?:\w+::)?(\w+)(?:\[.*\])?", name).groups()
        assert re.search(rf"^ *def {test}\(", (root / file).read_text(), re.MULTILINE), name


def test_what_took_long_is_found():
    report = [
        "6.00s setup    tests/a.py::one",
        "4.50s call     tests/a.py::one",
        "9.9s call tests/a.py::two[x y]",
        "30.0s call     tests/engine/test_cache.py::three",
        "ok",
    ]
    assert slowest.slowest(report) == {"tests/a.py::one"}
