"""Data sets by name and from CSV files: what is read, and what each mistake is answered with."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_linnerud, load_wine

from fastnn.datasets import KNOWN, load


@pytest.fixture
def csv(tmp_path):
    """Write a CSV file and load it."""

    def write(text, target="y", **options):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, target, **options)

    return write


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_name_loads_finite_float32(name):
    data = load(name)
    assert data.name == name
    assert data.X.dtype == np.float32
    assert np.isfinite(data.X).all()
    assert data.X.shape == (len(data.y), len(data.feature_names))


def test_classes_are_numbers_into_the_target_names():
    data, original = load("wine"), load_wine()
    assert data.task == "classification"
    assert [data.target_names[number] for number in data.y] == [
        original.target_names[t] for t in original.target
    ]


def test_regression_targets_are_float32_columns():
    data = load("linnerud")
    assert (data.task, data.y.dtype, data.target_names) == (
        "regression",
        np.float32,
        ("Weight", "Waist", "Pulse"),
    )
    np.testing.assert_array_equal(data.y, load_linnerud().target.astype(np.float32))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_is_split_into_features_and_target(csv, separator):
    lines = ["a,y,b", "1,0.5,2", "3,1.5,-4e1", ""]
    data = csv("\r\n".join(lines).replace(",", separator))
    assert (data.name, data.task) == ("table", "regression")
    assert (data.feature_names, data.target_names) == (("a", "b"), ("y",))
    np.testing.assert_array_equal(data.X, [[1, 2], [3, -40]])
    np.testing.assert_array_equal(data.y, np.float32([0.5, 1.5]))


def test_csv_cells_may_be_quoted_and_blank_lines_are_skipped(csv):
    data = csv('\ufeff"size, in m",y\n" 1",yes\n\n2,"no"\n3,yes\n4,no\n')
    assert data.feature_names == ("size, in m",)
    assert data.target_names == ("no", "yes")
    np.testing.assert_array_equal(data.y, [1, 0, 1, 0])


def test_text_targets_are_classes(csv):
    data = csv("a,y\n1,cat\n2,dog\n3,cat\n4,dog\n")
    assert (data.task, data.target_names) == ("classification", ("cat", "dog"))


def test_few_whole_numbers_are_classes_in_numeric_order(csv):
    data = csv("a,y\n" + "".join(f"{i},{(2, 10)[i % 2]}\n" for i in range(8)))
    assert (data.task, data.target_names) == ("classification", ("2", "10"))
    np.testing.assert_array_equal(data.y, [0, 1] * 4)


def test_many_whole_numbers_are_a_regression(csv):
    assert csv("a,y\n" + "".join(f"{i},{i}\n" for i in range(60))).task == "regression"


def test_task_overrides_the_guess(csv):
    text = "a,y\n1,1\n2,2\n3,1\n4,2\n"
    assert csv(text).task == "classification"
    data = csv(text, task="regression")
    np.testing.assert_array_equal(data.y, np.float32([1, 2, 1, 2]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv is empty"),
        ("a,y\n", "a header and no rows"),
        ("a,a,y\n1,2,3\n", "two columns called 'a'"),
        ("a,b,y\n1,2,3\n1,2\n", "line 3 of table.csv has 2 cells, its header has 3"),
        ("a,b,y\n1,2,3\n4,red,6\n", "column 'b', row 2, is 'red': a feature has to be a number"),
        ("a,b,y\n1,,3\n", "column 'b', row 1, is empty"),
        ("a,b,y\n1,nan,3\n", "column 'b', row 1, is 'nan': a feature has to be finite"),
        ("a,b,y\n1,2,3\n1,-inf,3\n", "column 'b', row 2, is '-inf'"),
        (
            "a,y\n1,2\n2,1e39\n",
            "column 'y', row 2, is '1e39': a regression target has to be finite in float32",
        ),
        ("a,y\n1,no\n2,\n", "column 'y', row 2, is empty: every row needs its class"),
        ("a,y\n1,no\n2,no\n", "'y' has the one value 'no'"),
        ("a,y\n1,p\n2,q\n3,r\n", "3 different values in 3 rows"),
        ("y\n1\n", "no column besides the target 'y'"),
        (
            "a,Y,z\n1,2,3\n",
            r"'y' is not a column of table.csv; did you mean 'Y'\? It has the columns 'a', 'Y', 'z'",
        ),
        (b"a,y\n\xff,1\n", "not UTF-8 text"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_of_the_mistake(csv, text, message):
    with pytest.raises(ValueError, match=message):
        csv(text)


def test_text_in_a_regression_target_is_refused(csv):
    with pytest.raises(
        ValueError, match="column 'y', row 2, is 'high': a regression target has to be a number"
    ):
        csv("a,y\n1,2\n3,high\n", task="regression")


def test_a_csv_file_needs_a_target(csv):
    with pytest.raises(
        ValueError, match=r"name the column of table\.csv to predict; it has the columns 'a', 'y'"
    ):
        csv("a,y\n1,2\n", None)


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere\.csv'"):
        load("nowhere.csv", "y")


@pytest.mark.parametrize(
    ("name", "guess"),
    [("digit", "did you mean 'digits'"), ("IRIS", "did you mean 'iris'"), ("zzz", "'zzz'. Known")],
)
def test_unknown_name_is_answered_with_the_known_ones(name, guess):
    with pytest.raises(ValueError, match=guess) as caught:
        load(name)
    assert all(known in str(caught.value) for known in KNOWN)


def test_known_names_take_neither_target_nor_another_task():
    with pytest.raises(ValueError, match="target is for CSV files"):
        load("iris", "species")
    with pytest.raises(ValueError, match="task of the data set 'iris' is 'classification'; got 'regression'"):
        load("iris", task="regression")
