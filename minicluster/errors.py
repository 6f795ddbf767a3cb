"""Errors of the mini cluster, with problem, value found and remedy; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations


class ClusterError(Exception):
    """Printed once, by cli.main, as `minicluster: TEXT`; carries the exit status."""

    exit_status = 1


class UsageError(ClusterError):
    """The command line is invalid."""

    exit_status = 2


class UnknownError(ClusterError):
    """The state could not be determined."""

    exit_status = 3
