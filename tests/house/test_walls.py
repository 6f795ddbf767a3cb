"""Where words and imports may stand, as far as import-linter cannot say it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from checkout import SRC


def imports(source: str) -> set[str]:
    """Every module that a source text imports at run time, at any depth."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted((SRC / "jaxsif").rglob("*.py"))


@pytest.mark.parametrize(
    "module", ["jaxsif.cli", "jaxsif.commands.verify", "jaxsif.arrays"]
)
def test_tool_and_public_modules_start_without_jax(module):
    program = f"import sys, {module}; print('jax' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "False"


def test_core_imports_standard_library_and_msgspec_only():
    for path in (SRC / "jaxsif/core").glob("*.py"):
        outside = {
            module
            for module in imports(path.read_text())
            if module.split(".")[0]
            not in {*sys.stdlib_module_names, "jaxsif", "msgspec"}
        }
        assert set() == outside, path


def test_slurm_variables_are_named_in_one_file():
    names = re.compile(r"[\"']SLURM[A-Z]*_[A-Z_]+[\"']")

    naming = [
        str(path.relative_to(SRC)) for path in FILES if names.search(path.read_text())
    ]

    assert naming == ["jaxsif/core/slurm_env.py"]


def test_paths_in_the_image_are_written_in_one_place():
    # start/bundle.py runs before any other module of the kit.
    naming = [str(p.relative_to(SRC)) for p in FILES if "/opt/jax" in p.read_text()]

    assert naming == ["jaxsif/core/image.py", "jaxsif/start/bundle.py"]


def test_topology_is_parsed_in_one_file():
    pattern = re.compile(r"G\(.*N\(")

    found = [str(p.relative_to(SRC)) for p in FILES if pattern.search(p.read_text())]

    assert found == ["jaxsif/core/topology.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_every_file_begins_with_a_sentence_and_the_licence(path):
    first, second, *_ = path.read_text().splitlines()

    assert first.startswith('"""') and first.endswith('"""')
    assert second == "# SPDX-License-Identifier: Apache-2.0"
