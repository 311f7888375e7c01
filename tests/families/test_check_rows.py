"""Rows that have a density, whether or not a family could be fitted to them alone."""

import numpy as np
import pytest

import jaxem

ROW = np.array([[1.0, 0.0]])
GAP = np.array([[1.0, np.nan]])
FAMILIES = {
    "Gaussian": jaxem.Gaussian(),
    "StudentT": jaxem.StudentT(),
    "Incomplete": jaxem.Incomplete(jaxem.Gaussian()),
    "IncompleteColumns": jaxem.families.IncompleteColumns(jaxem.Bernoulli()),
    "Factor": jaxem.Factor(1),
    "Poisson": jaxem.Poisson(),
    "Bernoulli": jaxem.Bernoulli(),
    "Categorical": jaxem.Categorical(2),
}
POSITIVE = jaxem.families.InverseGaussian()
WITH_GAPS = ("Incomplete", "IncompleteColumns", "Factor")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_row_has_a_density(name):
    FAMILIES[name].check_rows(ROW)
    if name in WITH_GAPS:
        FAMILIES[name].check_rows(GAP)
        return
    with pytest.raises(jaxem.DataError, match="row 0, column 1 has value nan"):
        FAMILIES[name].check_rows(GAP)


@pytest.mark.parametrize("name", FAMILIES)
def test_infinity_has_none(name):
    with pytest.raises(jaxem.DataError, match="data: row 0, column 1 has value inf"):
        FAMILIES[name].check_rows(np.array([[1.0, np.inf]]))


@pytest.mark.parametrize("name", ["IncompleteColumns", "Poisson", "Bernoulli", "Categorical"])
def test_values_outside_of_the_support_have_none(name):
    with pytest.raises(jaxem.DataError, match=r"data: row 1, column 0 has value -3\.0, which is "):
        FAMILIES[name].check_rows(np.array([[1.0, 0.0], [-3.0, 1.0]]))


@pytest.mark.parametrize("name", ["Gaussian", "StudentT", "Incomplete"])
def test_a_fit_needs_more(name):
    with pytest.raises(jaxem.DataError, match="column 0 is constant"):
        FAMILIES[name].check(ROW)


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan, np.inf])
def test_positive_columns_take_positive_numbers_alone(value):
    POSITIVE.check_rows(np.array([[1.0, 0.5]]))
    with pytest.raises(jaxem.DataError, match=f"data: row 1, column 0 has value {value}, which is not positive"):
        POSITIVE.check_rows(np.array([[1.0, 0.5], [value, 1.0]]))
