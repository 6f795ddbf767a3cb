"""Renders verdict files as text, HTML, JUnit XML, CSV and metrics. No JAX."""
# SPDX-License-Identifier: Apache-2.0
