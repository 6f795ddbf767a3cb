# Checks that the image is complete, undamaged and signed; sourced after runtime.sh, on the host.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154 # me and runtime are set by the sourcing script

# The checksum of this many bytes takes about a second.
quick_bytes=536870912
newline='
'

# check_image COMMAND: exits if the image must not or cannot be run. A job's `check` reads
# every byte; the other commands trust an earlier check by this user if the image has not
# changed since.
check_image() {
  command=$1 image=$JAX_IMAGE image_key=${JAX_SIF_IMAGE_KEY:-} state=
  if [ "${JAX_SIF_RUNTIME:-apptainer}" = apptainer ]; then
    # The key is beside the file, not beside a link to it.
    image=$(readlink -f "$JAX_IMAGE") || image=$JAX_IMAGE
  fi
  if [ -z "$image_key" ] && [ -e "$image.pem" ]; then image_key=$image.pem; fi
  if [ "$image_key" = off ]; then image_key=; fi
  if [ -n "$image_key" ]; then check_key; fi
  seen='' header=''
  if [ -f "$image" ]; then
    read_image_state
    if [ "$command" != check ] && is_verified; then return; fi
    check_size
  fi
  if [ -n "$image_key" ]; then
    check_signature
    remember_verified
  elif [ "$command" = check ] && [ -n "$header" ]; then
    check_checksum
  fi
}

# --- Earlier checks ---------------------------------------------------------------------

# Sets state, which changes with every change of the image or its key, and seen, the file
# that holds the last verified state.
read_image_state() {
  state=$(stat -L --printf='%d-%i %s %.9Y %.9Z ' "$image" ${image_key:+"$image_key"} \
    2> /dev/null) || state=
  state=${state% } seen=
  has_bytes=${state#* }
  has_bytes=${has_bytes%% *}
  folder=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  if [ -z "$folder" ] || [ -z "$state" ]; then return; fi
  # Without a key only check and verify read the whole image.
  case $command:$image_key in check:* | verify:* | *:?*) ;; *) return ;; esac
  # Root checks each time.
  if [ "$(id -u)" = 0 ]; then return; fi
  seen=$folder/jax-sif/seen/${state%% *}
}

is_verified() {
  [ -n "$seen" ] && [ -f "$seen" ] && [ -O "$seen" ] || return 1
  read -r last < "$seen" || return 1
  [ "$last" = "$state" ]
}

remember_verified() {
  if [ -z "$seen" ]; then return; fi
  before=$state
  read_image_state
  # Changed during the check, or so recently that the next change may have the same time.
  changed_s=${before#* * * }
  changed_s=${changed_s%%.*}
  if [ "$before" != "$state" ] || [ $(($(date +%s) - changed_s)) -lt 3 ]; then return; fi
  # If the cache cannot be written, the next command checks again.
  { mkdir -p "${seen%/*}" && [ -O "${seen%/*}" ] && printf '%s\n' "$state" > "$seen.$$" \
    && mv "$seen.$$" "$seen"; } 2> /dev/null || :
}

# --- Checks -----------------------------------------------------------------------------

# refuse PROBLEM REMEDY: as a verdict if one is expected; never into a script for sbatch.
refuse() {
  case $command in
    check | verify)
      printf '%s\n' "1. $1" "   -> $2" \
        "FAIL  ${JAX_SIF_TOPOLOGY:-}${JAX_SIF_TOPOLOGY:+: }$1"
      ;;
    *) printf '%s\n' "$me: $1; $2" >&2 ;;
  esac
  exit 1
}

damaged() { # HOW
  refuse "the image '$image' is damaged: $1" \
    "build or install it again, or copy it again from an undamaged one"
}

check_key() {
  if [ "${JAX_SIF_RUNTIME:-apptainer}" != apptainer ]; then
    echo "$me: $runtime cannot tell whether '$JAX_IMAGE' was signed with '$image_key'; unset" \
      "JAX_SIF_IMAGE_KEY, or use the runtime apptainer" >&2
    exit 2
  fi
  if [ ! -r "$image_key" ]; then
    echo "$me: cannot read the key '$image_key' that the image must be signed with; ask its" \
      "owner, or name another: JAX_SIF_IMAGE_KEY=/path/key.pem (off: no check)" >&2
    exit 2
  fi
}

# The public key is beside the image, where `make sign` writes it, or named by
# JAX_SIF_IMAGE_KEY, for users who do not trust the image's folder. Without either nothing
# was signed.
check_signature() {
  if output=$("$runtime" verify --key "$image_key" "$image" 2>&1); then return; fi
  printf '%s\n' "$output" >&2
  refuse "the image '$image' is not what was signed with '$image_key'" \
    'it was changed, damaged, or built again: ask its installer to sign it: make sign KEY=...; do not trust it until then'
}

# The first 128 bytes of a SIF hold the offset and size of its data.
check_size() {
  header=$(od -A n -v -t x1 -N 128 "$image" 2> /dev/null) || header=
  # shellcheck disable=SC2086 # to remove its blanks
  header=$(printf %s $header)
  if ! is_sif "$header"; then return; fi
  if [ -z "$state" ] || [ ${#header} -ne 256 ]; then return; fi
  needs_bytes=$(($(number_at 112) + $(number_at 120)))
  if [ "$has_bytes" -lt "$needs_bytes" ]; then
    damaged "it has $has_bytes of $needs_bytes bytes"
  fi
}

# SIF_MAGIC, at byte 32.
is_sif() {
  case $1 in
    ????????????????????????????????????????????????????????????????5349465f4d41474943*) ;;
    *) return 1 ;;
  esac
}

# number_at BYTE: a little-endian number of the header.
number_at() {
  printf '%s\n' "$header" | cut -c "$((2 * $1 + 1))-$((2 * $1 + 16))" \
    | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/0x\8\7\6\5\4\3\2\1/'
}

# The file beside it (tools/build_run.py) has its checksum. An image that was replaced or
# signed since has a different header, and is not compared.
check_checksum() {
  built_header=$(fact sif_header) built_sum=$(fact sif_sha256)
  if [ -z "$built_header" ] || [ -z "$built_sum" ]; then return; fi
  if ! is_sif "$header"; then damaged 'it does not begin as one does'; fi
  if [ "$header" != "$built_header" ]; then return; fi
  if [ "${has_bytes:-0}" -gt "$quick_bytes" ] && is_verified; then return; fi
  if ! output=$(sha256sum "$image" 2>&1); then
    damaged "it cannot be read to its end ($output)"
  fi
  if [ "${output%% *}" = "$built_sum" ] || is_being_replaced; then return; fi
  damaged "its checksum is not that of its build ($image.json)"
}

# fact NAME: prints a field of the file beside the image, or nothing.
fact() {
  if [ -r "$image.json" ]; then
    sed -n "s/.*\"$1\": *\"\([0-9a-f]*\)\".*/\1/p" "$image.json"
  fi
}

# An install moves the image and the file beside it to their names one after the other.
is_being_replaced() {
  before=$state
  sleep 2
  read_image_state
  [ "$state" != "$before" ] || [ "$built_sum" != "$(fact sif_sha256)" ]
}

# --- Images that do not start -----------------------------------------------------------

# cannot_start OUTPUT: prints the runtime's output, and a verdict with the line of its error.
cannot_start() {
  printf '%s\n' "$1" >&2
  why=$(printf '%s\n' "$1" | sed -n 's/^.*FATAL: *//p; s/^panic: *//p' | head -n 1)
  refuse "the image '$JAX_IMAGE' cannot be started on $(uname -n): ${why:-${1##*"$newline"}}" \
    "try it by hand, here and on another node: $runtime exec '$JAX_IMAGE' true; if it starts nowhere the image is damaged: install it again"
}

# check_in COMMAND...: `jax-sif check`, which prints a verdict or nothing, and a reason if it
# fails. Without a reason, the runtime could not start it.
check_in() {
  status=0
  { output=$("$@" 2>&1 >&3 3>&-) || status=$?; } 3>&1
  case $status:$newline$output in
    0:*) remember_verified ;;
    1:*"$newline"Traceback*) cannot_start "$output" ;;
    1:* | *"$newline"'jax-sif: '* | *"$newline"'usage: jax-sif'*) ;;
    *) cannot_start "$output" ;;
  esac
  if [ -n "$output" ]; then printf '%s\n' "$output" >&2; fi
  exit "$status"
}

# Runs before verify replaces this process: an image that was not verified may not start,
# and then there would be no verdict.
require_startable_image() {
  if [ -n "$state" ] && is_verified; then return; fi
  if ! output=$("$runtime" exec "$JAX_IMAGE" jax-sif help 2>&1 < /dev/null); then
    cannot_start "$output"
  fi
}
