"""The report's page as text: whole, escaped, offline, with or without charts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import reported
from reported import HOSTILE, hostile, verdicts

from jaxsif.core.image import kit_version
from jaxsif.core.topology import parse_topology
from jaxsif.html import document
from jaxsif.html.markup import Markup, as_script_data, tag
from jaxsif.report.page import as_html

LIBRARY = "window.Plotly = {};"


class Page(HTMLParser):
    """What a browser would see: elements in order, the text outside of scripts."""

    VOID = frozenset({"meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open[-1:] != ["style"]:
            self.text += data

    def having(self, attribute: str) -> list[dict[str, str | None]]:
        return [found for _, found in self.elements if attribute in found]


def page(*contents: dict[str, Any], library: str | None = LIBRARY) -> Page:
    return Page(as_html(verdicts(*contents), library))


def test_every_element_is_closed_where_it_should_be():
    assert [] == page(reported.failed()).open


def test_the_verdict_comes_first_and_findings_name_node_and_rank():
    text = page(reported.failed()).text

    assert text.index("FAIL") < text.index("Findings") < text.index("Bandwidth")
    assert "names rank 5 on node2" in text
    assert "→ do not trust results from this allocation" in text


def test_what_colours_show_stands_in_words_too():
    text = page(reported.failed(parse_topology("G24N12p24"))).text

    assert "node1 and node12 timed out" in text
    assert "node2 with 11 of its 11 partners" in text


def test_ranks_that_never_came_are_numbered():
    assert "1 rank never reported: 3." in page(reported.missing()).text


@pytest.mark.parametrize(
    "make", [reported.passed, reported.failed, reported.missing, reported.silent]
)
def test_nothing_is_loaded_from_anywhere(make):
    html = as_html(verdicts(make()), LIBRARY)
    found = Page(html)

    links = [a.get("href") or a.get("src") for _, a in found.elements]
    outside = [link for link in links if link and not link.startswith(("#", "data:"))]
    assert [] == outside
    assert not {"link", "img", "iframe", "object"} & {
        name for name, _ in found.elements
    }
    assert "@import" not in html and "url(" not in html


def test_only_the_scripts_of_the_page_itself_may_run():
    found = page(reported.passed())
    policy = next(
        str(attributes["content"])
        for name, attributes in found.elements
        if "Content-Security-Policy" in attributes.values()
    )
    running = found.scripts[-2:]

    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert LIBRARY == running[0]
    assert allowed == {
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in running
    }


def test_every_chart_has_its_data_and_a_sentence():
    found = page(reported.failed(parse_topology("G24N12p24")))
    plots = found.having("data-spec")
    data = [json.loads(script) for script in found.scripts[:-2]]

    assert 3 == len(plots) == len(data)
    assert all(plot["aria-label"] for plot in plots)
    assert all(chart["data"] and chart["layout"] for chart in data)
    assert len({plot["data-spec"] for plot in plots}) == 3


def test_two_nodes_are_no_map():
    found = page(reported.passed())

    assert 2 == len(found.having("data-spec"))
    assert "two nodes are a single pair" in found.text


def test_without_plotly_the_tables_stay_and_a_line_says_how_to_get_charts():
    found = page(reported.failed(), library=None)

    assert [] == found.having("data-spec") == found.scripts
    assert "All sizes as a table" in found.text
    assert "pip install 'jax-sif[report]'" in found.text


def test_no_enemy_gets_an_element_into_the_page():
    html = as_html(hostile(), LIBRARY)
    found = Page(html)

    assert [] == found.open
    assert "b" not in {name for name, _ in found.elements}
    assert "\x1b" not in html and "\u202e" not in html
    assert '<b>"node"&\'\\u001b[31m' in found.text


def test_no_enemy_ends_a_script():
    content = reported.failed(parse_topology("G24N12p24"))
    text = json.dumps(content).replace("node2", "</script><script>alert(1)</script>")
    html = as_html(verdicts(json.loads(text)), LIBRARY)

    assert [] == Page(html).open
    assert 5 == html.count("<script") == html.count("</script>")


def test_names_are_no_markup_for_the_charts():
    found = Page(as_html(hostile(), LIBRARY))

    texts = "".join(found.scripts[:-2])
    assert "\\u0026lt;b\\u0026gt;" in texts
    assert '<b>\\"node' not in texts


def test_a_library_that_holds_an_end_tag_does_not_end_the_script():
    found = page(reported.passed(), library="x = '</script><!--';")

    assert "x = '<\\/script><\\!--';" in found.scripts


def test_several_verdicts_have_an_overview_and_no_id_stands_twice():
    found = page(reported.failed(), reported.passed())
    ids = [attributes["id"] for attributes in found.having("id")]

    assert len(ids) == len(set(ids))
    links = {a["href"] for a in found.having("href") if str(a["href"]).startswith("#")}
    assert {"#v0", "#v1"} == links
    assert {"v0", "v1"} <= set(ids)
    assert 2 == found.text.count("all reduce.pyminicluster.7")


def download(found: Page) -> str:
    link = next(a for a in found.having("download"))
    content = base64.b64decode(str(link["href"]).partition("base64,")[2])
    packed = str(link["download"]).endswith(".gz")
    return (gzip.decompress(content) if packed else content).decode()


@pytest.mark.parametrize("label", ["G8N2p8", "G24N12p24"])
def test_every_sample_is_in_the_page(label):
    content = reported.passed(parse_topology(label))
    ranks = content["verdicts"][0]["ranks"]
    trials = sum(
        len(m.get("times_us", ())) for rank in ranks for m in rank["measurements"]
    )

    rows = list(csv.reader(io.StringIO(download(page(content)), newline="")))

    assert trials < len(rows)


def test_the_same_verdict_gives_the_same_page():
    contents = verdicts(reported.passed(parse_topology("G24N12p24")))

    assert as_html(contents, LIBRARY) == as_html(contents, LIBRARY)


def test_a_big_job_stays_readable():
    content = reported.failed(parse_topology("G256N64p256"))
    html = as_html(verdicts(content), LIBRARY)

    assert len(html) < 3_000_000
    assert (
        "Of 256 ranks, 48 are shown: those named by findings, then the last to end"
        in html
    )
    assert "2,016 pairs of 64 nodes" in html


def test_text_is_escaped_and_markup_is_not():
    inner = tag("b", "<&\"'")

    assert isinstance(inner, Markup)
    assert '<p title="&lt;&quot;"><b>&lt;&amp;&quot;&#x27;</b></p>' == tag(
        "p", inner, title='<"'
    )


def test_data_for_a_script_can_be_read_back():
    value = {"text": [HOSTILE, "</script>", "<!--", "\u2028"]}

    text = as_script_data(value)

    assert value == json.loads(text)
    assert not set("<>&") & set(text)


def test_the_library_is_found_in_the_image_first(tmp_path):
    (tmp_path / "plotly.min.js").write_text("from the image")

    assert "from the image" == document.plotly_js(tmp_path / "plotly.min.js")


def test_the_library_is_found_in_the_python_package(tmp_path):
    found = document.plotly_js(tmp_path / "none")

    assert found is not None
    assert "plotly.js v" in found[:200]


def test_no_library_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "find_spec", lambda name: None)

    assert document.plotly_js(tmp_path / "none") is None


def test_the_foot_names_the_version():
    html = as_html(verdicts(reported.silent()), None)

    assert (
        "<footer>Verified by jax-sif 1.0, image jax-sif-0.12.0.1-cpu, JAX 0.12.0.1."
        f" Made by jax-sif report {kit_version()}. "
    ) in html
