"""Decides what a job with restarts does after an attempt has ended."""
# SPDX-License-Identifier: Apache-2.0
