#!/bin/sh
# Ends the ranks of `jax-sif launch` if the launcher is killed.
# SPDX-License-Identifier: Apache-2.0
set -eu

# usage: guard.sh GRACE_S, with lines `watch GROUP` and `forget GROUP` on standard input,
# which is closed when the launcher ends for any reason, even SIGKILL, on every Unix.

groups=''
while read -r verb group; do
  case $verb in
    watch) groups="$groups -$group" ;;
    forget)
      kept=''
      for each in $groups; do
        if [ "$each" != "-$group" ]; then kept="$kept $each"; fi
      done
      groups=$kept
      ;;
  esac
done

# end SIGNAL: continues if a group has already ended.
end() {
  for each in $groups; do
    kill -s "$1" -- "$each" 2> /dev/null || continue
  done
}

if [ -n "$groups" ]; then
  end TERM
  sleep "$1"
  end KILL
fi
