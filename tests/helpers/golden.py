"""Compare whole texts with files of tests/golden, and find files no test uses."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import pytest
from checkout import TESTS

FOLDER = TESTS / "golden"


class Goldens:
    """The golden files of all rooms, and which of them this run has used."""

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

    def unused(self, rooms: Iterable[str]) -> list[Path]:
        """Return the files of rooms, all of whose tests have run, that none has used.

        When rewriting, delete them and return none.
        """
        files = [p for room in rooms for p in (self._folder / room).glob("*.txt")]
        unused = sorted(set(files) - self._used)
        if not self._is_rewriting:
            return unused
        for path in unused:
            path.unlink()
        return []


def _difference(path: Path, text: str) -> str:
    lines = difflib.unified_diff(
        path.read_text().splitlines(),
        text.splitlines(),
        fromfile=str(path),
        tofile="this run",
        lineterm="",
    )
    return "\n".join((*lines, "if this is right: make golden"))


class GoldenPlugin:
    """Fail a run that has passed every test of a room and left a golden file unused."""

    def __init__(self, goldens: Goldens) -> None:
        self.goldens = goldens
        # For each room, its files with tests that passed.
        self._tested: dict[str, set[Path]] = {}
        self._incomplete: set[str] = set()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._incomplete |= {item.path.parent.name for item in items}

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        # A single test, named on the command line, is not a whole file.
        if any("::" in argument for argument in config.args):
            self._incomplete |= {item.path.parent.name for item in items}
        for item in items:
            self._tested.setdefault(item.path.parent.name, set()).add(item.path)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item):
        report = yield
        if not report.passed:
            self._incomplete.add(item.path.parent.name)
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # A run that ended early, as with -x, has not run all.
        if (
            session.shouldfail
            or session.shouldstop
            or session.config.option.collectonly
        ):
            return
        for path in self.goldens.unused(self._complete_rooms()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print(f"\nno test uses {path}; `make golden` deletes it")

    def _complete_rooms(self) -> list[str]:
        return [
            room
            for room, files in self._tested.items()
            if room not in self._incomplete
            and files == set(next(iter(files)).parent.glob("test_*.py"))
        ]
