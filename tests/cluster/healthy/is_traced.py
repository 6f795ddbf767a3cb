"""Runs under a profiler and a tracer that see every call; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import cProfile
import sys
import threading

from _group import add_up, end_well, join


def trace(frame, event, argument):
    return trace


threading.settrace(trace)
sys.settrace(trace)
join()
sys.settrace(None)
cProfile.Profile().runcall(add_up)
end_well()
