#!/usr/bin/env bash
# Everything that only a GPU can show, on any machine that has one; docs/gpu-check.md says how.
#   scripts/gpu-check.sh [--part tests,sanitizers,bench,tune] [--minutes 10] [--device cuda] [--out DIR]   runs it
#   scripts/gpu-check.sh pack     what a machine without Node and npm needs beside a checkout, in parts
#   scripts/gpu-check.sh unpack   there, once the parts are: puts them in place
#   scripts/gpu-check.sh plan     the calls that bring all of it to such a machine and run it, with their sizes
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  pack | plan)
    exec node scripts/gpu_check/pack.mjs "$@"
    ;;
  unpack)
    mapfile -t parts < <(find build/gpu-check -name 'part.*' 2>/dev/null | sort -V)
    [ ${#parts[@]} -gt 0 ] || { echo "no parts in build/gpu-check" >&2; exit 1; }
    needed=${parts[0]##*-of-}
    if [ ${#parts[@]} -lt "$needed" ]; then
      echo "${#parts[@]} of $needed parts are here"
      exit
    fi
    cat "${parts[@]}" | tar xJ
    echo "unpacked; node $(.gpu-check/node --version)"
    exit
    ;;
esac

[ -x .gpu-check/node ] && PATH=$PWD/.gpu-check:$PATH
exec node scripts/gpu_check/run.mjs "$@"
