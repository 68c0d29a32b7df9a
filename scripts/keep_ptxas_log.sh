#!/usr/bin/env bash
# Runs a compiler command and keeps what it says beside its object, as <object>.log.
for ((i = 1; i <= $#; i++)); do
  if [ "${!i}" = -o ]; then
    next=$((i + 1))
    log="${!next}.log"
  fi
done
"$@" >"${log:-/dev/null}" 2>&1
status=$?
if [ $status -ne 0 ]; then cat "$log" >&2; fi
exit $status
