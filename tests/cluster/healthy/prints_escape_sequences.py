"""Prints colours, titles, cleared screens, and other sequences for terminals; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import add_up, end_well, join, say

join()
say(["\x1b[31mERROR\x1b[0m red", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x1b[?1049h"])
say(["\x1b]8;;http://a.b\x1b\\link\x1b]8;;\x1b\\", "\x1b[?1049l", "\x9b31m", "\x1b"])
add_up()
end_well()
