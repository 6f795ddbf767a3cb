"""The words of each command: its options and help; a file per command, imported only when that command is asked for."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

# In the order in which a person meets them. The file that reads a command's options has
# its name and a function `main(arguments) -> exit status`.
COMMANDS = {
    "verify": "judge a job's output",
    "explain": "name the cause of a failure from any job's output",
    "doctor": "examine this node",
    "info": "show what the image holds",
}
