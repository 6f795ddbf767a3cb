"""XLA_FLAGS as XLA reads it, and what is said of flags that it does not know."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from nodes import image, kinds, only, put, well

from jaxsif.node.flags import split, xla_flags


# Each row was tried with jaxlib 0.10.2, or follows from xla/parse_flags_from_env.cc.
@pytest.mark.parametrize(
    ("text", "names", "ignored"),
    [
        ("--a=1 --b", ["--a", "--b"], ""),
        ("  \t--a\n--b=2\r\n", ["--a", "--b"], ""),
        ("--a='x --y' --b", ["--a", "--b"], ""),
        ('--a="x \\" --y" --b', ["--a", "--b"], ""),
        ("--a='never closed --b", ["--a"], ""),
        ("--a=x,y;z --b", ["--a", "--b"], ""),
        ("--a junk --b", ["--a"], "junk --b"),
        ("--a='x'y --b", ["--a"], "y --b"),
        ("-a", ["-a"], ""),
        ("", [], ""),
    ],
)
def test_flags_are_split_as_xla_does_it(text, names, ignored):
    assert (names, ignored) == split(text)


def test_known_flags_are_no_trouble(tmp_path):
    image(tmp_path)
    flags = "--xla_dump_to='/tmp/a b' --xla_gpu_autotune_level=0 --other_family=1"

    assert [] == list(xla_flags(well(tmp_path, {"XLA_FLAGS": flags})))


@pytest.mark.parametrize(
    ("flag", "remedy"),
    [
        ("--xla_gpu_autotune_levl=0", "write --xla_gpu_autotune_level"),
        ("--xal_dump_to=/x", "write --xla_dump_to"),
        ("-xla_dump_to=/x", "write --xla_dump_to"),
        ("--xla-dump-to=/x", "write --xla_dump_to"),
        ("--xla_qqqqqqqqqqqqqq", "remove it"),
    ],
)
def test_an_unknown_flag_is_named_with_the_nearest_known_one(tmp_path, flag, remedy):
    image(tmp_path)
    environment = {"XLA_FLAGS": f"--xla_dump_to=/x {flag}"}

    problem = only(xla_flags(well(tmp_path, environment)))

    assert ("xla-flags", True) == (problem.kind, problem.is_fatal)
    assert f"XLA_FLAGS contains {flag.partition('=')[0]!r}" in problem.text
    assert remedy in problem.remedy


def test_every_unknown_flag_is_named(tmp_path):
    image(tmp_path)
    node = well(tmp_path, {"XLA_FLAGS": "--xla_a --xla_dump_to=1 --xla_b"})

    assert [True, True] == [problem.is_fatal for problem in xla_flags(node)]


def test_what_xla_does_not_read_is_a_warning(tmp_path):
    image(tmp_path)
    environment = {"XLA_FLAGS": "--xla_dump_to=/x xla_gpu_autotune_level=0"}

    problem = only(xla_flags(well(tmp_path, environment)))

    assert not problem.is_fatal
    assert "ignores everything from 'xla_gpu_autotune_level=0' on" in problem.text


def test_without_a_list_of_flags_nothing_is_said(tmp_path):
    assert [] == list(xla_flags(well(tmp_path, {"XLA_FLAGS": "--xla_nosuch"})))


def test_flags_may_stand_in_a_file(tmp_path):
    image(tmp_path)
    put(tmp_path, "/home/me/flags", "--xla_dump_to=/x\n--xla_nosuch=1\n")
    node = well(tmp_path, {"XLA_FLAGS": "/home/me/flags"})

    assert [("xla-flags", True)] == kinds(xla_flags(node))
    assert "--xla_nosuch" in only(xla_flags(node)).text


@pytest.mark.parametrize("value", ["/no/such/file", "xla_dump_to=/x", "  "])
def test_a_file_that_is_not_there_is_named(tmp_path, value):
    problem = only(xla_flags(well(tmp_path, {"XLA_FLAGS": value})))

    assert problem.is_fatal
    assert f"XLA_FLAGS={value!r} does not begin with '-'" in problem.text
