# shellcheck shell=bash
# Sourced by demo.sh, test.sh and .ci/run: the Debian packages that a build and its tests need, in one place.

# shellcheck disable=SC2034
PACKAGES=(
  g++ cmake ninja-build ccache pkg-config
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev
  libpng-dev libjpeg-dev libwebp-dev
  libsqlite3-dev libhiredis-dev
  libcpp-httplib-dev libspdlog-dev prometheus-cpp-dev
  libeigen3-dev libpcre2-dev libssl-dev libcurl4-openssl-dev
  libgtest-dev libbenchmark-dev xz-utils python3 python3-numpy
)

# What only tests need: pictures, schemas and pages are looked at with other programs than ours.
# shellcheck disable=SC2034
TEST_PACKAGES=(
  lld redis-server python3-venv python3-dev python3-jsonschema python3-pil chromium chromium-driver python3-selenium dpkg-dev
  abigail-tools nginx-light openssl
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

# install_python_packages FILE FOLDER: a Python environment with what a requirements.txt lists, made when it is missing or out of
# date. Without a network the tests that need it are skipped, visibly.
install_python_packages() {
  if cmp --silent "$1" "$2/requirements.txt"; then return 0; fi
  if python3 -m venv "$2" && "$2/bin/pip" install --quiet --disable-pip-version-check --requirement "$1"; then
    cp "$1" "$2/requirements.txt"
  else
    echo "What $1 lists could not be installed; the tests that need it will be skipped." >&2
  fi
}

# install_client_packages BUILD: the clients that the server is tested with, as BUILD/client-venv. All builds share one environment,
# which is made by whoever comes first.
install_client_packages() {
  mkdir -p build "$1"
  (
    flock 9
    install_python_packages tests/server/requirements.txt build/client-venv
  ) 9>build/client-venv.lock
  if [[ $1 == build ]]; then return 0; fi
  if [[ ! -L $1/client-venv ]]; then rm -rf "$1/client-venv"; fi
  ln -sfn ../build/client-venv "$1/client-venv"
}

# install_ray FOLDER: Ray, which the package's batches and service are tested on. Some 800 MB.
install_ray() { install_python_packages python/tests/ray_requirements.txt "$1"; }

# python_module_options FOLDER: what CMake is to be told so that it builds the Python module with the nanobind of that environment,
# which is made if need be; or that it is not to build it, where that cannot be.
python_module_options() {
  install_python_packages python/tests/requirements.txt "$1" >&2
  local python=$1/bin/python
  if "$python" -c 'import nanobind, numpy, PIL, pathlib, sysconfig
pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()' 2>/dev/null; then
    echo "-DERNIE_IMAGE_PYTHON=ON -DPython_EXECUTABLE=$PWD/$python"
  else
    echo "-DERNIE_IMAGE_PYTHON=OFF"
  fi
}
