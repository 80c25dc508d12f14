"""A pytest plugin for a Python that has no torch: the parts of rambit that need none can be imported and tested."""

import importlib.util
import sys
import types

from hypothesis import settings

settings.register_profile("rambit", deadline=None, derandomize=True)  # a first call compiles
settings.load_profile("rambit")
sys.modules["torch"] = types.ModuleType("torch")  # twins that need none share files with those that do
for name in ("rambit", "rambit.game", "rambit.rex"):  # without what these import
    package = types.ModuleType(name)
    package.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
    sys.modules[name] = package
