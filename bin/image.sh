# Looks at the image before anything of it runs: whole, undamaged, and what was signed; sourced after runtime.sh, on the host.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154 # me and runtime are set by whoever sources it

# A checksum of so many bytes takes about a second.
quick_bytes=536870912
newline='
'

# look_at_image COMMAND: ends the program where the image must not be run, or cannot be. A
# job's `check` looks at every byte; the other commands trust what this user has seen well
# since the image was last changed.
look_at_image() {
  command=$1 image=$JAX_IMAGE image_key=${JAX_SIF_IMAGE_KEY:-} state=
  if [ "${JAX_SIF_RUNTIME:-apptainer}" = apptainer ]; then
    # A key lies beside the file, and not beside the link to it.
    image=$(readlink -f "$JAX_IMAGE") || image=$JAX_IMAGE
  fi
  if [ -z "$image_key" ] && [ -e "$image.pem" ]; then image_key=$image.pem; fi
  if [ "$image_key" = off ]; then image_key=; fi
  if [ -n "$image_key" ]; then refuse_an_unfit_key; fi
  seen='' header=''
  if [ -f "$image" ]; then
    know_image
    if [ "$command" != check ] && is_seen_well; then return; fi
    refuse_a_cut_image
  fi
  if [ -n "$image_key" ]; then
    refuse_another_image
    note_seen_well
  elif [ "$command" = check ] && [ -n "$header" ]; then
    refuse_a_damaged_image
  fi
}

# --- What was seen before ---------------------------------------------------------------

# Sets state, which changes with every change of the image, or of its key, and seen, the
# file that holds the last good one.
know_image() {
  state=$(stat -L --printf='%d-%i %s %.9Y %.9Z ' "$image" ${image_key:+"$image_key"} \
    2> /dev/null) || state=
  state=${state% } seen=
  has_bytes=${state#* }
  has_bytes=${has_bytes%% *}
  folder=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  if [ -z "$folder" ] || [ -z "$state" ]; then return; fi
  # Nobody asks: there is nothing to look at for long.
  case $command:$image_key in check:* | verify:* | *:?*) ;; *) return ;; esac
  # Root runs what it has looked at itself.
  if [ "$(id -u)" = 0 ]; then return; fi
  seen=$folder/jax-sif/seen/${state%% *}
}

is_seen_well() {
  [ -n "$seen" ] && [ -f "$seen" ] && [ -O "$seen" ] || return 1
  read -r last < "$seen" || return 1
  [ "$last" = "$state" ]
}

note_seen_well() {
  if [ -z "$seen" ]; then return; fi
  before=$state
  know_image
  # Changed while it was looked at, or so lately that the next change may bear the same time.
  changed_s=${before#* * * }
  changed_s=${changed_s%%.*}
  if [ "$before" != "$state" ] || [ $(($(date +%s) - changed_s)) -lt 3 ]; then return; fi
  # A cache that cannot be written costs the next look its time, and nothing else.
  { mkdir -p "${seen%/*}" && [ -O "${seen%/*}" ] && printf '%s\n' "$state" > "$seen.$$" \
    && mv "$seen.$$" "$seen"; } 2> /dev/null || :
}

# --- What is wrong ----------------------------------------------------------------------

# refuse WHAT REMEDY: as a verdict, where one is expected; never into a script for sbatch.
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
    "build or install it anew, or copy it again from where it is whole"
}

refuse_an_unfit_key() {
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
}

# The public key is the one that `make sign` left beside the image, or the one of whoever
# trusts no folder that the image lies in: JAX_SIF_IMAGE_KEY. Without either nothing was
# signed.
refuse_another_image() {
  if said=$("$runtime" verify --key "$image_key" "$image" 2>&1); then return; fi
  printf '%s\n' "$said" >&2
  refuse "the image '$image' is not what was signed with '$image_key'" \
    'it was changed, damaged, or built anew: ask who installed it to sign it: make sign KEY=...; do not trust it until then'
}

# A SIF says in its first 128 bytes where its data begin, and how many they are.
refuse_a_cut_image() {
  header=$(od -A n -v -t x1 -N 128 "$image" 2> /dev/null) || header=
  # shellcheck disable=SC2086 # its blanks go
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

# number_at BYTE: of the header, little-endian, as SIF has it.
number_at() {
  printf '%s\n' "$header" | cut -c "$((2 * $1 + 1))-$((2 * $1 + 16))" \
    | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/0x\8\7\6\5\4\3\2\1/'
}

# The file beside it (tools/build_run.py) knows its checksum. It says nothing of an image
# that somebody else put in its place, or has signed: that has another header.
refuse_a_damaged_image() {
  built_header=$(fact sif_header) built_sum=$(fact sif_sha256)
  if [ -z "$built_header" ] || [ -z "$built_sum" ]; then return; fi
  if ! is_sif "$header"; then damaged 'it does not begin as one does'; fi
  if [ "$header" != "$built_header" ]; then return; fi
  if [ "${has_bytes:-0}" -gt "$quick_bytes" ] && is_seen_well; then return; fi
  if ! said=$(sha256sum "$image" 2>&1); then
    damaged "it cannot be read to its end ($said)"
  fi
  if [ "${said%% *}" = "$built_sum" ] || is_being_replaced; then return; fi
  damaged "its checksum is not that of its build ($image.json)"
}

# fact NAME: of the file beside the image; nothing where it says nothing.
fact() {
  if [ -r "$image.json" ]; then
    sed -n "s/.*\"$1\": *\"\([0-9a-f]*\)\".*/\1/p" "$image.json"
  fi
}

# An install puts the image and the file beside it into their places one after the other.
is_being_replaced() {
  before=$state
  sleep 2
  know_image
  [ "$state" != "$before" ] || [ "$built_sum" != "$(fact sif_sha256)" ]
}

# --- What does not start ----------------------------------------------------------------

# cannot_start SAID: with the runtime's own words, and the line of them that says why.
cannot_start() {
  printf '%s\n' "$1" >&2
  why=$(printf '%s\n' "$1" | sed -n 's/^.*FATAL: *//p; s/^panic: *//p' | head -n 1)
  refuse "the image '$JAX_IMAGE' cannot be started on $(uname -n): ${why:-${1##*"$newline"}}" \
    "try it by hand, here and on another node: $runtime exec '$JAX_IMAGE' true; where it starts nowhere the image is damaged: install it anew"
}

# check_in COMMAND...: `jax-sif check`, whose standard output is a verdict or nothing. It says
# why it ends; where it does not, it is the runtime that could not start it.
check_in() {
  status=0
  { said=$("$@" 2>&1 >&3 3>&-) || status=$?; } 3>&1
  case $status:$newline$said in
    0:*) note_seen_well ;;
    1:*"$newline"Traceback*) cannot_start "$said" ;;
    1:* | *"$newline"'jax-sif: '* | *"$newline"'usage: jax-sif'*) ;;
    *) cannot_start "$said" ;;
  esac
  if [ -n "$said" ]; then printf '%s\n' "$said" >&2; fi
  exit "$status"
}

# Before the judge takes this process's place: an image that was not seen well may not start,
# and then nobody would speak a verdict.
refuse_what_does_not_start() {
  if [ -n "$state" ] && is_seen_well; then return; fi
  if ! said=$("$runtime" exec "$JAX_IMAGE" jax-sif help 2>&1 < /dev/null); then
    cannot_start "$said"
  fi
}
