"""Causes of failure in a job's output: catalogue, scanner and diagnosis."""
# SPDX-License-Identifier: Apache-2.0
