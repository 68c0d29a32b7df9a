#!/usr/bin/env bash
# Everything that only a GPU can show, on any machine that has one.
#   scripts/gpu-check.sh [--device cuda] [--out DIR] [--only tests,sanitizers,bench]   in a built checkout
#   scripts/gpu-check.sh pack [FILE.tar.xz]   what a machine without Node and npm needs, beside a checkout:
#                                             node, the packages that tests use, the build of this machine
# There, in the checkout: `tar xf FILE.tar.xz && scripts/gpu-check.sh`. MOE_CUDA_ARCHS=90a-real before
# `pack` builds for one architecture only.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = pack ]; then
  out=${2:-build/gpu-check.tar.xz}
  MOE_CUDA=ON npm run --silent build
  mkdir -p .gpu-check
  cp "$(command -v node)" .gpu-check/node
  strip .gpu-check/node
  # Kept: what is needed at run time and by tests. Left: compilers, linters and build tools.
  mapfile -t packages < <(npm query ':root > *, #vitest *, #@huggingface/tokenizers *' |
    node -e 'for (const p of JSON.parse(require("fs").readFileSync(0))) console.log(p.location)' |
    grep -Ev 'node_modules/(@biomejs|typescript|clang-format|cmake-js|prebuildify)' | sort -u)
  XZ_OPT=-6 tar cJf "$out" .gpu-check build/Release dist package.json "${packages[@]}"
  rm -r .gpu-check
  ls -lh "$out"
  exit
fi

[ -x .gpu-check/node ] && PATH=$PWD/.gpu-check:$PATH
exec node scripts/gpu_check.mjs "$@"
