"""docs/sklearn-parity.md tells the whole story, and the front page repeats what is not simply the same."""

import inspect
import re
from pathlib import Path

import pytest
from sklearn.neural_network import MLPClassifier as OriginalClassifier
from sklearn.neural_network import MLPRegressor as OriginalRegressor

from fastnn import MLPClassifier, MLPRegressor

ROOT = Path(__file__).parents[1]
KINDS = [(MLPClassifier, OriginalClassifier), (MLPRegressor, OriginalRegressor)]
# Metadata routing makes a setter for each method; these are scikit-learn's own for every estimator.
COMMON = re.compile(r"(get|set)_(params|metadata_routing|\w+_request)$")


def rows(section):
    """The rows of a section's table: four cells each."""
    text = (ROOT / "docs" / "sklearn-parity.md").read_text(encoding="utf-8")
    table = text.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(section):
    return {cells[0].strip("`"): cells[1] for cells in rows(section)}


def parameters(kind):
    return inspect.signature(kind).parameters


def methods(kind):
    public = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
    return {name for name in public if not COMMON.match(name)}


def test_every_parameter_is_listed():
    assert set(named("Parameters")) == set(parameters(MLPClassifier)) | set(parameters(MLPRegressor))


def test_every_method_is_listed():
    listed = set(named("Methods"))
    assert listed - {"set_callbacks"} == (methods(MLPClassifier) | methods(MLPRegressor)) - {"set_callbacks"}


@pytest.mark.parametrize(("section", "names"), [("Parameters", parameters), ("Methods", methods)])
def test_new_is_what_scikit_learn_does_not_have(section, names):
    theirs = {name for _, original in KINDS for name in names(original)}
    verdicts = named(section)
    assert {name for name in verdicts if name not in theirs} == {n for n in verdicts if verdicts[n] == "new"}


@pytest.mark.parametrize("section", ["Parameters", "Methods", "Behaviour"])
def test_every_row_names_a_test_that_exists(section):
    code = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    for what, verdict, why, shown in rows(section):
        assert verdict in {"same", "better", "different", "new"}, what
        assert why or verdict == "same", what
        assert f"def {shown.strip('`')}(" in code, what


def test_the_front_page_lists_what_is_not_the_same():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    block = page.split("<!-- drop-in:start -->\n")[1].split("<!-- drop-in:end -->")[0]
    expected = [
        f"| {what} | {verdict} | {why} |"
        for section in ("Parameters", "Methods", "Behaviour")
        for what, verdict, why, _ in rows(section)
        if verdict != "same"
    ]
    assert [line for line in block.splitlines() if line.startswith("| ")][1:] == expected
