"""Standard errors and intervals, to the digits that others print, and as the page of the documentation has them."""

import numpy as np
import pytest

from tests.helpers import published_page
from tests.helpers.published_errors import exact_errors, unit

# The others take longer than a few seconds, of which most is compilation.
_ALWAYS = {"trips", "trips, sandwich", "trips, outer products", "insulating fluid, 30 kV", "ground beef"}


def cases(tables):
    return [pytest.param(t, id=t.name, marks=() if t.name in _ALWAYS else pytest.mark.slow) for t in tables]


def same(shown, printed, values, slack, word=""):
    """Whether a row of the page has what is printed, and these values but for rounding and where iterations end."""
    assert shown[:2] == [printed.name, published_page.pair(printed, word=word)]
    for text, value, of in zip(shown[2].strip(")").split(f" {word or '('}"), values, printed[1:], strict=True):
        assert abs(float(text) - value) < max(1.01, slack / 10) * unit(of)


@pytest.mark.parametrize("table", cases(published_page.TABLES))
def test_errors_are_those_that_are_printed(table):
    fitted, values = published_page.found(table)
    # By the likelihood as it is written out in the helpers.
    np.testing.assert_allclose(values[:, 1], exact_errors(table, table.theta(fitted.params)), rtol=1e-5)
    for row, both in zip(table.rows, values, strict=True):
        for printed, value in zip(row[1:], both, strict=True):
            if printed:
                assert abs(value - float(printed)) <= table.slack * unit(printed), (row, both)
    shown = published_page.lines_of(table.name)
    printed = [(row, both) for row, both in zip(table.rows, values, strict=True) if row.error]
    for line, (row, both) in zip(shown, printed, strict=True):
        same(line, row, both, table.slack)


@pytest.mark.parametrize("limits", cases(published_page.LIMITS))
def test_intervals_are_those_that_are_printed(limits):
    values = limits.found()
    for line, row, both in zip(published_page.lines_of(limits.name), limits.rows, values, strict=True):
        printed = np.array([float(row.estimate), float(row.error)])
        np.testing.assert_allclose(both, printed, atol=limits.slack * (printed[1] - printed[0]), rtol=0)
        if limits.slack < 0.01:
            same(line, row, both, 1.0, "to")


def test_the_page_has_all_of_them_and_no_others():
    names = [part.splitlines()[0] for part in published_page.PAGE.read_text().split("### ")[1:]]
    assert names == [one.name for one in (*published_page.TABLES, *published_page.LIMITS)]
