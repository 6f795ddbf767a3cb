#!/bin/sh
# Turns a slim Debian base into the image; run by both recipes, as root in the build.
# SPDX-License-Identifier: Apache-2.0
set -eu
umask 022

# usage: image_post.sh ACCEL REVISION BASE
#
# /mnt is empty, or holds settings of the building machine that must not remain in the
# image: settings.sh (pip's index), apt.conf, ca-bundle.crt, wheels/ (downloads), tmp/.

accel=$1 revision=$2 base=$3
kit=/opt/jax-sif
venv=/opt/jax
python=$venv/bin/python
# shellcheck disable=SC1091 # exists only in the image being built
. "$kit/recipe/image.env"

stage() { echo "==> $1"; }

borrow_settings() {
  # shellcheck disable=SC1091 # comes from the machine that builds
  if [ -e /mnt/settings.sh ]; then . /mnt/settings.sh; fi
  if [ -e /mnt/apt.conf ]; then export APT_CONFIG=/mnt/apt.conf; fi
  if [ -e /mnt/ca-bundle.crt ]; then
    export SSL_CERT_FILE=/mnt/ca-bundle.crt PIP_CERT=/mnt/ca-bundle.crt
  fi
  if [ -d /mnt/tmp ]; then export TMPDIR=/mnt/tmp; fi
  export DEBIAN_FRONTEND=noninteractive
  # Not set if run by hand.
  export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(date +%s)}"
  export PYTHONHASHSEED=0
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
}

# usage: apt_get WORD...
apt_get() {
  # The unprivileged user apt would switch to does not exist in every user namespace,
  # and may not read /mnt.
  apt-get -qq -o APT::Sandbox::User=root "$@"
}

# Download everything before installing. The base's own packages are taken from the mirror
# as well, so that all packages are of one day.
download_debian_packages() {
  # shellcheck disable=SC2086 # options, and a list of package names
  apt_get $snapshot --error-on=any update &&
    apt_get $snapshot --yes --download-only upgrade &&
    apt_get $snapshot --yes --download-only --no-install-recommends install $packages
}

# usage: name_snapshot FOLDER
# Writes the image's sources as they were at DEBIAN_SNAPSHOT, and sets $snapshot to the
# options that use them; status 1 where no archive of snapshots is known. Not by apt's own
# --snapshot: it fetches their lists (apt 3.0), and installs nothing from them.
name_snapshot() {
  known='s/^Acquire::Snapshots::URI::Host::[^ ]*debian[^ ]* "\(.*\)";$/\1/p'
  pattern=${DEBIAN_SNAPSHOT_URI:-$(apt-config dump | sed -n "$known" | head -n 1)}
  if [ -z "$pattern" ]; then return 1; fi
  address=$(echo "$pattern" |
    sed "s#/*\$##; s#@SNAPSHOTID@#$DEBIAN_SNAPSHOT#; s#@PATH@#\\\\2#")
  for file in "${etc:=/etc/apt}/sources.list" "$etc"/sources.list.d/*; do
    if [ -e "$file" ]; then
      sed -E "s#(https?)://[^/ ]+/([^ ]*[^ /])/?( |\$)#$address\\3#" "$file" \
        > "$1/${file##*/}"
    fi
  done
  snapshot="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$1"
  # It is old on purpose.
  snapshot="$snapshot -o Acquire::Check-Valid-Until=false"
  # An archive that does not respond must not delay a build that has a mirror.
  snapshot="$snapshot -o Acquire::Retries=1"
  snapshot="$snapshot -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20"
}

install_debian_packages() {
  packages=$(echo "$APT_PACKAGES" | tr , ' ') snapshot=
  sources=$(mktemp -d)
  if [ -n "$DEBIAN_SNAPSHOT" ]; then
    if ! name_snapshot "$sources" || ! download_debian_packages; then
      echo "==! no snapshot of $DEBIAN_SNAPSHOT can be had: Debian's newest packages are taken"
      if [ -n "${JAX_SIF_STRICT:-}" ]; then
        echo "image_post.sh: STRICT is set, so this ends the build" >&2
        exit 1
      fi
      snapshot='' DEBIAN_SNAPSHOT=''
      rm -rf /var/lib/apt/lists/*
    fi
  fi
  if [ -z "$snapshot" ]; then download_debian_packages; fi
  # Offline, so that the mirror's changes meanwhile have no effect.
  # shellcheck disable=SC2086 # options, and a list of package names
  apt_get $snapshot --yes --no-download upgrade
  # shellcheck disable=SC2086
  apt_get $snapshot --yes --no-download --no-install-recommends install $packages
  rm -r "$sources"
  python3 "$kit/recipe/image_debian.py"
}

check_python() {
  found=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$found" != "$PYTHON_VERSION" ]; then
    echo "image_post.sh: the base has Python '$found', but the lock was made for \
$PYTHON_VERSION: build on Debian $DEBIAN_SUITE" >&2
    exit 1
  fi
}

install_wheels() {
  python3 -m venv "$venv"
  set -- --quiet --no-deps --require-hashes --requirement "$kit/recipe/requirements.txt"
  if [ -d /mnt/wheels ]; then
    stage "downloads"
    "$python" -m pip download "$@" --dest /mnt/wheels
    set -- "$@" --no-index --find-links /mnt/wheels
  fi
  stage "Python packages"
  "$python" -m pip install "$@" --no-compile
  # Files that no program loads, without which the CUDA 13 image is small enough: tests,
  # and static libraries for a compiler that the image does not have.
  for package in numpy scipy; do
    find "$venv"/lib/python*/site-packages/$package \
      -type d -name tests -prune -exec rm -r {} +
  done
  rm -r "$venv"/lib/python*/site-packages/jax/_src/internal_test_util
  for libraries in "$venv"/lib/python*/site-packages/nvidia; do
    if [ -d "$libraries" ]; then find "$libraries" -name '*.a' -delete; fi
  done
  # Network plugins from the host (aws-ofi-nccl) load libcudart.so by its bare name,
  # which the wheels lack.
  for library in "$venv"/lib/python*/site-packages/nvidia/*/lib/libcudart.so.[0-9]*; do
    if [ -e "$library" ]; then
      ln -sf "${library##*/}" "${library%/*}/libcudart.so"
    fi
  done
}

take_plotly() {
  stage "plotly.js"
  # One file of the wheel and its licence. The package itself is not installed: it would
  # ask for others, and take 40 MB.
  folder=$(mktemp -d)
  "$python" -m pip download --quiet --no-deps --require-hashes \
    --requirement "$kit/recipe/report.txt" --dest "$folder"
  "$python" -m zipfile -e "$folder"/plotly-*.whl "$folder/wheel"
  mkdir -p "$kit/share/plotly"
  cp "$folder/wheel/plotly/package_data/plotly.min.js" \
    "$folder"/wheel/plotly-*.dist-info/licenses/LICENSE.txt "$kit/share/plotly"
  rm -r "$folder"
}

install_kit() {
  mkdir -p "$kit/bin"
  printf '%s\n' '#!/bin/sh' '# Runs the kit; in the container.' \
    "exec $python $kit/lib/jaxsif/start/bundle.py \"\$@\"" > "$kit/bin/jax-sif"
  # After the image's own packages, which take precedence; with the .pth files of the
  # user's packages. Empty until a file of jax-sif packages is mounted.
  mkdir "$kit/env"
  users=$kit/env/lib/python$PYTHON_VERSION/site-packages
  printf '%s\n' "$kit/lib" \
    "import os, site; os.path.isdir('$users') and site.addsitedir('$users')" \
    "$(cat "$kit/lib/jaxsif/start/unhandled.pth")" \
    > "$(echo "$venv"/lib/python*/site-packages)/jax-sif.pth"
  find "$kit" -type d -exec chmod 755 {} +
  find "$kit" -type f -exec chmod 644 {} +
  chmod 755 "$kit/lib/jaxsif/start/entry" "$kit/bin/jax-sif"
  # The path that job scripts name; it stays, wherever the file is.
  ln -s start/entry "$kit/lib/jaxsif/entry"
}

compile_all() {
  # Nothing can be compiled later, in a read-only image. unchecked-hash, because it
  # stays valid whatever becomes of the times of the files; Debian's own byte code would
  # not. One process, for byte code depends a little on what was compiled before it; -B,
  # for it would write some of its own with a time, and then let that be.
  find "$venv" "$kit" /usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} +
  "$python" -B -m compileall -q -j 1 --invalidation-mode unchecked-hash \
    "$venv/lib" "$kit/lib" "$kit/diag" /usr/lib/python3*
  # The time that everything in the image has; start/bundle.py knows the folder by it.
  touch -d "@$SOURCE_DATE_EPOCH" "$kit/lib/jaxsif"
}

clean() {
  apt-get clean
  rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old \
    /var/cache/ldconfig/aux-cache /var/log/*.log /var/log/apt/* /root/.cache \
    /usr/share/man/* /usr/share/locale/* /usr/share/info/* /usr/share/lintian
  find /usr/share/doc -depth -type f ! -name copyright -delete
  find /usr/share/doc -depth -type d -empty -delete
}

borrow_settings
export DEBIAN_SNAPSHOT
stage "Debian packages"
install_debian_packages
check_python
install_wheels
take_plotly
stage "byte code"
install_kit
compile_all
"$python" -B "$kit/recipe/image_bundle.py"
stage "flags of XLA"
"$python" -B "$kit/recipe/image_flags.py" "$(echo "$venv"/lib/python*/site-packages)"
stage "manifest"
"$python" -B "$kit/recipe/image_manifest.py" "$accel" "$revision" "$base"
"$python" -B "$kit/recipe/image_sbom.py"
# Copied out as well: the module and `make info` read it without starting the image.
if [ -d /mnt/tmp ]; then cp "$kit/image.json" /mnt/tmp/image.json; fi
clean
