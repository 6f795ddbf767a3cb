"""The walls of the house: who may import whom, and where words may stand; each guard is shown to bite."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"

# room -> rooms it may import, besides itself and contract
ROOMS = {
    "contract": set(),
    "job": set(),
    "launch": set(),
    "lint": set(),
    "node": set(),
    "packages": set(),
    # What is true of the node is looked at before JAX starts.
    "rank": {"node"},
    "judge": set(),
    # How a page looks, whatever is on it.
    "page": set(),
    # Reads what the judge wrote, as anybody else does.
    "report": {"page"},
    # The jobs of a study are jobs.
    "scaling": {"job", "page"},
}
# The only rooms where JAX may be imported.
JAX_ROOMS = {"rank"}


def imports(source: str) -> set[str]:
    """Every module that a source text imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def trespasses(room: str, source: str) -> set[str]:
    """What a file of a room imports over a wall."""
    found = imports(source)
    others = {r for r in ROOMS if r not in {room, "contract"} | ROOMS.get(room, set())}
    over = {m for m in found for r in others if m.startswith(f"jaxsif.{r}")}
    if room in ROOMS:
        if room not in JAX_ROOMS:
            over |= {m for m in found if m.split(".")[0] in ("jax", "jaxlib")}
        return over
    return {m for m in found if m.split(".")[0] in ("jax", "jaxlib")}


FILES = sorted((SRC / "jaxsif").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_file_imports_over_a_wall(path):
    relative = path.relative_to(SRC / "jaxsif")
    room = relative.parts[0] if len(relative.parts) > 1 else ""

    assert set() == trespasses(room, path.read_text())


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("judge", "import jax"),
        ("judge", "def f():\n    import jax.numpy"),
        ("judge", "from jaxsif.rank import narrate"),
        ("rank", "from jaxsif.core.history import Board"),
        ("node", "from jaxsif.rank import narrate"),
        ("node", "import jax"),
        ("launch", "from jaxsif.rank import narrate"),
        ("launch", "import jax"),
        ("lint", "from jaxsif.job import render"),
        ("report", "from jaxsif.verdict.verdict import judge"),
        ("report", "import jax"),
        ("page", "from jaxsif.report import words"),
        ("scaling", "from jaxsif.report import words"),
        ("contract", "from jaxsif.job import render"),
        ("", "import jax"),
    ],
)
def test_the_wall_can_fail(room, source):
    assert trespasses(room, source)


@pytest.mark.parametrize("module", ["jaxsif.cli", "jaxsif.verify", "jaxsif.arrays"])
def test_the_tool_and_the_doors_to_rooms_start_without_jax(module):
    program = f"import sys, {module}; print('jax' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "False"


def test_contract_needs_the_standard_library_only():
    for path in (SRC / "jaxsif/contract").glob("*.py"):
        outside = {
            module
            for module in imports(path.read_text())
            if module.split(".")[0] not in {*sys.stdlib_module_names, "jaxsif"}
        }
        assert set() == outside, path


def test_slurm_is_named_in_identity_alone():
    names = re.compile(r"[\"']SLURM[A-Z]*_[A-Z_]+[\"']")

    naming = [
        str(path.relative_to(SRC)) for path in FILES if names.search(path.read_text())
    ]

    assert naming == ["jaxsif/core/slurm_env.py"]


def test_a_topology_is_taken_apart_in_one_place_only():
    pattern = re.compile(r"G\(.*N\(")

    found = [str(p.relative_to(SRC)) for p in FILES if pattern.search(p.read_text())]

    assert found == ["jaxsif/core/topology.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_every_file_says_what_it_is_and_under_which_licence(path):
    first, second, *_ = path.read_text().splitlines()

    assert first.startswith('"""') and first.endswith('"""')
    assert second == "# SPDX-License-Identifier: Apache-2.0"
