# Refuses an image that is not, to the last byte, the one that was signed; sourced, on the host.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

# The public key is the one that `make sign` left beside the image, or the one of whoever
# trusts no folder that the image lies in: JAX_SIF_IMAGE_KEY. Without either nothing was
# signed, and nothing is looked at.
refuse_another_image() {
  image_key=${JAX_SIF_IMAGE_KEY:-}
  if [ -z "$image_key" ] && [ -e "$JAX_IMAGE.pem" ]; then image_key=$JAX_IMAGE.pem; fi
  case $image_key in '' | off) return ;; esac
  if [ "${JAX_SIF_RUNTIME:-apptainer}" != apptainer ]; then
    echo "$me: $runtime cannot tell whether '$JAX_IMAGE' was signed with '$image_key'; unset" \
      "JAX_SIF_IMAGE_KEY, or use the runtime apptainer" >&2
    exit 2
  fi
  if [ ! -r "$image_key" ]; then
    echo "$me: cannot read the key '$image_key' that the image must be signed with; ask its" \
      "owner, or name another: JAX_SIF_IMAGE_KEY=/path/key.pem (off: do not look)" >&2
    exit 2
  fi
  if ! said=$("$runtime" verify --key "$image_key" "$JAX_IMAGE" 2>&1); then
    printf '%s\n' "$said" >&2
    # As the verdict that the job will not have.
    what="the image '$JAX_IMAGE' is not what was signed with '$image_key'"
    printf '%s\n' "1. $what: it was changed, damaged, or built anew" \
      "   -> ask who installed it to sign it: make sign KEY=...; do not trust it until then" \
      "FAIL  ${JAX_SIF_TOPOLOGY:-}${JAX_SIF_TOPOLOGY:+: }$what"
    exit 1
  fi
}
