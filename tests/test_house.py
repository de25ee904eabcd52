"""The rules of the house: where a module may look, how long things may get, what the front page promises."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import statistics
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastnn

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastnn"
README = (ROOT / "README.md").read_text(encoding="utf-8")

# A module imports from its own floor and from those below it.
FLOORS = {
    "fastnn": 0,  # names and the version; it imports nothing until a name is used
    "fastnn.kernels": 0,
    "fastnn.architecture": 1,
    "fastnn.checks": 1,
    "fastnn.engine": 1,
    "fastnn.threads": 1,
    "fastnn.network": 2,
    "fastnn.optimizers": 2,
    "fastnn.state": 3,
    "fastnn.training": 3,
    "fastnn.estimators": 5,
    "fastnn.datasets": 6,
    "fastnn.patch": 7,
    "fastnn.patching": 6,
    "fastnn.cli": 6,
    "fastnn.__main__": 6,
}
# The same inside the kernels, from the tools at the bottom to the loops at the top.
KERNEL_FLOORS = [
    {
        "apart",
        "arguments",
        "arithmetic",
        "dots",
        "cache",
        "codes",
        "interrupts",
        "jit",
        "layout",
        "meeting",
        "parts",
        "placement",
        "resolution",
        "simd",
        "state",
        "subnormals",
        "team",
        "transposition",
    },
    {
        *("activations", "dense", "elementary", "idle", "lookup", "losses", "optimizers"),
        *("random", "schedule", "shards"),
    },
    {"sample"},
    {"sparse"},
    {"zeros"},
    {"backprop"},
    {"gradients", "thin"},
    {"passes", "samples"},
    {"loops", "small"},
]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))
}
KERNELS = {name: tree for name, tree in TREES.items() if name.startswith("fastnn.kernels")}


def lines_of(path):
    return path.read_text(encoding="utf-8").count("\n")


def executed(tree):
    """The nodes of a file, late ones too, without those that only type checkers read."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from executed(child)


def imports_of(tree):
    """Modules imported anywhere in a file; `from a import b` counts as a.b where that is a module."""
    for node in executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                home = fastnn._HOMES.get(alias.name) if node.module == "fastnn" else None
                yield home or (inner if inner in TREES else node.module)


def floor(name):
    return max((len(known), level) for known, level in FLOORS.items() if f"{name}.".startswith(f"{known}."))[
        1
    ]


def functions():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield name, node


def body_length(function):
    """Lines of a function below its docstring."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return function.end_lineno - first.lineno + 1


def compiled(function):
    """Whether a function is a kernel: decorated with @kernel, @kernel(...), @part(...) or @entry."""
    names = {
        getattr(node.func if isinstance(node, ast.Call) else node, "id", "")
        for node in function.decorator_list
    }
    return bool(names & {"kernel", "part", "entry"})


def test_every_module_has_a_floor():
    homeless = {
        name
        for name in TREES
        if name != "fastnn" and not any(f"{name}.".startswith(f"{f}.") for f in FLOORS if "." in f)
    }
    assert set(FLOORS) <= set(TREES)
    kernels = {name.rpartition(".")[2] for name in KERNELS} - {"kernels"}
    assert not homeless
    assert kernels <= set().union(*KERNEL_FLOORS)


@pytest.mark.parametrize("name", TREES)
def test_no_import_goes_up(name):
    if name == "fastnn":
        return
    upwards = [other for other in imports_of(TREES[name]) if other in TREES and floor(other) > floor(name)]
    assert not upwards, f"{name} imports {upwards} from a floor above its own"


def kernel_floor(name):
    return next(level for level, names in enumerate(KERNEL_FLOORS) if name.rpartition(".")[2] in names)


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "fastnn.kernels"])
def test_no_kernel_import_goes_up(name):
    inner = [other for other in imports_of(TREES[name]) if other in KERNELS and other != "fastnn.kernels"]
    upwards = [other for other in inner if kernel_floor(other) > kernel_floor(name)]
    assert not upwards, f"{name} imports {upwards}"


def test_imports_have_no_circle():
    # `import fastnn` itself happens before everything and imports nothing.
    graph = {
        n: {i for i in imports_of(t) if i in TREES} - {n, "fastnn"} for n, t in TREES.items() if n != "fastnn"
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {error.args[1]}")
    assert set(order) >= set(graph)


def test_kernels_import_numbers_only():
    allowed = {"numpy", "numba", "llvmlite"} | set(sys.stdlib_module_names)
    foreign = {
        (name, other)
        for name, tree in KERNELS.items()
        for other in imports_of(tree)
        if other.partition(".")[0] not in allowed and not other.startswith("fastnn.kernels")
    }
    assert not foreign


def test_compiler_flags_are_in_one_file():
    flags = {"fastmath", "error_model", "nogil", "boundscheck", "inline", "locals"}
    decorators = {"jit", "njit", "vectorize", "guvectorize", "jitclass", "cfunc"}
    found = []
    for name, tree in TREES.items():
        if name == "fastnn.kernels.jit":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in flags:
                found.append((name, node.arg))
            if isinstance(node, ast.Name | ast.Attribute):
                word = node.id if isinstance(node, ast.Name) else node.attr
                found += [(name, word)] if word in decorators else []
    assert not found


def test_numba_threads_numba_cache_and_hidden_random_state_are_not_used():
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("parallel", "cache"):
                found += [(name, node.arg)] if getattr(node.value, "value", None) is True else []
    for name, tree in KERNELS.items():
        found += [(name, "random") for node in ast.walk(tree) if ast.unparse(node).startswith("np.random")]
    assert not found


def test_a_kernel_has_at_most_nine_arguments_and_a_docstring():
    kernels = [(name, node) for name, node in functions() if compiled(node)]
    crowded = [f"{name}.{node.name}" for name, node in kernels if len(node.args.args) > 9]
    mute = [f"{name}.{node.name}" for name, node in kernels if not ast.get_docstring(node)]
    assert kernels
    assert not crowded
    assert not mute


def test_kernels_are_typed_by_the_compiler():
    annotated = [
        f"{name}.{node.name}"
        for name, node in functions()
        if compiled(node) and (node.returns or any(argument.annotation for argument in node.args.args))
    ]
    assert not annotated


def test_functions_are_short():
    lengths = {f"{name}.{node.name}": body_length(node) for name, node in functions()}
    long = {name: length for name, length in lengths.items() if length > 60}
    assert not long
    assert sum(length <= 30 for length in lengths.values()) >= 0.9 * len(lengths)


def test_files_are_short():
    lengths = {module_name(path): lines_of(path) for path in PACKAGE.rglob("*.py")}
    assert max(lengths.values()) <= 450, max(lengths, key=lengths.get)
    assert statistics.median(lengths.values()) <= 150


def test_importing_the_package_imports_nothing_else():
    heavy = ["numba", "numpy", "sklearn", "matplotlib", "pandas", "rich"]
    code = f"import sys, fastnn; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", fastnn.__all__)
def test_public_name_exists(name):
    assert name in dir(fastnn)
    assert getattr(fastnn, name) is not None


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'fastnn' has no attribute 'Perceptron'"):
        _ = fastnn.Perceptron


def public_classes():
    return [name for name in fastnn.__all__ if inspect.isclass(getattr(fastnn, name))]


@pytest.mark.parametrize("name", public_classes())
def test_public_class_shows_an_example(name):
    assert ">>>" in inspect.getdoc(getattr(fastnn, name))


@pytest.mark.parametrize("name", public_classes())
def test_public_methods_are_typed(name):
    untyped = []
    for method_name, method in inspect.getmembers(getattr(fastnn, name), inspect.isfunction):
        ours = method.__module__.startswith("fastnn") and not method_name.startswith("_")
        if ours or (method_name == "__init__" and method.__module__.startswith("fastnn")):
            parameters = list(inspect.signature(method).parameters.values())
            bare = [p.name for p in parameters if p.name != "self" and p.annotation is p.empty]
            unsaid = inspect.signature(method).return_annotation is inspect.Signature.empty
            untyped += [f"{method_name}: {bare}"] if bare or unsaid else []
    assert not untyped


@pytest.mark.parametrize(
    "name", [n for n, tree in TREES.items() if ">>>" in ast.unparse(tree) and n not in KERNELS]
)
def test_docstring_examples_run(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", python_blocks(README), ids=lambda code: code.splitlines()[0])
def test_readme_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert set(names) - {"__builtins__"}


def test_readme_has_an_example_in_its_first_thirty_lines():
    assert python_blocks("\n".join(README.splitlines()[:30]) + "\n")


def test_ci_runs_the_test_command_of_the_readme():
    recipe = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -E '([^']+)' README.md", recipe).group(1)
    commands = [line for line in README.splitlines() if re.search(pattern, line)]
    assert len(commands) == 1
    assert commands[0].startswith("python3 -m venv .venv && ")
    assert 'bash -euo pipefail -c "$test_command"' in recipe


def test_readme_has_one_line_that_sets_up_and_compares():
    commands = [line for line in README.splitlines() if line.endswith("-m fastnn compare digits")]
    assert any(line.startswith("python3 -m venv .venv && ") for line in commands)


def test_readme_gives_a_reason_for_each_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", each).group() for each in project["dependencies"]]
    assert len(names) <= 4
    assert [name for name in names if f"| {name} |" not in README] == []


def test_readme_map_names_what_exists():
    block = re.search(r"## Map of the code\n.*?```\n(.*?)```", README, flags=re.DOTALL).group(1)
    places = [line.split()[0] for line in block.splitlines() if line.strip()]
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []
