# Finds the image and the container runtime for the programs beside it; sourced, on the host.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

# Sets runtime. Exits with status 2 and a remedy if something is missing.
me=${0##*/}

if [ -z "${JAX_IMAGE:-}" ]; then
  echo "$me: JAX_IMAGE is not set; load the module first: module load jax-sif" >&2
  exit 2
fi
case ${JAX_SIF_RUNTIME:-apptainer} in
  apptainer)
    if [ ! -r "$JAX_IMAGE" ]; then
      echo "$me: cannot read the image '$JAX_IMAGE'; build it (make build-image) or load" \
        "another version (module avail jax-sif)" >&2
      exit 2
    fi
    if runtime=$(command -v apptainer) || runtime=$(command -v singularity); then :; else
      echo "$me: neither apptainer nor singularity is on PATH; load the site's module for" \
        "it, or run this on a compute node" >&2
      exit 2
    fi
    ;;
  # srun starts Pyxis's containers.
  pyxis) runtime=srun ;;
  podman-hpc) runtime=podman-hpc ;;
  *)
    echo "$me: JAX_SIF_RUNTIME is '$JAX_SIF_RUNTIME'; choose apptainer, pyxis or" \
      "podman-hpc" >&2
    exit 2
    ;;
esac
if ! command -v "$runtime" > /dev/null; then
  echo "$me: $runtime is not on PATH, and JAX_SIF_RUNTIME is '$JAX_SIF_RUNTIME'" >&2
  exit 2
fi
