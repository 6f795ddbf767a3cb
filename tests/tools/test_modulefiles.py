"""The module's version files: links to one body, one for each lock, and the default."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest
from versions import ACCELERATORS, CHECKOUT, DEFAULT_ACCELERATOR

import modulefiles

COMMITTED = CHECKOUT / "modulefiles" / "jax-sif"


def links(folder: Path) -> dict[str, str]:
    """Version -> where its file points to."""
    return {path.stem: str(path.readlink()) for path in folder.glob("[!.]*.lua")}


def default(folder: Path) -> str:
    lines = (folder / ".modulerc.lua").read_text().splitlines()
    return lines[-1]


def test_the_committed_versions_are_those_of_the_locks() -> None:
    expected = {
        modulefiles.module_version(accel): ".generic.lua" for accel in ACCELERATORS
    }

    assert expected == links(COMMITTED)
    assert (COMMITTED / ".generic.lua").is_file()


def test_the_committed_default_is_the_default_accelerator() -> None:
    version = modulefiles.module_version(DEFAULT_ACCELERATOR)

    assert f'module_version("jax-sif/{version}", "default")' == default(COMMITTED)


def test_new_locks_replace_the_versions_of_old_ones(tmp_path: Path) -> None:
    (tmp_path / "0.1-cpu.lua").symlink_to(".generic.lua")

    modulefiles.write_all(tmp_path)

    assert links(COMMITTED) == links(tmp_path)
    assert default(COMMITTED) == default(tmp_path)


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    modulefiles.write_all(tmp_path)
    first = {path.name: path.lstat().st_ino for path in tmp_path.glob("*-*.lua")}
    modulefiles.write_all(tmp_path)

    assert links(COMMITTED) == links(tmp_path)
    assert set(first) == {path.name for path in tmp_path.glob("*-*.lua")}
    assert [] == list(tmp_path.glob(".*.new"))


def test_a_version_file_of_the_site_stays(tmp_path: Path) -> None:
    own = tmp_path / "1.0-cpu.lua"
    own.write_text("-- ours")

    modulefiles.add_version(tmp_path, "1.0-cpu")

    assert "-- ours" == own.read_text()


def test_a_default_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    modulefiles.set_default(tmp_path, "1.0-cpu")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        modulefiles.set_default(tmp_path, "2.0-cpu")

    assert "1.0-cpu" in default(tmp_path)
    assert [".modulerc.lua"] == [path.name for path in tmp_path.iterdir()]
