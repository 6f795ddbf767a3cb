"""The names of jaxsif.arrays: all exist, and JAX is imported at the first use."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast

import pytest
from checkout import SRC

from jaxsif import arrays

PACKAGE = SRC / "jaxsif/arrays"


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((PACKAGE / f"{file}.py").read_text())
    return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_every_public_name_is_a_function_of_its_file():
    names = [name for names in arrays._FILES.values() for name in names]

    assert sorted(arrays.__all__) == sorted(names)
    for file, public in arrays._FILES.items():
        assert set(public) <= set(functions(file))


@pytest.mark.parametrize("file", arrays._FILES)
def test_every_function_is_documented_and_typed(file):
    for name in arrays._FILES[file]:
        function = functions(file)[name]
        arguments = [*function.args.args, *function.args.kwonlyargs]

        assert ast.get_docstring(function)
        assert function.returns is not None
        assert all(argument.annotation for argument in arguments)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'gathr'"):
        arrays.gathr  # noqa: B018  (asking for it is what is tested)
