"""The one error of the mini cluster: what, what was got, what to do; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations


class ClusterError(Exception):
    """Printed once, by cli.main, as `minicluster: TEXT`; carries the exit status."""

    exit_status = 1


class UsageError(ClusterError):
    """The command line asks for something that cannot be meant."""

    exit_status = 2


class UnknownError(ClusterError):
    """The answer could not be found out."""

    exit_status = 3
