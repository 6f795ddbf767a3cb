"""Scaling studies: jobs on increasing numbers of nodes, and their results."""
# SPDX-License-Identifier: Apache-2.0
