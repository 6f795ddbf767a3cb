"""Prints letters in encodings other than the terminal's; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys

from _group import add_up, end_well, join

join()
sys.stdout.reconfigure(encoding="latin-1", errors="replace")
print("größe, ñandú, 日本, \ud800", flush=True)
os.write(2, "größe\u2028\u202e\ufeff\n".encode("utf-16"))
add_up()
end_well()
