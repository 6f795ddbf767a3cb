# The image for OCI engines (podman, docker); `make build-oci` builds it.
# SPDX-License-Identifier: Apache-2.0
#
# By hand:  buildah build --build-arg-file image.env --build-arg ACCEL=cpu .
# Run:      podman run --rm IMAGE jax-sif info
#
# Singularity.def makes the same image; both leave the work to tools/image_post.sh.

ARG BASE_IMAGE
ARG BASE_DIGEST
FROM ${BASE_IMAGE}${BASE_DIGEST:+@}${BASE_DIGEST}
ARG BASE_IMAGE
ARG BASE_DIGEST
ARG BASE=${BASE_IMAGE}@${BASE_DIGEST}
ARG ACCEL
ARG REVISION=unknown

LABEL org.opencontainers.image.title="jax-sif"
LABEL org.opencontainers.image.description="JAX for Slurm clusters, with diagnostics"
LABEL org.opencontainers.image.licenses="Apache-2.0"

COPY image.env /opt/jax-sif/recipe/image.env
COPY requirements/${ACCEL}.txt /opt/jax-sif/recipe/requirements.txt
COPY requirements/report.txt /opt/jax-sif/recipe/report.txt
COPY requirements/debian-trixie.txt /opt/jax-sif/recipe/debian.txt
COPY tools/image_post.sh /opt/jax-sif/recipe/image_post.sh
COPY tools/image_debian.py /opt/jax-sif/recipe/image_debian.py
COPY tools/image_manifest.py /opt/jax-sif/recipe/image_manifest.py
COPY tools/image_sbom.py /opt/jax-sif/recipe/image_sbom.py
COPY tools/image_bundle.py /opt/jax-sif/recipe/image_bundle.py
COPY tools/image_flags.py /opt/jax-sif/recipe/image_flags.py
COPY tools/versions.py /opt/jax-sif/recipe/versions.py
COPY tools/image_test.py /opt/jax-sif/image_test.py
COPY src/jaxsif /opt/jax-sif/lib/jaxsif
COPY diag /opt/jax-sif/diag

RUN sh /opt/jax-sif/recipe/image_post.sh "$ACCEL" "$REVISION" "$BASE"

ENV PATH=/opt/jax/bin:/opt/jax-sif/bin:/opt/jax-sif/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV LANG=C.UTF-8
ENV LC_ALL=C.UTF-8
ENV PYTHONNOUSERSITE=1

RUN python -B /opt/jax-sif/image_test.py

ENTRYPOINT ["/opt/jax-sif/lib/jaxsif/entry"]
