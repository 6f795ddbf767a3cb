"""The walls between packages, which import-linter holds: the source keeps them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT, SRC

# module that imports, and what it may not
OVER_A_WALL = (
    ("arrays", "jaxsif.bandwidth.plan"),
    ("core", "jaxsif.job.render"),
    ("core.topology", "jax"),
    ("html", "jaxsif.report.page"),
    ("launch", "jaxsif.rank.reporter"),
    ("lint", "jaxsif.job.render"),
    ("node", "jax"),
    ("node", "jaxsif.rank.reporter"),
    ("pairs", "jax"),
    ("pairs", "jaxsif.bandwidth.plan"),
    ("rank", "jaxsif.verdict.verdict"),
    ("report", "jaxsif.verdict.verdict"),
    ("scaling", "jaxsif.report.page"),
    ("verdict", "jaxsif.rank.reporter"),
    ("verdict", "jaxsif.node.mpi"),
)


def file_of(module: str, source: Path = SRC) -> Path:
    path = source / "jaxsif" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def lint_imports(source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(Path(sys.executable).parent / "lint-imports", "--no-cache"),
            *("--config", ROOT / "pyproject.toml"),
        ],
        cwd=source,
        capture_output=True,
        text=True,
    )


def test_no_import_crosses_a_wall():
    done = lint_imports(SRC)

    assert 0 == done.returncode, done.stdout


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> str:
    """What import-linter says of a copy of the source with imports over each wall."""
    source = tmp_path_factory.mktemp("walls")
    shutil.copytree(SRC / "jaxsif", source / "jaxsif")
    for module, imported in OVER_A_WALL:
        with file_of(module, source).open("a") as file:
            file.write(f"\n\ndef over_a_wall():\n    import {imported}\n")
    done = lint_imports(source)
    assert 1 == done.returncode
    return done.stdout


@pytest.mark.parametrize(("module", "imported"), OVER_A_WALL)
def test_import_over_a_wall_is_found(broken, module, imported):
    assert imported == "jax" or file_of(imported.removeprefix("jaxsif.")).is_file()

    assert f"jaxsif.{module} -> {imported} (" in broken


def test_way_to_jax_through_another_module_is_found(broken):
    _, _, reached = broken.rpartition("\nVerdict and checks do not reach JAX\n")

    assert " -> jaxsif.core.topology (" in reached
    assert "jaxsif.core.topology -> jax (" in reached
