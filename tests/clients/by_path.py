"""Modules of python-pygaze by path: the package itself wants a display."""

import importlib.metadata
import importlib.util
import sys
import types


def pygaze_module(name):
    files = importlib.metadata.files("python-pygaze")
    path = next(file for file in files if str(file).endswith(f"_eyetracker/{name}.py")).locate()
    # All that these modules use of their package.
    package = types.ModuleType("pygaze")
    package.__path__ = [str(path.parents[1])]
    sys.modules.setdefault("pygaze", package)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
