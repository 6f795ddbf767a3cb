"""The door to distributed arrays: every name is there, and JAX only when a name is asked for."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast

import pytest
from checkout import SRC

from jaxsif import arrays

ROOM = SRC / "jaxsif/arrays"


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((ROOM / f"{file}.py").read_text())
    return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_every_name_of_the_door_is_a_function_of_the_file_that_it_names():
    names = [name for names in arrays._FILES.values() for name in names]

    assert sorted(arrays.__all__) == sorted(names)
    for file, public in arrays._FILES.items():
        assert set(public) <= set(functions(file))


@pytest.mark.parametrize("file", arrays._FILES)
def test_every_function_says_what_it_does_and_is_typed(file):
    for name in arrays._FILES[file]:
        function = functions(file)[name]
        arguments = [*function.args.args, *function.args.kwonlyargs]

        assert ast.get_docstring(function)
        assert function.returns is not None
        assert all(argument.annotation for argument in arguments)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'gathr'"):
        arrays.gathr  # noqa: B018  (asking for it is what is tested)
