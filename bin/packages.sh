# Binds a user's packages, and the paths they need, into the container; sourced after runtime.sh, on the host.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # packages and bind are read, me is set, by the sourcing script

# packages_bind FILE: sets packages to the mount of a file of jax-sif packages, or exits. The
# image's entry checks that it was made for that image.
packages_bind() {
  case $1 in
    *[:,]*)
      echo "$me: the packages are in '$1', and Apptainer takes no path with : or ,; give" \
        "it another name" >&2
      exit 2
      ;;
  esac
  if [ ! -r "$1" ] || [ ! -f "$1" ]; then
    echo "$me: cannot read the packages '$1'; make them (jax-sif packages create), or name" \
      "another file" >&2
    exit 2
  fi
  if [ "${JAX_SIF_RUNTIME:-apptainer}" != apptainer ]; then
    echo "$me: only Apptainer mounts a file of packages, and JAX_SIF_RUNTIME is" \
      "'$JAX_SIF_RUNTIME'; unset JAX_SIF_PACKAGES, and install them into your own image" >&2
    exit 2
  fi
  packages=$1:/opt/jax-sif/env:image-src=/,ro
}

# bind_path PATH: binds its folder into the container. Never a folder above the image's
# own.
bind_path() {
  folder=$1
  if [ ! -d "$folder" ]; then
    case $folder in
      */*) folder=${folder%/*} ;;
      *) return 0 ;;
    esac
  fi
  folder=$(cd "${folder:-/}" 2> /dev/null && pwd) || return 0
  case $folder in
    / | /opt | /opt/jax | /opt/jax[-/]* | /usr* | /lib* | /bin | /sbin | /etc | /var | \
      /dev* | /proc* | /sys* | *[:,]*) return 0 ;;
  esac
  bind=$folder${bind:+,$bind}
}

# Paths among arguments, including --find-links=PATH.
bind_args() {
  for arg in "$@"; do
    case $arg in
      -*=*/*) bind_path "${arg#*=}" ;;
      -*) ;;
      */*) bind_path "$arg" ;;
    esac
  done
}

# pip's settings, certificates and build folder on the host.
bind_pip_config() {
  if [ -d "${TMPDIR:-}" ]; then bind_path "$TMPDIR"; fi
  for file in "${PIP_CONFIG_FILE:-}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" \
    "${REQUESTS_CA_BUNDLE:-}" "${CURL_CA_BUNDLE:-}" /etc/pip.conf /etc/xdg/pip; do
    case ,$bind, in *",$file,"*) continue ;; esac
    if [ -r "$file" ] && [ "$file" != /dev/null ]; then bind=$file${bind:+,$bind}; fi
  done
}
