"""Compare whole texts with the files of tests/golden."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from checkout import TESTS

FOLDER = TESTS / "golden"


class Goldens:
    """The golden files of all rooms."""

    def __init__(self, folder: Path = FOLDER, *, is_rewriting: bool = False) -> None:
        """`is_rewriting`: whether to write the files instead of comparing."""
        self._folder = folder
        self._is_rewriting = is_rewriting
        self._used: set[Path] = set()

    def check(self, room: str, name: str, text: str) -> None:
        """Fail unless `text` is the content of ROOM/NAME.txt.

        A final newline is ignored.
        """
        path = self._folder / room / f"{name}.txt"
        if path in self._used:
            pytest.fail(f"two tests use {path}")
        self._used.add(path)
        text = text.removesuffix("\n") + "\n"
        if self._is_rewriting:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.is_file():
            pytest.fail(f"no {path}; `make golden` writes it:\n{text}")
        elif text != path.read_text():
            pytest.fail(_difference(path, text), pytrace=False)


def _difference(path: Path, text: str) -> str:
    lines = difflib.unified_diff(
        path.read_text().splitlines(),
        text.splitlines(),
        fromfile=str(path),
        tofile="this run",
        lineterm="",
    )
    return "\n".join((*lines, "if this is right: make golden"))
