"""One HTML file that needs nothing but itself: no network, no server; pure but for its own style and script."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jaxsif.report import words
from jaxsif.report.document import Verdict
from jaxsif.report.figures import figures
from jaxsif.report.markup import Markup, join, table, tag
from jaxsif.report.plotly import MISSING
from jaxsif.report.sections import bandwidth, pairs, samples, time
from jaxsif.report.sections import ranks as ranks_and_more
from jaxsif.report.sections.frame import Frame
from jaxsif.report.sections.head import findings, head

_HERE = Path(__file__).parent


def as_html(verdicts: Sequence[Verdict], plotly: str | None) -> str:
    """The page. `plotly`: the library's source; without it the tables stay."""
    scripts = [plotly, (_HERE / "page.js").read_text()] if plotly else []
    safe = [_script_text(script) for script in scripts]
    articles = [
        _article(Frame(f"v{i}", bool(plotly)), verdict)
        for i, verdict in enumerate(verdicts)
    ]
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        # Before anything that it holds for.
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(safe)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", _title(verdicts)),
        tag("style", Markup((_HERE / "page.css").read_text())),
    )
    body = tag(
        "body",
        _navigation(verdicts),
        tag("main", *articles),
        None if plotly else tag("p", MISSING, class_="missing"),
        tag("footer", _footer()),
        *(tag("script", script) for script in safe),
    )
    return f"<!DOCTYPE html>\n{tag('html', top, body, lang='en')}\n"


def _article(frame: Frame, verdict: Verdict) -> Markup:
    """All of one verdict, what is most important first."""
    reckoned = figures(verdict)
    return tag(
        "article",
        head(frame, reckoned),
        findings(frame, verdict),
        bandwidth.section(frame, reckoned),
        pairs.section(frame, reckoned),
        time.timeline(frame, reckoned),
        time.start(frame, reckoned),
        ranks_and_more.surroundings(frame, verdict),
        ranks_and_more.ranks(frame, verdict),
        samples.section(frame, verdict),
        id=frame.prefix,
        aria_labelledby=f"{frame.prefix}-verdict",
    )


def _script_text(script: str) -> Markup:
    """Nothing in a script may end its element."""
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and no script runs but these: not what a node's name holds."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return (
        f"default-src 'none'; script-src {hashes or repr('none')}; style-src"
        " 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _title(verdicts: Sequence[Verdict]) -> str:
    first = verdicts[0]
    more = f" and {len(verdicts) - 1} more" if len(verdicts) > 1 else ""
    return f"{first.verdict} {first.topology.label} {first.name}{more}"


def _navigation(verdicts: Sequence[Verdict]) -> Markup | None:
    """An overview of several verdicts, each a link to its own part."""
    if len(verdicts) < 2:
        return None
    rows: list[tuple[object, ...]] = [
        (
            tag("a", verdict.verdict, href=f"#v{i}"),
            verdict.topology.label,
            verdict.program,
            verdict.name,
            words.moment(verdict.began_s) if verdict.began_s is not None else "-",
            verdict.summary,
        )
        for i, verdict in enumerate(verdicts)
    ]
    head = ("verdict", "topology", "program", "step", "when", "summary")
    return tag("nav", table(head, rows, label=f"{len(verdicts)} verdicts"))


def _footer() -> Markup:
    return join(
        "Made by jax-sif report from what jax-sif verify --json wrote. This file loads"
        " nothing; its charts are drawn by plotly.js (MIT licence), which it carries."
    )
