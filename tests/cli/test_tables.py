import gzip
import io
import sys

import numpy as np
import polars
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxem.cli._delimited import MISSING
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


@pytest.fixture
def read(tmp_path):
    """Reads a table from its text."""

    def call(content, name="x.csv", **options):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(str(file), **options)

    return call


def same(table, columns, values):
    assert table.columns == tuple(columns)
    np.testing.assert_array_equal(table.values, values)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", ["\na,b\n1,2\n3,4\n", "a,b\n\n1,2\n  \n \t\n3,4", "a,b\n1,2\n3,4" + "\n" * 40])
def test_blank_lines_are_no_rows(read, text, end):
    same(read(text.replace("\n", end)), "ab", [[1, 2], [3, 4]])
    quoted = text.replace("1,2", '"1",2').replace("\n", end)
    same(read(quoted), "ab", [[1, 2], [3, 4]])


def test_blank_lines_are_no_rows_of_a_single_column(read):
    same(read("a\n\n1\n\n2\n\n\n"), "a", [[1], [2]])
    same(read('a\n""\nNA\n1\n'), "a", [[np.nan], [np.nan], [1]])


def test_lines_of_separators_are_rows_of_missing_cells(read):
    table = read("a\tb\n1\t2\n\t\n \t \n3\t4\n", "x.tsv")
    same(table, "ab", [[1, 2], [np.nan] * 2, [np.nan] * 2, [3, 4]])
    assert table.notes == ("2 rows have nothing but missing cells",)
    assert read("a,b\n1,2\n,\n").notes == ("line 3 has nothing but missing cells",)


@pytest.mark.parametrize("cell", MISSING)
def test_a_first_line_with_a_missing_cell_is_data(read, cell):
    for first, values in ((f"{cell},0.5", [np.nan, 0.5]), (f"0.5,{cell}", [0.5, np.nan]), (f"{cell},", [np.nan] * 2)):
        table = read(f"{first}\n1,2\n3,4\n")
        same(table, ["x0", "x1"], [values, [1, 2], [3, 4]])
        assert table.reading["header"] is False
        assert "line 1 is data" in table.notes[0]
        assert "--header" in table.notes[0]


@pytest.mark.parametrize(
    ("text", "names", "rows", "sure"),
    [
        ("a,b\n1,2\n", "ab", 1, True),
        ("Na,Mg\n1,2\n", ["Na", "Mg"], 1, True),
        (",a\n5,1\n6,2\n", ["unnamed_0", "a"], 2, True),
        ("a,,c\n1,2,3\n", ["a", "unnamed_1", "c"], 1, False),
        ("2019,total\n1,2\n3,4\n", ["2019", "total"], 2, False),
        ("#,a\n1,2\n3,4\n", ["#", "a"], 2, True),
    ],
)
def test_a_first_line_of_words_holds_names(read, text, names, rows, sure):
    table = read(text)
    assert table.columns == tuple(names)
    assert len(table.values) == rows
    assert table.reading["header"] is True
    assert [note for note in table.notes if "is taken for names" in note] == [*table.notes]
    assert bool(table.notes) != sure


def test_words_over_words_are_data_beside_numbers(read):
    same(read("1,setosa\n2,setosa\n", columns=["x0"]), ["x0"], [[1], [2]])
    with pytest.raises(CommandError, match=r"column 'x0' holds text .'setosa' in row 0.*--header"):
        read("setosa,1\nvirginica,2\n")
    # A mark of missing cells that is not understood, beside a number.
    for cell in ("?", ".", "-", "--", "n.a.", "missing", "Null", "x2"):
        for line, number in ((f"{cell},0.5", "x0"), (f"-3,{cell}", "x1")):
            with pytest.raises(CommandError, match=f"column '{number}' holds text .*line 1"):
                read(f"{line}\n1,2\n3,4\n")
    with pytest.raises(CommandError, match=r"'K' in row 0, counting from 0; line 1.*--header"):
        read("NA,K\n1,2\n")


def test_the_header_can_be_said(read):
    same(read("1,2\n3,4\n", header=True), "12", [[3, 4]])
    same(read("NA,K\n3,4\n", header=True), ["NA", "K"], [[3, 4]])
    table = read("1,x\n3,4\n", header=True)
    same(table, "1x", [[3, 4]])
    assert table.notes == ()
    with pytest.raises(CommandError, match=r"column 'x1' holds text .'x' in row 0"):
        read("1,x\n3,4\n", header=False)
    same(read("1,2\n3,4\n", header=False), ["x0", "x1"], [[1, 2], [3, 4]])


def test_names_that_occur_twice_are_refused(read):
    with pytest.raises(CommandError, match=r"2 columns are called 'a' \(columns 0 and 2"):
        read("a,b, a\n1,2,3\n")
    with pytest.raises(CommandError, match="3 columns are called '1'"):
        read("1,1,1\n1,2,3\n", header=True)
    with pytest.raises(CommandError, match="2 columns are called 'unnamed_0'"):
        read(",unnamed_0\n1,2\n")
    frame = polars.DataFrame({"a": [1], " a": [2]})
    file = io.BytesIO()
    frame.write_parquet(file)
    with pytest.raises(CommandError, match="2 columns are called 'a'"):
        read(file.getvalue(), "x.parquet")


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("header", [",a,b", '"","a","b"', "Unnamed: 0,a,b", "5,6,7"])
def test_an_index_is_named(read, start, header):
    lines = [f"{i + start},{i * i},7" for i in range(4)]
    # A first line of numbers belongs to the rows, which then count nothing.
    counted = header if header != "5,6,7" else f"{start},6,7"
    lines = lines if header != "5,6,7" else [f"{i + start + 1},{i * i},7" for i in range(4)]
    table = read("\n".join([counted, *lines]))
    (warning,) = table.warnings
    assert f"holds {start}, {start + 1}, {start + 2} ..." in warning
    rest = table.columns[1:]
    assert warning.endswith(f"--columns {','.join(rest)}")
    assert read("\n".join([counted, *lines]), columns=rest).warnings == ()


def test_columns_that_count_nothing_are_no_index(read):
    for text in (",a\n1,5\n3,6\n4,7\n", "id,a\n0,5\n1,6\n2,7\n", "0\n1\n2\n3\n", ",a\n2,5\n3,6\n4,7\n"):
        assert read(text).warnings == ()


@pytest.mark.parametrize(
    ("text", "name", "separator"),
    [
        ("a;b\n1.5;2\n3;-4.25\n", "x.csv", ";"),
        ("a\tb\n1.5\t2\n3\t-4.25\n", "x.csv", "\t"),
        ("a|b\n1.5|2\n3|-4.25\n", "x.csv", "|"),
        ("a,b\n1.5,2\n3,-4.25\n", "x.tsv", ","),
        ("a;b\n1,5;2\n3;-4,25\n", "x.csv", ";"),
        ("a;b\n1,5;2\n3;-4,25\n", "x.tsv", ";"),
        ("a\tb\n1,5\t2\n3\t-4,25\n", "x.tsv", "\t"),
        ('a,b\n"1,5",2\n3,"-4,25"\n', "x.csv", ","),
        ('"a";"b"\n"1,5";"2"\n"3";"-4,25"\n', "x.csv", ";"),
        ("sep=;\na;b\n1.5;2\n3;-4.25\n", "x.csv", ";"),
    ],
)
def test_other_separators_and_decimal_marks_are_read_and_said(read, text, name, separator):
    table = read(text, name)
    same(table, "ab", [[1.5, 2], [3, -4.25]])
    comma = ",5" in text
    assert (table.reading["separator"], table.reading["decimal"]) == (separator, "," if comma else ".")
    assert ("its decimal marks are commas" in table.notes) == comma
    usual = "\t" if name == "x.tsv" else ","
    assert any("separated by" in note for note in table.notes) == (separator != usual and "sep=" not in text)


def test_decimal_commas_without_a_header(read):
    same(read("1,5;2,5\n3,5;4\n"), ["x0", "x1"], [[1.5, 2.5], [3.5, 4]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;b\n1.5;2,5\n", "column 'b' .*line 2.*: '2,5' has a comma, and column 'a' has a point"),
        ("a;b\n1.234,5;2\n", "'1.234,5' has marks between thousands"),
        ('a,b\n"1,234","5,678"\n', "'1,234' may be a decimal or have a mark between thousands"),
        ('a,b\n1,"1,234,567"\n', "column 'b' .*'1,234,567' has marks between thousands: leave them out"),
        ("a,b\n1,1'234\n", "has marks between thousands"),
        ("a\n1,5\n2,5\n", "line 2 has 2 cells, but line 1 has 1: .*commas are decimal marks"),
        ("a,b\n1,5,2,5\n", "line 2 has 4 cells, but line 1 has 2: .*commas are decimal marks"),
        ("a,b\n1,5%\n", "'5%' is a percentage"),
        ("a,b\n1,5\n2,-Inf\n", "column 'b' .row 1, counting from 0; line 3.: '-Inf' is infinite"),
        ("a,b\n1,0x1F\n", "'0x1F' is hexadecimal"),
        ("a,b\n1,1e999\n", "'1e999' is too large"),
        ("a,b\n1,$5\n", "sign of a currency"),
        ("a,b\n1,\u22125\n", "no minus sign"),
        ("a,b\n1,1_000\n", "holds text .'1_000'"),
        ("a,b\n1,?\n", "holds text .'\\?' in row 0, counting from 0; line 2"),
        ("a,b\n\n\n1,?\n", "in row 0, counting from 0; line 4"),
        ("a b\n1 2\n3 4\n", "'1 2' is text: if it should be several cells"),
        ("a,b\ntrue,1\n2,2\n", "holds text .'true'"),
        ("a,b\n1,2\n3,4,5\n", "cannot be read as csv: line 3 has 3 cells, but line 1 has 2"),
        ("a,b\n1,2\n\n3\n", "line 4 has 1 cell, but line 1 has 2"),
        ('a,b\n1,"2"\n3\n', "line 3 has 1 cell, but line 1 has 2"),
        ("a,b\n1,2,3\n2,3,4\n", "row names"),
        ('a,b\n1,"2\n3,4\n', "line 2: a quote is never closed"),
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        ("a,b\n", "has a header but no rows"),
        ("a,b\n\n \n", "has a header but no rows"),
        ("a,b\n1," + "9" * 200_000, "too large for a number"),
        ("a,b\n1,2\0\n", "line 2 holds a zero byte"),
        (b"PK\x03\x04\xff", "spreadsheet"),
        (b"\x1f\x8b\x08junk", "cannot be unpacked by gzip"),
        (gzip.compress(b"a\n1\n", mtime=0)[:-6], "cannot be unpacked by gzip"),
    ],
)
def test_what_is_no_table_of_numbers_is_named(read, text, words):
    with pytest.raises(CommandError, match=words) as refusal:
        read(text)
    assert len(str(refusal.value)) < 600


def test_one_row_and_one_column_are_tables(read):
    same(read("a,b\n1,2\n"), "ab", [[1, 2]])
    same(read("1\n"), ["x0"], [[1]])
    same(read("a\n1"), "a", [[1]])


def test_text_in_quotes_may_hold_anything(read):
    text = 'a,"the\nname",n\n1,2,"x,\n\n""y"""\n3,4,5" pipe\n'
    same(read(text, columns=["the\nname", "a"]), ["the\nname", "a"], [[2, 1], [4, 3]])
    with pytest.raises(CommandError, match=r"'n' holds text \('x,\\n\\n"):
        read(text)


def test_truth_values_in_text(read):
    same(read("a,b\nTRUE,1\nfalse,2\nNA,3\n"), "ab", [[1, 1], [0, 2], [np.nan, 3]])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8"])
def test_encodings(read, encoding):
    raw = "gr\u00f6\u00dfe,b\n1,2\n".encode(encoding)
    same(read(raw, encoding=encoding), ["gr\u00f6\u00dfe", "b"], [[1, 2]])
    if encoding != "utf-8":
        with pytest.raises(CommandError, match="--encoding"):
            read(raw)
    with pytest.raises(CommandError, match="--encoding ascii does not fit"):
        read(raw, encoding="ascii")


@pytest.mark.parametrize("name", ["x.csv.gz", "x.TSV.GZ", "x.csv"])
def test_compressed_tables(read, name):
    separator = "\t" if "TSV" in name else ","
    same(read(gzip.compress(f"a{separator}b\n1{separator}2\n".encode()), name), "ab", [[1, 2]])


@pytest.mark.parametrize("extension", ["csv", "parquet", "npy", "gz"])
def test_standard_input(monkeypatch, extension):
    file = io.BytesIO()
    frame = polars.DataFrame(X, schema=["x0", "x1"])
    match extension:
        case "csv":
            frame.write_csv(file)
        case "gz":
            file.write(gzip.compress(frame.write_csv().encode()))
        case "parquet":
            frame.write_parquet(file)
        case "npy":
            np.save(file, X)
    file.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
    table = read_table("-")
    same(table, ["x0", "x1"], X)
    assert table.name == "standard input"


def test_arrays_that_would_be_changed_are_refused(read):
    for array in (X.astype(np.longdouble), X.astype(complex)):
        file = io.BytesIO()
        np.save(file, array)
        with pytest.raises(CommandError, match="not real numbers"):
            read(file.getvalue(), "x.npy")
    file = io.BytesIO()
    np.savez(file, a=X)
    with pytest.raises(CommandError, match="archive"):
        read(file.getvalue(), "x.npy")
    with pytest.raises(CommandError, match="--header/--no-header is for text tables"):
        read(b"x", "x.npy", header=True)
    with pytest.raises(CommandError, match="--encoding is for text tables"):
        read(b"x", "x.parquet", encoding="latin-1")


def test_names_may_be_given_as_they_are_printed(read):
    same(read("a\x1b[31m,b\n1,2\n", columns=[r"a\x1b[31m"]), ["a\x1b[31m"], [[1]])


CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-(10**6), 10**6),
    st.none(),
)


@settings(max_examples=60)
@given(st.data())
def test_a_table_of_numbers_reads_as_itself_however_it_is_written(tmp_path_factory, data):
    """Separator, decimal mark, quotes, line ends, blank lines, encoding, header, compression."""
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8))
    separator = data.draw(st.sampled_from(",;\t|")) if width > 1 else ","
    # A comma that may be a mark between thousands is refused unless semicolons say that it is none.
    decimal = data.draw(st.sampled_from(".,")) if separator == ";" else "."
    # A line of nothing but blanks, tabs among them, is no row.
    gap = data.draw(st.sampled_from(["NA", "NaN", '""', *[""] * (width > 1 and separator != "\t")]))
    quote, header = data.draw(st.booleans()), data.draw(st.booleans())

    def spell(cell):
        text = gap if cell is None else repr(cell).replace(".", decimal)
        return f'"{text}"' if quote and cell is not None else text

    lines = [separator.join(map(spell, row)) for row in rows]
    names = [f"n {chr(246)}{i}" for i in range(width)]
    lines = [separator.join(names)] * header + lines
    for place in data.draw(st.lists(st.integers(0, len(lines)), max_size=3)):
        lines.insert(place, data.draw(st.sampled_from(["", "  "])))
    encoding = data.draw(st.sampled_from([None, "latin-1", "utf-16"]))
    raw = data.draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines).encode(encoding or "utf-8")
    file = tmp_path_factory.mktemp("table") / "x.csv"
    file.write_bytes(gzip.compress(raw) if data.draw(st.booleans()) else raw)
    options = {"header": header, "encoding": encoding}
    table = read_table(str(file), **options)
    expected = np.array([[np.nan if cell is None else cell for cell in row] for row in rows], float)
    same(table, names if header else [f"x{i}" for i in range(width)], expected)


SIGNS = [*",;\t|\"'\n\r \x1b\0$.-+%", "\r\n", '""', "\ufeff", "\u202e", "\u0661", "\x85", "\u2028"]
WORDS = ["1", "0.5", "1,5", "NA", "nan", "inf", "a", "b", "1e999", "0x1", "sep=;", "true", "1_0", "9" * 400]
PIECES = st.sampled_from([*SIGNS, *WORDS])


@settings(max_examples=300)
@given(
    st.one_of(st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode()), st.binary(max_size=40)),
    st.sampled_from(["x.csv", "x.tsv", "x.npy", "x.csv.gz"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, "latin-1", "utf-16", "utf-7"]),
)
@example(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}", "x.npy", None, None)
def test_no_file_ends_in_anything_but_a_table_or_a_refusal(tmp_path_factory, content, name, header, encoding):
    file = tmp_path_factory.mktemp("fuzz") / name
    file.write_bytes(content)
    text = not name.endswith("npy")
    try:
        table = read_table(str(file), header=header if text else None, encoding=encoding if text else None)
    except CommandError:
        return
    assert table.values.shape == (len(table.values), len(table.columns))
    assert len(set(table.columns)) == len(table.columns)
    assert table.values.size
    assert not np.isinf(table.values).any() or not text


@settings(max_examples=100)
@given(st.data())
def test_damaged_arrays_and_parquet_files_are_tables_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    np.save(folder / "x.npy", X)
    raw = bytearray((folder / "x.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x.npy").write_bytes(raw[: data.draw(st.integers(1, len(raw)))])
    try:
        table = read_table(str(folder / "x.npy"))
    except CommandError:
        return
    assert table.values.ndim == 2
