#!/bin/sh
# Ends the ranks of `jax-sif launch` when the launcher itself has been killed; beside the launcher, on its machine.
# SPDX-License-Identifier: Apache-2.0
set -eu

# usage: guard.sh GRACE_S, with `watch GROUP` and `forget GROUP` as standard input, which
# ends with the launcher, whatever ends that: also SIGKILL, on every Unix.

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

# end SIGNAL: fails for a group that has ended by itself, and still reaches the rest.
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
