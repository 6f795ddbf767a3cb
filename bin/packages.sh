# Shows the container what a user's own packages need, and their file itself; sourced after runtime.sh, on the host.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # packages and bind are read, me is set, by whoever sources it

# packages_bind FILE: sets packages to the mount of a file of jax-sif env, or ends the
# program. The image's entry tells whether it was made for that image.
packages_bind() {
  case $1 in
    *[:,]*)
      echo "$me: the packages are in '$1', and Apptainer takes no path with : or ,; give" \
        "it another name" >&2
      exit 2
      ;;
  esac
  if [ ! -r "$1" ] || [ ! -f "$1" ]; then
    echo "$me: cannot read the packages '$1'; make them (jax-sif env create), or name" \
      "another file" >&2
    exit 2
  fi
  if [ "${JAX_SIF_RUNTIME:-apptainer}" != apptainer ]; then
    echo "$me: only Apptainer mounts a file of packages, and JAX_SIF_RUNTIME is" \
      "'$JAX_SIF_RUNTIME'; unset JAX_SIF_ENV, and install them into an image of your own" >&2
    exit 2
  fi
  packages=$1:/opt/jax-sif/env:image-src=/,ro
}

# show PATH: lets the container see it, or the folder where it shall be. Never a folder
# above the image's own.
show() {
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

# Paths among words, also as --find-links=PATH.
show_words() {
  for word in "$@"; do
    case $word in
      -*=*/*) show "${word#*=}" ;;
      -*) ;;
      */*) show "$word" ;;
    esac
  done
}

# What pip needs of the host: its settings, certificates and room to build.
show_for_pip() {
  if [ -d "${TMPDIR:-}" ]; then show "$TMPDIR"; fi
  for file in "${PIP_CONFIG_FILE:-}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" \
    "${REQUESTS_CA_BUNDLE:-}" "${CURL_CA_BUNDLE:-}" /etc/pip.conf /etc/xdg/pip; do
    case ,$bind, in *",$file,"*) continue ;; esac
    if [ -r "$file" ] && [ "$file" != /dev/null ]; then bind=$file${bind:+,$bind}; fi
  done
}
