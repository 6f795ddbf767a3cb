"""How the tool starts in the image: from one file of modules, or as usual where that file does not fit."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxsif.start import bundle

PROGRAM = """
import sys; sys.path.insert(0, {src!r})
from jaxsif.start import bundle
print(bundle.install_bundle({bundle!r}))
try:
    import bundled
    print(bundled.WHERE, bundled.__file__)
except ImportError as error:
    print(error.name)
"""


@pytest.fixture
def imports(tmp_path):
    """What a program says that uses a bundle and imports `bundled`."""

    def imports(**changes: object) -> list[str]:
        code = marshal.dumps(compile("WHERE = 'in the bundle'", "bundled.py", "exec"))
        modules = {"bundled": ("/no/such/bundled.py", code)}
        path = tmp_path / "bundle"
        path.write_bytes(
            marshal.dumps({"stamp": bundle.stamp(), "modules": modules, **changes})
        )
        src = str(Path(bundle.__file__).parents[2])
        program = PROGRAM.format(src=src, bundle=str(path))
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return imports


def test_modules_come_from_the_bundle_and_know_their_files(imports):
    assert ["True", "in the bundle /no/such/bundled.py"] == imports()


def test_a_bundle_of_another_checkout_is_not_used(imports):
    assert ["False", "bundled"] == imports(stamp=1)


def test_without_a_bundle_modules_come_as_usual(tmp_path):
    assert not bundle.install_bundle(str(tmp_path / "none"))


def test_it_starts_the_tool_from_anywhere(tmp_path):
    # A module of the user's, with the name of one that the tool needs.
    (tmp_path / "argparse.py").write_text("raise SystemExit('not mine')")

    done = subprocess.run(
        [sys.executable, bundle.__file__, "profile", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    assert "allreduce" in done.stdout
