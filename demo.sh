#!/usr/bin/env bash
# Installs what is missing, builds the program and makes a picture with the embedded model:
#   ./demo.sh ["a panda on a pink background" [further options of `ernie-image generate`]]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$root/scripts/install_packages.sh"

prompt=${1:-a red apple on a blue background}
shift || true

install_packages "${PACKAGES[@]}"
cd "$root"
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release --target ernie-image
cd "$OLDPWD"

show=()
if [[ -t 2 ]]; then show=(--show); fi
mkdir -p "$root/out"
env --unset=ERNIE_IMAGE_MODEL "$root/build/ernie-image" generate --prompt "$prompt" \
  --output "$root/out/demo.png" --preview "$root/out/demo_enlarged.png" "${show[@]}" "$@"
echo
echo "\"$prompt\""
echo "  the picture               $root/out/demo.png"
echo "  enlarged, beside itself   $root/out/demo_enlarged.png"
