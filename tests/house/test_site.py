"""The pages as a site: built without a warning, nothing from other hosts, and search that needs no server."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import browse
from checkout import ROOT

# What a browser fetches of its own accord; an <a> is followed by people.
FETCHED = {"src", "srcset", "href", "data", "poster", "action"}


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("--config-file", config, "--site-dir", site),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        # Material warns of what the next MkDocs may become.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert 0 == done.returncode, done.stderr
    return folder


class Fetched(HTMLParser):
    """The addresses that a page makes a browser fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            self.addresses += [value or "" for name, value in attrs if name in FETCHED]


def foreign(page: str) -> list[str]:
    """Addresses of other hosts among them, and among those of its styles."""
    styles = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", page)
    found = [*Fetched(page).addresses, *styles]
    return [x for x in found if re.match(r"(?:[a-z]+:)?//", x)]


def test_every_page_is_in_the_site_and_in_its_navigation(site):
    pages = {path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")}
    menu = (site / "index.html").read_text()
    linked = set(re.findall(r'<a href="([^"#]+)" class="md-', menu)) | {"index.html"}

    assert len(pages) > 25
    assert set() == {str(p.with_suffix(".html")) for p in pages} - linked
    assert (site / "checkout/minicluster/index.html").is_file()


def test_a_page_without_a_place_and_a_dead_link_end_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(
        "# Here\n\n[a](gone.md) [b](other.md#gone) [c](../gone.md)\n"
    )
    (tmp_path / "docs/other.md").write_text("# Other\n")
    config = tmp_path / "mkdocs.yml"
    ours = re.sub(
        r"(?ms)^(nav|hooks|plugins|theme|extra_css):.*?^(?=\S|\Z)", "", text()
    )
    config.write_text(f"{ours}\nnav: [index.md]\ntheme: mkdocs\n".replace("build/", ""))

    done = build(config, tmp_path / "site")

    assert 0 != done.returncode
    for named in ("- other.md", "'gone.md'", "'other.md#gone'", "'../gone.md'"):
        assert named in done.stderr


def text() -> str:
    return (ROOT / "mkdocs.yml").read_text()


def test_nothing_comes_from_another_host(site):
    files = [p for p in site.rglob("*") if p.suffix in (".html", ".css", ".svg")]
    found = {str(p.relative_to(site)): foreign(p.read_text()) for p in files}

    assert len(found) > 30
    assert {} == {name: addresses for name, addresses in found.items() if addresses}


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        '<img alt="" src="http://example/a.png">',
        '<style>@import "https://fonts.example/a.css";</style>',
        "<style>a { background: url(https://example/a.png) }</style>",
    ],
)
def test_what_comes_from_another_host_is_found(page):
    assert 1 == len(foreign(page))
    assert [] == foreign('<a href="https://docs.jax.dev">read</a><img src="a.svg">')


def test_search_works_from_a_folder(site, browser, tmp_path):
    address = f"{(site / 'index.html').as_uri()}?q=squashfuse"
    page = browse(browser, tmp_path, address, "--dump-dom").stdout

    assert {"packages.html", "performance.html"} <= set(
        re.findall(
            r'<a href="[^"]*?([a-z]+\.html)[^"]*" class="md-search-result__link"', page
        )
    )
