"""The pages: no dead links, no command that does not exist, no finding that is not explained."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jaxsif.commands import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "minicluster/README.md"]
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda p: str(p.relative_to(ROOT))
)


@each_page
def test_every_relative_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())

    assert [] == [link for link in links if not (page.parent / link).exists()]


@each_page
def test_every_make_verb_exists(page):
    verbs = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    # Behind `make` stands a verb, or several, in code; in prose it is a word.
    lines = re.findall(r"(?:^ {4}|`)make ([a-z][a-z -]*)", page.read_text(), re.M)
    named = {word for line in lines for word in line.split()}

    assert set() == named - verbs


@each_page
def test_every_command_of_the_tool_exists(page):
    known = set(COMMANDS)
    named = re.findall(r"jax-sif (\w+)(?= |`|$)(?! is)", page.read_text(), re.M)

    assert {"verify", "info"} <= known
    assert set() == set(named) - known


def test_every_finding_is_explained():
    sources = (ROOT / "src/jaxsif/judge").rglob("*.py")
    kinds = {
        kind
        for source in sources
        for kind in re.findall(r'Finding\(\s*f?"([^"]+)"', source.read_text())
    }
    kinds |= {
        f"{name}-differs" for name in ("image", "packages", "jax", "jaxlib", "nccl")
    }
    kinds.discard("{name}-differs")
    explained = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs/verdict.md").read_text()))

    assert len(kinds) > 15
    assert set() == kinds - explained


def test_every_path_of_the_map_is_there():
    table = (ROOT / "README.md").read_text().partition("## Map")[2]
    names = [
        name
        for row in re.findall(r"^\| ((?:`[^`]+` ?)+)\|", table, re.M)
        for name in re.findall(r"`([^`]+)`", row)
    ]

    assert len(names) > 10
    assert [] == [name for name in names if not (ROOT / name).exists()]


def test_every_fault_of_the_matrix_has_its_row():
    page = (ROOT / "docs/faults.md").read_text()
    helpers = {"fault", "in_place", "alone"}
    titles = [
        file.read_text().partition('"""')[2].partition('"""')[0]
        for file in (ROOT / "tests/cluster/faults").glob("*.py")
        if file.stem not in helpers
    ]

    assert len(titles) > 40
    assert [] == [title for title in titles if f"| {title} |" not in page], (
        "run: make faults"
    )
