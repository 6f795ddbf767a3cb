"""Overlays: a user's packages in one file, mounted on top of the image."""
# SPDX-License-Identifier: Apache-2.0
