"""A user's own packages on top of the image, in one file: written, read, compared with an image; runs in the container."""
# SPDX-License-Identifier: Apache-2.0
