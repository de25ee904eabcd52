"""The disk cache, on a package of two small kernels: what it keeps, and what it survives."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest

from fastnn.kernels import cache

ROOT = Path(__file__).parents[1]
KERNEL = """
from fastnn.kernels.jit import kernel

@kernel
def scaled(value):
    return 2 * value
"""
ENTRY = """
from fastnn.kernels.jit import entry
from small.inner import scaled

@entry
def total(values):
    result = values.dtype.type(0)
    for value in values:
        result += scaled(value)
    return result
"""
# Runs in a process of its own; the last line it prints is what it found.
REPORT = """
import json, sys, warnings
import numpy as np
from numba.core import event

with warnings.catch_warnings(record=True) as caught, event.install_recorder("numba:compile") as compilations:
    warnings.simplefilter("always")
    from fastnn.kernels import cache
    from small.outer import total
    values = []
    for line in sys.argv[1:]:
        exec(line)
    values.append(float(total(np.arange(4, dtype=np.float32))))
report = dict(cache.statistics, values=values, compilations=len(compilations.buffer))
print(json.dumps(report | {"warnings": [str(warning.message) for warning in caught]}))
"""
WHOLE = {"values": [12.0], "warnings": []}
COMPILED = WHOLE | {"compiled": 1, "loaded": 0}
LOADED = WHOLE | {"compiled": 0, "loaded": 1, "compilations": 0}
IN_DOUBLE = "values.append(float(total(np.arange(4, dtype=np.float64))))"


class Small:
    """The package of two kernels, and the environment that it runs in."""

    def __init__(self, folder):
        self.package, self.cache = folder / "small", folder / "cache"
        self.package.mkdir()
        (self.package / "__init__.py").touch()
        (self.package / "inner.py").write_text(KERNEL)
        (self.package / "outer.py").write_text(ENTRY)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")
        }
        self.environment |= {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment |= {"FASTNN_CACHE_DIR": str(self.cache)}

    def start(self, *lines):
        command = [sys.executable, "-c", REPORT, *lines]
        return subprocess.Popen(command, env=self.environment, text=True, stdout=subprocess.PIPE)

    def finish(self, process):
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        return json.loads(output.splitlines()[-1])

    def run(self, *lines):
        return self.finish(self.start(*lines))

    def files(self):
        return list(self.cache.iterdir())


@pytest.fixture
def small(tmp_path):
    return Small(tmp_path)


def contains(report, expected):
    return {name: report[name] for name in expected} == expected


def test_second_process_compiles_nothing(small):
    assert contains(small.run(), COMPILED)
    assert contains(small.run(), LOADED)
    assert len(small.files()) == 1


def test_four_processes_that_start_cold_at_once_are_right_and_quiet(small):
    reports = [small.finish(process) for process in [small.start() for _ in range(4)]]
    assert all(contains(report, WHOLE) for report in reports)
    assert len(small.files()) == 1
    assert contains(small.run(), LOADED)


def test_read_only_package_without_home_uses_the_temporary_folder(small, tmp_path):
    (tmp_path / "temporary").mkdir()
    del small.environment["FASTNN_CACHE_DIR"]
    # Below a file nobody can make a folder, not even an administrator.
    nowhere = str(small.package / "inner.py" / "nowhere")
    small.environment |= dict.fromkeys(("HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"), nowhere)
    small.environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path / "temporary"))
    small.package.chmod(0o555)
    assert contains(small.run(), COMPILED)
    assert contains(small.run(), LOADED)
    assert sorted(path.name for path in small.package.iterdir()) == ["__init__.py", "inner.py", "outer.py"]


def test_without_any_folder_it_works_and_warns_once(small):
    small.environment["FASTNN_CACHE_DIR"] = str(small.package / "inner.py" / "nowhere")
    report = small.run(IN_DOUBLE)
    assert contains(report, {"values": [12.0, 12.0], "compiled": 2, "loaded": 0})
    (message,) = report["warnings"]
    assert "nowhere" in message
    assert "set FASTNN_CACHE_DIR" in message


def test_full_folder_is_survived_with_one_warning(small):
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    report = small.run(limit, IN_DOUBLE)
    assert contains(report, {"values": [12.0, 12.0], "compiled": 2})
    assert len(report["warnings"]) == 1
    assert small.files() == []


def test_folder_that_vanishes_is_made_again(small):
    vanish = "import shutil; shutil.rmtree(cache.cache_folder())"
    assert contains(small.run(IN_DOUBLE, vanish), {"values": [12.0, 12.0], "compiled": 2, "warnings": []})
    assert contains(small.run(), LOADED)


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(
            lambda content: content[:-100] + bytes([content[-100] ^ 1]) + content[-99:], id="flipped"
        ),
    ],
)
def test_damaged_file_is_compiled_again_and_mended(small, damaged):
    small.run()
    (path,) = small.files()
    path.write_bytes(damaged(path.read_bytes()))
    assert contains(small.run(), COMPILED)
    assert contains(small.run(), LOADED)


def test_changed_kernel_in_another_file_is_noticed(small):
    small.run()
    (small.package / "inner.py").write_text(KERNEL.replace("2 * value", "3 * value"))
    assert contains(small.run(), COMPILED | {"values": [18.0]})


def test_nothing_is_kept_once_sources_differ_from_what_was_imported(small):
    edit = (
        f"from pathlib import Path; Path({str(small.package / 'inner.py')!r}).write_text('raise SystemExit')"
    )
    assert contains(small.run(edit), COMPILED)
    assert not small.cache.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_folder_that_others_can_write_is_not_trusted(small):
    small.cache.mkdir()
    small.cache.chmod(0o777)
    report = small.run()
    assert contains(report, {"values": [12.0], "compiled": 1})
    assert len(report["warnings"]) == 1
    assert small.files() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no user numbers")
def test_what_another_user_owns_is_not_trusted(tmp_path, monkeypatch):
    file = tmp_path / "code"
    file.touch(0o600)
    status = SimpleNamespace(st_uid=1000, st_mode=file.stat().st_mode)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cache.private(status)
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    assert not cache.private(status)


def test_file_under_the_name_of_another_is_not_read(tmp_path):
    cache.write(tmp_path / "right", b"body")
    assert cache.read(tmp_path / "right") == b"body"
    (tmp_path / "right").rename(tmp_path / "wrong")
    assert cache.read(tmp_path / "wrong") is None


class TestName:
    """A file's name changes with everything that changes the machine code."""

    @pytest.fixture
    def name(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(cache.Sources, "unchanged", lambda sources: True)
        entry_cache = cache.FunctionCache(cache.read)

        def name(signature="(float32,)", *cpu):
            return entry_cache.path(signature, SimpleNamespace(magic_tuple=lambda: cpu)).name

        return name

    def test_it_is_the_same_for_the_same_thing(self, name):
        assert name() == name()

    def test_it_depends_on_signature_and_cpu(self, name):
        assert (
            len(
                {
                    name(),
                    name("(float64,)"),
                    name("(float32,)", "znver4"),
                    name("(float32,)", "znver4", "+avx"),
                }
            )
            == 4
        )

    @pytest.mark.parametrize("setting", ["BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "DEBUGINFO_DEFAULT"])
    def test_it_depends_on_numbas_configuration(self, name, setting, monkeypatch):
        before = name()
        monkeypatch.setattr(numba.config, setting, "another")
        assert name() != before

    def test_it_does_not_depend_on_the_number_of_threads(self, name, monkeypatch):
        before = name()
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
        assert name() == before


def test_sweep_deletes_what_was_not_used_for_longest_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MAX_BYTES", 250)
    for name, days in {
        "new.fastnn": 0,
        "used.fastnn": 1,
        "excess.fastnn": 2,
        "old.fastnn": 91,
        "foreign": 91,
    }.items():
        (tmp_path / name).write_bytes(bytes(100))
        moment = time.time() - days * 24 * 3600
        os.utime(tmp_path / name, (moment, moment))
    cache.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "new.fastnn", "used.fastnn"]


def test_reading_a_file_after_a_day_notes_that_it_is_in_use(tmp_path):
    path = tmp_path / "code"
    cache.write(path, b"body")
    os.utime(path, (0, 0))
    cache.read(path)
    assert time.time() - path.stat().st_mtime < 60


@pytest.mark.parametrize(
    "platform, expected", [("linux", ".cache/fastnn"), ("darwin", "Library/Caches/fastnn")]
)
def test_default_folder_is_the_platforms(platform, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folders = list(importlib.import_module("fastnn.kernels.cache").default_folders())
    assert folders[0] == tmp_path / expected
