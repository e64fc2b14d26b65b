# shellcheck shell=bash
# Sourced by demo.sh, test.sh and .ci/run: the Debian packages that a build and its tests need, in one place.

# shellcheck disable=SC2034
PACKAGES=(
  g++ cmake ninja-build ccache pkg-config
  nlohmann-json3-dev libcli11-dev
  libpng-dev libjpeg-dev libwebp-dev
  libsqlite3-dev libhiredis-dev
  libcpp-httplib-dev libspdlog-dev prometheus-cpp-dev
  libeigen3-dev libpcre2-dev libssl-dev libcurl4-openssl-dev
  libgtest-dev libbenchmark-dev xz-utils python3 python3-numpy
)

# What only tests need: pictures, schemas and pages are looked at with other programs than ours.
# shellcheck disable=SC2034
TEST_PACKAGES=(
  lld redis-server python3-venv python3-jsonschema python3-pil chromium chromium-driver python3-selenium dpkg-dev nginx-light openssl
)

# What scripts/test_aarch64.sh needs besides: libgtest-dev brings the sources of GoogleTest, which are built for the target.
# shellcheck disable=SC2034
AARCH64_PACKAGES=(cmake ninja-build libgtest-dev g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)

# Optional: matrix products for processors with AMX or AVX512_BF16.
if [[ $(dpkg --print-architecture 2>/dev/null) == amd64 ]]; then PACKAGES+=(libdnnl-dev); fi

# install_packages NAME...: installs those that are missing, and does nothing when none is.
install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "This is not a Debian system; make sure that it has: $*" >&2
    return 0
  fi
  local missing=() name
  for name in "$@"; do
    if ! dpkg-query --show --showformat='${Status}' "$name" 2>/dev/null | grep -q ' installed$'; then
      missing+=("$name")
    fi
  done
  if ((${#missing[@]} == 0)); then return 0; fi

  local as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages: ${missing[*]}. Run this as root, or install sudo." >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing ${missing[*]}" >&2
  "${as_root[@]}" apt-get update --quiet=2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}"
}

# install_client_packages FOLDER: a Python environment with the clients that the server is tested with, made when it is
# missing or out of date. Without a network those tests are skipped, visibly.
install_client_packages() {
  local wanted=tests/server/requirements.txt
  if cmp --silent "$wanted" "$1/requirements.txt"; then return 0; fi
  if python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"; then
    cp "$wanted" "$1/requirements.txt"
  else
    echo "The clients for tests/server could not be installed; their tests will be skipped." >&2
  fi
}
