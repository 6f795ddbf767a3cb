"""No regular expression of the package takes more time than in proportion to the text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest
from checkout import ROOT
from linear import complaints

from jaxsif.logs import catalogue

SRC = ROOT / "src/jaxsif"
# With these a match begins at one place only.
ANCHORED = {"match", "fullmatch"}
CALLS = {*ANCHORED, "compile", "search", "findall", "finditer", "sub", "subn", "split"}

# Their texts are short, or the kit's own: where from, and the bound.
EXCEPTIONS = {
    r"(\[(?:\\.|[^\]\\])*\]|\\.|.)([*+?]|\{[^}]*\})?\??": "signatures of the kit's catalogue",
}


def _texts(node: ast.expr) -> str | None:
    """The text of a literal; of an f-string what stands between the holes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
        value = node.value
        return value if isinstance(value, str) else value.decode("latin-1")
    if isinstance(node, ast.JoinedStr):
        parts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
        return "".join(map(str, parts))
    return None


def _flags(call: ast.Call) -> int:
    names = {
        n.attr
        for a in call.args[1:]
        for n in ast.walk(a)
        if isinstance(n, ast.Attribute)
    }
    return sum(int(getattr(re, name)) for name in names if name.isupper())


def _patterns() -> Iterator[tuple[str, str, int, bool]]:
    """Where, the expression, its flags, and whether a match may begin anywhere."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}
    uses: dict[str, set[str]] = defaultdict(set)
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in CALLS:
                owner = node.value
                name = getattr(owner, "id", getattr(owner, "attr", ""))
                uses[name].add(node.attr)
    for path, tree in trees.items():
        names = {
            id(node.value): target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            func = getattr(node, "func", None)
            if not isinstance(node, ast.Call) or not isinstance(func, ast.Attribute):
                continue
            is_re = isinstance(func.value, ast.Name) and func.value.id == "re"
            text = _texts(node.args[0]) if node.args else None
            if not is_re or func.attr not in CALLS or text is None:
                continue
            how = {func.attr} - {"compile"} or uses[names.get(id(node), "")]
            place = f"{path.relative_to(SRC)}:{node.lineno}"
            yield place, text, _flags(node), not how or bool(how - ANCHORED)


PATTERNS = list(_patterns())


@pytest.mark.parametrize(
    ("place", "pattern", "flags", "is_searched"), PATTERNS, ids=[p[0] for p in PATTERNS]
)
def test_no_expression_of_the_package_is_slow(place, pattern, flags, is_searched):
    del place
    found = complaints(pattern, flags, is_searched=is_searched)

    assert bool(found) == (pattern in EXCEPTIONS), found


def test_every_exception_is_still_there():
    assert {pattern for _, pattern, _, _ in PATTERNS} >= EXCEPTIONS.keys()


@pytest.mark.parametrize("cause", catalogue.load().causes, ids=lambda cause: cause.id)
def test_no_signature_of_the_catalogue_is_slow(cause):
    for pattern in [*(s.pattern for s in cause.signature), *cause.followed_by]:
        assert complaints(catalogue.linear(pattern)) == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"\[(\d+)\]",
        r"^.*b",
        r"foo.{0,200}bar",
        r"\A(?>.*?foo)(?>.*?bar)",
        r"foo.*",
        r"(?<!\w)\w+ x",
        r"^(?:\w+ )*x",
        r"a\s*+(?::\s*+)?b",
    ],
)
def test_a_linear_expression_is_known_as_such(pattern):
    assert complaints(pattern) == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"a+b",
        r"[\w.-]+ kernel: x",
        r"foo.*bar",
        r"^.*a.*b",
        r"(a+)+b",
        r"^(?:a|aa+)*b",
        r"a\s*:?\s*b",
        r"Using network (\S[^\n]*?)\s*$",
    ],
)
def test_a_slow_expression_is_found(pattern):
    assert complaints(pattern)


def test_what_a_signature_names_is_the_same_in_its_linear_form():
    for cause in catalogue.load().causes:
        for signature in cause.signature:
            for example in cause.examples:
                plain = re.search(signature.pattern, example)
                found = catalogue.compiled(signature.pattern).search(example)
                assert (plain is None) == (found is None)
                if plain and found:
                    assert {k: v and v[:200] for k, v in plain.groupdict().items()} == (
                        found.groupdict()
                    )
