"""scikit-learn's own tests of its MLP, taken from the installed package, run on fastnn's estimators."""

import inspect
import re
import types

import pytest
import sklearn.neural_network.tests.test_mlp as originals

import fastnn

# Tests that read private attributes of the original, and which.
LEFT_OUT = {"test_gradient": "_loss_grad_lbfgs"}


def swapped_module():
    """The test module, compiled from its source with the two classes imported from fastnn."""
    source, swaps = re.subn(
        r"^from sklearn\.neural_network import MLPClassifier, MLPRegressor$",
        "from fastnn import MLPClassifier, MLPRegressor",
        inspect.getsource(originals),
        flags=re.MULTILINE,
    )
    assert swaps == 1, "the import in scikit-learn's test_mlp.py has changed"
    module = types.ModuleType("sklearn_test_mlp_on_fastnn")
    exec(compile(source, originals.__file__, "exec"), module.__dict__)
    return module


module = swapped_module()


@pytest.fixture
def global_random_seed():
    return 42


globals().update(
    (name, value) for name, value in vars(module).items() if name.startswith("test_") and name not in LEFT_OUT
)


def test_the_swapped_module_uses_fastnn():
    assert module.MLPClassifier is fastnn.MLPClassifier
    assert module.MLPRegressor is fastnn.MLPRegressor


@pytest.mark.parametrize(("name", "attribute"), LEFT_OUT.items())
def test_a_test_left_out_reads_a_private_attribute(name, attribute):
    assert f".{attribute}" in inspect.getsource(getattr(originals, name))
    assert not hasattr(fastnn.MLPClassifier, attribute)
