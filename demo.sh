#!/usr/bin/env bash
# Installs what is missing, builds the program, makes a picture with the embedded model and from that another:
#   ./demo.sh ["a panda on a pink background" [further options of `ernie-image generate`]]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$root/scripts/install_packages.sh"

prompt=${1:-a red apple on a blue background}
shift || true

# The same thing on another background.
case $prompt in
  *黄色背景*) edited=蓝色背景上的${prompt#*背景上的} ;;
  *背景上的*) edited=黄色背景上的${prompt#*背景上的} ;;
  *"on a yellow background"*) edited="${prompt/yellow/blue}" ;;
  *) edited="${prompt% on a * background} on a yellow background" ;;
esac

install_packages "${PACKAGES[@]}"
cd "$root"
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release --target ernie-image
cd "$OLDPWD"

show=()
if [[ -t 2 ]]; then show=(--show); fi
mkdir -p "$root/out"
generate() { env --unset=ERNIE_IMAGE_MODEL "$root/build/ernie-image" generate --overwrite "${show[@]}" "$@"; }
generate --prompt "$prompt" --output "$root/out/demo.png" --preview "$root/out/demo_enlarged.png" "$@"
# Further options may be of another model, or ask for several pictures.
if (($# == 0)); then
  generate --prompt "$edited" --image "$root/out/demo.png" --output "$root/out/demo_edited.png"
fi
echo
echo "\"$prompt\""
echo "  the picture               $root/out/demo.png"
echo "  enlarged, beside itself   $root/out/demo_enlarged.png"
if (($# == 0)); then
  echo "\"$edited\", from that picture"
  echo "  the picture               $root/out/demo_edited.png"
fi
echo "To do the same in a browser, with a brush for parts of a picture:"
echo "  $root/build/ernie-image serve"
