import numpy as np
import polars
import pytest

from jaxem.cli._errors import CommandError
from jaxem.cli._tables import read_table

X = np.array([[1.5, 2.0], [3.0, -4.25], [5.0, 6.0]])


@pytest.mark.parametrize("extension", ["csv", "tsv", "parquet", "npy", "CSV"])
def test_every_format_gives_the_same_table(tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    frame = polars.DataFrame(X, schema=["x0", "x1"])
    match extension.lower():
        case "csv":
            frame.write_csv(path)
        case "tsv":
            frame.write_csv(path, separator="\t")
        case "parquet":
            frame.write_parquet(path)
        case "npy":
            np.save(path, X)
    table = read_table(str(path))
    assert table.columns == ("x0", "x1")
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, X)


def test_a_file_without_header_loses_no_row(tmp_path):
    path = tmp_path / "x.csv"
    np.savetxt(path, X, delimiter=",")
    table = read_table(str(path))
    assert table.columns == ("x0", "x1")
    np.testing.assert_array_equal(table.values, X)


def test_blanks_and_byte_order_marks_do_no_harm(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a, b\n1, 2\n3, 4\n", encoding="utf-8-sig")
    table = read_table(str(path), ["b", "a"])
    assert table.columns == ("b", "a")
    np.testing.assert_array_equal(table.values, [[2, 1], [4, 3]])


def test_truth_values_and_integers_become_floats(tmp_path):
    path = tmp_path / "x.parquet"
    polars.DataFrame({"a": [True, False], "b": [2**40, 1], "c": [None, 3]}).write_parquet(path)
    np.testing.assert_array_equal(read_table(str(path)).values, [[1, 2**40, np.nan], [0, 1, 3]])


def test_numbers_late_in_a_column_do_not_change_its_type(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "1\n" * 5000 + "0.5\n")
    assert read_table(str(path)).values[-1, 0] == 0.5


def test_a_text_column_is_no_obstacle_if_it_is_not_chosen(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,name\n1,x\n2,y\n")
    assert read_table(str(path), ["a"]).values.tolist() == [[1], [2]]
    with pytest.raises(CommandError, match="'name' holds text"):
        read_table(str(path))
