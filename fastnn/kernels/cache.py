"""Compiled entry points on disk.  First cut, see jit.py."""

import hashlib
import os
import pickle
import sys
import tempfile
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

counts = {"compiled": 0, "loaded": 0}


def cache_folder():
    root = os.environ.get("FASTNN_CACHE_DIR")
    return Path(root) if root else Path.home() / ".cache" / "fastnn"


def sources_digest(folder):
    digest = hashlib.sha256()
    for path in sorted(Path(folder).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class EntryCache:
    def __init__(self, function):
        self._function = function
        self.cache_path = str(cache_folder())

    def enable(self):
        pass

    def disable(self):
        pass

    def flush(self):
        pass

    def _path(self, signature, codegen):
        function = self._function
        key = (
            sources_digest(Path(function.__code__.co_filename).parent),
            f"{function.__module__}.{function.__qualname__}",
            str(signature),
            codegen.magic_tuple(),
            (sys.version, numba.__version__, llvmlite.__version__, np.__version__),
        )
        return cache_folder() / hashlib.sha256(repr(key).encode()).hexdigest()

    def load_overload(self, signature, target_context):
        target_context.refresh()
        try:
            content = self._path(signature, target_context.codegen()).read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            result = CompileResult._rebuild(target_context, *pickle.loads(content[32:]))
        except Exception:
            return None
        counts["loaded"] += 1
        return result

    def save_overload(self, signature, result):
        counts["compiled"] += 1
        try:
            path = self._path(signature, result.codegen)
            path.parent.mkdir(parents=True, exist_ok=True)
            body = dumps(result._reduce())
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(hashlib.sha256(body).digest() + body)
            os.replace(file.name, path)
        except Exception:
            return
