#!/usr/bin/env bash
# The tests of native code under sanitizers of the C++ compiler: address and undefined behaviour together, or threads.
#   bash scripts/sanitize.sh address|thread [test files]
# Builds a second tree and puts it in the place of the ordinary addon until the tests have run.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
shift
tests=("$@")
[ $# -gt 0 ] || tests=(
  test/ops.test.ts test/models test/engine test/weights test/routers test/seq2seq test/vision test/adapters
  test/bits/{cpu,gemm,integers}.test.ts test/boundary/native.test.ts
)
compiler=${CXX:-g++}

# Node itself is not built for sanitizers: the runtime has to be there first, and leaks and races of Node are Node's own.
case $kind in
  address)
    sanitizers=address,undefined
    [ $# -gt 0 ] || tests+=(test/cuda/device.test.ts test/cuda/fusion.test.ts)
    runtime=$("$compiler" -print-file-name=libasan.so)
    export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    ;;
  thread)
    sanitizers=thread
    [ $# -gt 0 ] || tests+=(test/lifecycle/disposal.test.ts)
    simulator=OFF # its fibers look like races
    runtime=$("$compiler" -print-file-name=libtsan.so)
    export TSAN_OPTIONS="suppressions=$PWD/scripts/sanitize_threads.txt halt_on_error=1 exitcode=66"
    ;;
  *)
    echo "sanitize: the first argument must be address or thread, got $kind" >&2
    exit 2
    ;;
esac

trap 'rm -f build/Release/moe_native.node; node scripts/build_native.mjs' EXIT
rm -f build/Release/moe_native.node
MOE_SANITIZE=$sanitizers MOE_CUDA_SIM=${simulator:-${MOE_CUDA_SIM:-}} node scripts/build_native.mjs
# What a sanitizer keeps in memory is no model's.
MOE_TEST_PRELOAD=$runtime npx vitest run --project native --exclude test/weights/memory.test.ts \
  --exclude test/engine/bytes_read.test.ts "${tests[@]}"
