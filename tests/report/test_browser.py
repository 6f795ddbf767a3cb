"""The report's page in a browser: it opens without an error, and draws its charts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import reported
from browser import opened, run
from checkout import TESTS
from reported import hostile, verdicts

from jaxsif.core.topology import parse_topology
from jaxsif.html.document import plotly_js
from jaxsif.report.page import as_html

G24N12P24 = parse_topology("G24N12p24")


def drawn(content: dict) -> str:
    return as_html(verdicts(content), plotly_js())


def test_a_failure_is_drawn_and_names_its_nodes(browser, tmp_path):
    page = opened(browser, tmp_path, drawn(reported.failed(G24N12P24)))

    assert [] == page.complaints
    assert 3 == page.drawn
    assert "✗ node2" in page.chart_texts
    assert "✗ 5 node3" in page.chart_texts
    assert "expected 12.5 GB/s" in page.chart_texts
    assert "names <strong>ranks 2-3 on node2</strong>" in page.html


def test_a_pass_is_drawn_and_names_no_rank(browser, tmp_path):
    page = opened(browser, tmp_path, drawn(reported.passed()))

    assert [] == page.complaints
    assert 2 == page.drawn
    assert "all-reduce f32" in page.chart_texts
    assert "✗" not in page.chart_texts


def test_a_real_verdict_is_drawn(browser, tmp_path):
    real = TESTS / "verdicts/allreduce-G4N2p4.json"
    page = opened(browser, tmp_path, drawn(json.loads(real.read_text())))

    assert [] == page.complaints
    assert 1 == page.drawn
    assert "import jax" in page.chart_texts


def test_a_page_without_charts_opens(browser, tmp_path):
    page = opened(browser, tmp_path, as_html(verdicts(reported.silent()), None))

    assert [] == page.complaints
    assert "COULD NOT TELL" in page.html


def test_an_enemys_names_stay_text(browser, tmp_path):
    enemy = "<img src=x onerror=document.documentElement.dataset.owned=1>"
    content = json.dumps(reported.failed(G24N12P24)).replace("node2", enemy)
    page = opened(browser, tmp_path, drawn(json.loads(content)))

    assert [] == page.complaints
    assert 3 == page.drawn
    assert "data-owned" not in page.html
    assert "<img" not in page.html
    assert "&lt;img src=x" in page.html


def test_an_enemys_strange_signs_do_not_stop_the_charts(browser, tmp_path):
    page = opened(browser, tmp_path, as_html(hostile(), plotly_js()))

    assert [] == page.complaints
    assert 3 == page.drawn


def test_a_script_that_is_not_the_pages_own_does_not_run(browser, tmp_path):
    """Even where the escaping had failed."""
    html = drawn(reported.passed()).replace(
        "</main>", "<script>document.documentElement.dataset.owned = 1</script></main>"
    )
    page = opened(browser, tmp_path, html)

    assert "data-owned=" not in page.html
    assert page.complaints and "Content Security Policy" in page.complaints[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_light_or_dark_as_its_reader_wants(browser, tmp_path, scheme):
    """By the colour that the page itself finds for its background."""
    number = {"dark": 0, "light": 1}[scheme]
    option = f"--blink-settings=preferredColorScheme={number}"
    html, complaints = run(
        browser, tmp_path, drawn(reported.passed()), "--dump-dom", option
    )

    inks = {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 232, 235)"}
    assert [] == complaints
    assert f"fill: {inks[scheme]}" in html


def test_the_page_prints(browser, tmp_path):
    target = tmp_path / "job.pdf"
    run(browser, tmp_path, drawn(reported.failed()), f"--print-to-pdf={target}")

    assert target.read_bytes().startswith(b"%PDF")
    assert target.stat().st_size > 20_000


def test_a_job_of_many_ranks_is_drawn(browser, tmp_path):
    content = reported.failed(parse_topology("G256N64p256"))
    page = opened(browser, tmp_path, drawn(content))

    assert [] == page.complaints
    assert 3 == page.drawn
    assert "✗ node2" in page.chart_texts
