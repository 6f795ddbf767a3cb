"""Ignores SIGCHLD, SIGTERM, SIGPIPE and SIGHUP, and blocks SIGUSR1 and SIGUSR2; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from _group import add_up, end_well, join

for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
join()
add_up()
os.kill(os.getpid(), signal.SIGTERM)
add_up()
end_well()
