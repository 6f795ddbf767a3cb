"""Causes in a job's output: the catalogue, the scanner, the diagnosis; pure."""
# SPDX-License-Identifier: Apache-2.0
