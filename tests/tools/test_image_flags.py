"""The list of XLA's flags, taken from made-up libraries."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import image_flags
import pytest

LIBRARY = (
    b"\x7fELF\0\0xla_dump_to\0Dump HLO to a folder; see xla_dump_hlo_as_text\0"
    b"no_xla_gpu_autotune_level\0\x01\x02xla_cpu_enable_fast_math\0"
    b"xla_2fxla_2eproto\0xla_cpu_\0xla_not_a_c_string=1\0XLA_FLAGS\0"
    b"xla_" + b"a" * 300 + b"\0"
)
NAMES = {
    "xla_dump_to",
    "xla_dump_hlo_as_text",
    # Linkers keep a string that is the end of another one only once.
    "xla_gpu_autotune_level",
    "xla_cpu_enable_fast_math",
}


@pytest.fixture
def packages(tmp_path):
    for name in ("jaxlib/libjax_common.so", "jax_plugins/xla_cuda12/plugin.so"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(LIBRARY)
    (tmp_path / "jaxlib/notes.txt").write_text("xla_no\0")
    return tmp_path


def test_every_string_that_may_be_a_flag_is_taken(packages):
    assert NAMES == image_flags.flags(packages / "jaxlib/libjax_common.so")


def test_jaxlib_and_its_plugins_are_looked_into(packages):
    found = [str(p.relative_to(packages)) for p in image_flags.libraries(packages)]

    assert ["jaxlib/libjax_common.so", "jax_plugins/xla_cuda12/plugin.so"] == found


def test_the_list_is_sorted_and_has_a_name_a_line(packages, tmp_path, monkeypatch):
    (packages / "jax_plugins/xla_cuda12/plugin.so").write_bytes(b"xla_gpu_of_plugin\0")
    monkeypatch.setattr(image_flags, "KIT", tmp_path)

    image_flags.main(packages)

    written = (tmp_path / "xla_flags.txt").read_text()
    assert "".join(f"{n}\n" for n in sorted({*NAMES, "xla_gpu_of_plugin"})) == written
