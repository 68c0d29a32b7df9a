#!/usr/bin/env bash
# Runs nvcc and keeps what ptxas says beside its object, as <object>.log, and the PTX in <object>.ptx.
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
for ((i = 1; i <= $#; i++)); do
  if [ "${!i}" = -o ]; then
    next=$((i + 1))
    object="${!next}"
  fi
done
"$@" --keep --keep-dir "$kept" >"${object:-/dev/null}${object:+.log}" 2>&1
status=$?
if [ $status -ne 0 ]; then cat "${object:+$object.log}" >&2; fi
if [ -n "${object:-}" ]; then
  rm -rf "$object.ptx"
  mkdir -p "$object.ptx"
  find "$kept" -name '*.ptx' -exec mv {} "$object.ptx/" \;
fi
exit $status
