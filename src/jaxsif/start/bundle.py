"""Start the tool from one file of byte code: a module takes a millisecond."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import (
    SourceFileLoader,
    spec_from_file_location,
)

# Types alone: these modules would cost a millisecond each.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType
    from typing import Any

# Written by tools/image_bundle.py: {"stamp": ..., "modules": {name: (path, byte
# code)}}. An image without it, or with other modules bound over its own, imports as
# usual.
BUNDLE = "/opt/jax-sif/modules.bundle"


class BundleLoader(SourceFileLoader):
    """Sets a module's path, for resources and tracebacks, without reading the file."""

    def __init__(self, name: str, path: str, code: bytes) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:
        code: CodeType = marshal.loads(self._code)
        return code


class BundleFinder:
    """Finds the modules of the bundle; all others are left to Python."""

    def __init__(self, modules: dict[str, tuple[str, bytes]]) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: Any, target: Any = None, /
    ) -> ModuleSpec | None:
        found = self._modules.get(name)
        if found is None:
            return None
        return spec_from_file_location(
            name, found[0], loader=BundleLoader(name, *found)
        )


def stamp() -> int:
    """Differs if another checkout is mounted over the image's package."""
    return int(
        os.stat(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))).st_mtime
    )


def install_bundle(path: str = BUNDLE) -> bool:
    """Use the bundle, if it is valid; return whether it is."""
    try:
        with open(path, "rb") as file:
            bundle = marshal.load(file)
    except OSError:
        return False
    if bundle["stamp"] != stamp():
        return False
    sys.meta_path.insert(0, BundleFinder(bundle["modules"]))
    return True


if __name__ == "__main__":
    install_bundle()
    # This file's directory must not be searched for modules.
    if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        sys.path.pop(0)
    from jaxsif.cli import main

    sys.exit(main())
