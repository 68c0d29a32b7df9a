#!/usr/bin/env bash
# Builds the MoE block of moe-native and of ggml, the CPU library that node-llama-cpp installs, as one program:
#   bench/peers/ggml-block/build.sh OUT
# Needs `npm run build:native` and a run of bench/peers/node-llama-cpp/run.mjs, which installs the peer.
#   GGML_DIR=OUT/libraries OUT/block qwen int4g128 ggml:q4_0
# With GGML_DIR=OUT/avx2 and MOE_CPU_ISA=avx2 both use AVX2.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
out=$1
peer=${PEER_MODULES:-$here/../node-llama-cpp/node_modules}
mkdir -p "$out/libraries" "$out/avx2"
[ -d "$out/sources" ] || git clone -q "$peer/node-llama-cpp/llama/gitRelease.bundle" "$out/sources"
cp "$peer"/@node-llama-cpp/linux-x64/bins/linux-x64/*.so "$out/libraries"
cp "$out"/libraries/libggml{-base,-cpu-haswell,.v*}.so "$out/avx2"
objects=$(find "$root"/build-cmake/linux-x64/CMakeFiles -name '*.o' -path '*csrc*' ! -path '*/binding/*')
# shellcheck disable=SC2086 # a list
g++ -std=c++20 -O2 -Wno-psabi -I"$here" -I"$root/csrc" -isystem "$out/sources/ggml/include" "$here/main.cc" $objects \
  -o "$out/block" -L"$out/libraries" -l:"$(basename "$out"/libraries/libggml.v*.so)" -l:libggml-base.so \
  -Wl,-rpath,"$(cd "$out/libraries" && pwd)" -pthread -ldl
