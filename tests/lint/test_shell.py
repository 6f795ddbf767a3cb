"""Any text is parsed, and a script of any length only up to the limits."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from checkout import TESTS
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsif.lint.lint import lint_text
from jaxsif.lint.script import parse_script

SCRIPTS = TESTS / "scripts"
HEAD = "#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=4\n"


@pytest.mark.parametrize(
    "many",
    [
        "srun python x.py\n" * 60_000,
        "cat | " * 100_000 + "cat\n",
        "a+=(x y)\n" * 50_000,
        'b="$a"' + '"$a"' * 100_000 + "\n",
        "a=(" + "x " * 50_000 + ")\n" + "srun ${a[@]}\n" * 1000,
        "cat <<A\n" * 50_000,
        "<<A\nA\n" * 50_000,
        "bash -c 'srun python x.py'\n" * 20_000,
        "".join(f"export A{i}=1\nsrun python x.py\n" for i in range(20_000)),
    ],
    ids=[
        *("srun", "pipes", "append", "quotes", "array", "heredocs", "heredocs alone"),
        *("nested", "export"),
    ],
)
def test_endless_script_is_parsed_up_to_the_limits(many):
    script = parse_script(HEAD + many)

    work = sum(1 + len(command.args) for command in script.commands)
    exported = sum(len(run.variables) for run in script.runs)
    assert work < 20_000
    assert len(script.runs) < 20_000
    assert exported < 300 * max(1, len(script.runs))


def test_note_names_the_line_where_parsing_stopped():
    found = lint_text(HEAD + "set -euo pipefail\n" + "hostname\n" * 40_000)

    assert [f.line for f in found if f.rule.id == "unreadable"] != []


def test_large_handwritten_script_is_parsed_to_its_end():
    script = parse_script(HEAD + "srun python x.py\n" * 1500)

    assert script.parsed.unparsed_line is None
    assert len(script.runs) == 1500


@settings(deadline=None)
@given(st.text())
def test_any_text_is_linted(text):
    last = text.count("\n") + 1

    assert [] == [f for f in lint_text(text) if not 1 <= f.line <= last]


PIECES = r"""
    srun singularity exec --nv -n 4 $X "${X[@]}" $(srun x) ` " ' ( ) { } ; & && || | |&
    \ << EOF <<< [[ ]] if then else fi for i in do done while case esac ;; f() += A=1 export
    unset set -euo pipefail wait #SBATCH --gpus=a:4 $(( )) ${ $' ! python -c bash #
    --container-image=
"""
# The grammar's own code crashes on such a character behind a brace (its issue 337).
FAR = "{\U00031860"
a_part = st.sampled_from([*PIECES.split(), FAR, "\ufffd", "\x85", "\n"])


@settings(deadline=None, max_examples=300)
@given(st.lists(a_part))
def test_any_sequence_of_words_is_linted(parts):
    lint_text(" ".join(parts))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_script_without_any_part_is_linted(data):
    path = data.draw(st.sampled_from(sorted(SCRIPTS.glob("*.slurm"))))
    text = path.read_bytes().decode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    lint_text(text[:start] + text[end:])


@pytest.mark.parametrize("opened", ["(", "{ ", "$(", "if a; then ", "((", "[[ ", "`"])
def test_deepest_nesting_is_linted(opened):
    lint_text("#!/bin/bash\n" + opened * 20_000)
    lint_text("#!/bin/bash\n" + opened * 300 + "x" + ")" * 300)
