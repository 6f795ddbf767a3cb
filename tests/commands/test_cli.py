"""The command line as a whole: what it knows, and its answer to the rest."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib

import pytest

from jaxsif import cli
from jaxsif.commands import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_names_it(name, capsys):
    try:
        status = cli.main([name, "--help"])
    except SystemExit as ended:
        # argparse leaves by itself.
        status = ended.code

    assert 0 == status
    assert capsys.readouterr().out.startswith(f"usage: jax-sif {name}")


def test_help_lists_every_command(capsys):
    assert 0 == cli.main(["--help"])

    shown = capsys.readouterr().out
    assert [] == [name for name in COMMANDS if f"\n  {name}" not in shown]


def test_without_a_command_it_is_wrong_usage_and_shows_them(capsys):
    assert 2 == cli.main([])
    assert "verify" in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_the_nearest(capsys):
    assert 2 == cli.main(["verfy"])

    said = capsys.readouterr().err
    assert said.startswith(
        "jax-sif: no command 'verfy'; did you mean verify? the commands are job,"
    )


def test_a_command_like_no_other_is_answered_with_the_list(capsys):
    assert 2 == cli.main(["xyzzy"])
    assert "no command 'xyzzy'; the commands are job," in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_same_as_the_option(name, capsys):
    shown = []
    for words in (["help", name], [name, "--help"]):
        with contextlib.suppress(SystemExit):
            cli.main(words)
        shown.append(capsys.readouterr().out)

    assert shown[0] == shown[1] != ""


def test_help_for_an_unknown_command_is_answered_with_the_nearest(capsys):
    assert 2 == cli.main(["help", "verfy"])
    assert "did you mean verify?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["profile", "list"], "production"),
        (["profile", "show", "debug"], "topology: G4N1p1"),
        (["site", "list"], "generic *"),
        (["site", "show", "ibex"], "constraint: a100"),
    ],
)
def test_profiles_and_sites_are_listed_and_shown(words, shown, capsys):
    assert 0 == cli.main(words)
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("noun", ["profile", "site"])
def test_without_a_subcommand_the_choice_is_named(noun, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([noun])

    assert 2 == ended.value.code
    assert "list|show" in capsys.readouterr().err
