"""The walls of the house: who may import whom, and where words may stand; each guard is shown to bite."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from checkout import SRC

# package -> packages it may import, besides itself and core. The spine is core, rank and
# verdict; the rest are leaves, which a reader may skip.
PACKAGES = {
    "core": set(),
    "job": set(),
    "launch": set(),
    "lint": set(),
    "logs": set(),
    "node": set(),
    "overlay": set(),
    "html": set(),
    # What is true of the node is checked before JAX starts, and which network was used
    # is reported after.
    "rank": {"node", "transport"},
    "transport": {"node"},
    "arrays": {"rank"},
    # Their measuring runs in a rank.
    "bandwidth": {"rank"},
    "pairs": {"rank"},
    # The list of all checks.
    "verdict": {"bandwidth", "logs", "pairs", "transport"},
    # Reads all results.
    "report": {"bandwidth", "html", "pairs"},
    # The jobs of a study are jobs.
    "scaling": {"html", "job"},
}
# Where JAX may be imported: two packages, and the modules of a leaf that run in a rank.
JAX_PACKAGES = {"rank", "arrays"}
JAX_MODULES = {
    "bandwidth.measure",
    "bandwidth.programs",
    "pairs.measure",
    "transport.detect",
}
JAX = ("jax", "jaxlib")


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


def trespasses(module: str, source: str) -> set[str]:
    """What a module, named as `pairs.rounds`, imports over a wall."""
    package = module.partition(".")[0]
    found = imports(source)
    allowed = {package, "core"} | PACKAGES.get(package, set())
    over = set()
    if package in PACKAGES:
        closed = set(PACKAGES) - allowed
        over = {
            m for m in found if m.startswith("jaxsif.") and m.split(".")[1] in closed
        }
    if package in JAX_PACKAGES or module in JAX_MODULES:
        return over
    return over | {m for m in found if m.split(".")[0] in JAX}


FILES = sorted((SRC / "jaxsif").rglob("*.py"))


def module_of(path: Path) -> str:
    """`pairs.rounds` of its file; a package's own file is named as the package."""
    name = ".".join(path.relative_to(SRC / "jaxsif").with_suffix("").parts)
    return name.removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_file_imports_over_a_wall(path):
    assert set() == trespasses(module_of(path), path.read_text())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("verdict.verdict", "import jax"),
        ("verdict.exits", "def f():\n    import jax.numpy"),
        ("verdict.exits", "from jaxsif.rank import phase_reporter"),
        ("rank.session", "from jaxsif.verdict.verdict import judge"),
        ("node.host", "from jaxsif.rank import phase_reporter"),
        ("node.host", "import jax"),
        ("pairs.rounds", "import jax"),
        ("pairs.rounds", "from jaxsif.bandwidth import plan"),
        ("launch.plan", "from jaxsif.rank import phase_reporter"),
        ("lint.lint", "from jaxsif.job import render"),
        ("report.page", "from jaxsif.verdict.verdict import judge"),
        ("html.frame", "from jaxsif.report import words"),
        ("scaling.page", "from jaxsif.report import words"),
        ("core.topology", "from jaxsif.job import render"),
        ("verify", "import jax"),
    ],
)
def test_the_wall_can_fail(module, source):
    assert trespasses(module, source)


@cache
def import_graph() -> Mapping[str, set[str]]:
    """For each module of the kit all that it imports."""
    return {module_of(path): imports(path.read_text()) for path in FILES}


def reaches_jax(module: str, graph: Mapping[str, set[str]]) -> bool:
    """Whether a module imports JAX itself or through others of the kit."""
    waiting, seen = [module], {module}
    while waiting:
        for imported in graph[waiting.pop()]:
            if imported.split(".")[0] in JAX:
                return True
            name = imported.removeprefix("jaxsif.")
            if name in graph and name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def test_no_verdict_and_no_check_reaches_jax():
    graph = import_graph()
    pure = [m for m in graph if m.startswith("verdict") or m.endswith(".checks")]

    assert len(pure) > 8
    assert [] == [module for module in pure if reaches_jax(module, graph)]


def test_a_way_to_jax_through_another_module_is_found():
    graph = {"verdict.exits": {"jaxsif.pairs.model"}, "pairs.model": {"jax.numpy"}}

    assert reaches_jax("verdict.exits", graph)


@pytest.mark.parametrize(
    "module", ["jaxsif.cli", "jaxsif.commands.verify", "jaxsif.arrays"]
)
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


def test_core_needs_the_standard_library_and_msgspec_only():
    for path in (SRC / "jaxsif/core").glob("*.py"):
        outside = {
            module
            for module in imports(path.read_text())
            if module.split(".")[0]
            not in {*sys.stdlib_module_names, "jaxsif", "msgspec"}
        }
        assert set() == outside, path


def test_slurm_is_named_in_identity_alone():
    names = re.compile(r"[\"']SLURM[A-Z]*_[A-Z_]+[\"']")

    naming = [
        str(path.relative_to(SRC)) for path in FILES if names.search(path.read_text())
    ]

    assert naming == ["jaxsif/core/slurm_env.py"]


def test_paths_in_the_image_are_written_in_one_place():
    # start/bundle.py runs before any other module of the kit.
    naming = [str(p.relative_to(SRC)) for p in FILES if "/opt/jax" in p.read_text()]

    assert naming == ["jaxsif/core/paths.py", "jaxsif/start/bundle.py"]


def test_a_topology_is_taken_apart_in_one_place_only():
    pattern = re.compile(r"G\(.*N\(")

    found = [str(p.relative_to(SRC)) for p in FILES if pattern.search(p.read_text())]

    assert found == ["jaxsif/core/topology.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_every_file_says_what_it_is_and_under_which_licence(path):
    first, second, *_ = path.read_text().splitlines()

    assert first.startswith('"""') and first.endswith('"""')
    assert second == "# SPDX-License-Identifier: Apache-2.0"
