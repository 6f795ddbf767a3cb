"""The page of a study in a browser: it opens without an error and draws charts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from browser import opened, run
from studies import efficient

from jaxsif.html.document import plotly_js
from jaxsif.scaling import render
from jaxsif.scaling.page import as_html
from jaxsif.scaling.render import summarize


def page(*efficiencies: float | None) -> str:
    study, rows = efficient(*efficiencies)
    return as_html(study, rows, summarize(study, rows), plotly_js())


@pytest.mark.parametrize("efficiencies", [(1, 0.9, 0.84), (1, 0.4, 0.2, 0.1, 0.1, 0.1)])
def test_a_study_is_drawn_without_a_complaint(browser, tmp_path, efficiencies):
    shown = opened(browser, tmp_path, page(*efficiencies))

    assert [] == shown.complaints
    assert 2 == shown.drawn
    for text in ("ideal", "good: 80%", "each run", "speed-up", "efficiency", "nodes"):
        assert text in shown.chart_texts
    assert f"{render.percent(efficiencies[-1])}" in shown.chart_texts


def test_it_is_dark_where_its_reader_wants_that(browser, tmp_path):
    dark = "--blink-settings=preferredColorScheme=0"
    html, complaints = run(browser, tmp_path, page(1, 0.9), "--dump-dom", dark)

    assert [] == complaints
    assert "fill: rgb(230, 232, 235)" in html
