#!/usr/bin/env bash
# The tests of native code under AddressSanitizer (the build option MOE_SANITIZE takes thread and undefined, too).
# Builds a second tree and puts it in the place of the ordinary addon until the tests have run.
set -euo pipefail
tests=("$@")
[ $# -gt 0 ] || tests=(test/ops.test.ts test/models test/engine test/weights test/boundary/native.test.ts test/cuda/device.test.ts test/cuda/fusion.test.ts)
cd "$(dirname "$0")/.."
trap 'rm -f build/Release/moe_native.node; node scripts/build_native.mjs' EXIT
rm -f build/Release/moe_native.node
MOE_SANITIZE=address node scripts/build_native.mjs
# Node itself is not built for it, so the runtime has to be there first; leaks are Node's own.
LD_PRELOAD=$(g++ -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
  npx vitest run --project native "${tests[@]}"
