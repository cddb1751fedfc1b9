#!/usr/bin/env bash
# pytest on an emulated 64-bit ARM processor: the core of bhvit.runtime cross-compiled, under the Python of Debian for arm64
# and numpy's wheel for it, without torch. Needs Debian on x86-64, and root where packages are to be installed.
#   tests/arm64.sh tests/bhvit/runtime -m "not long"
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} # whose pip downloads the wheels
work=$PWD/build/arm64
root=$work/root

if ! type aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null 2>&1; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq g++-aarch64-linux-gnu qemu-user >/dev/null
fi

# apt with a status of its own: it resolves for an empty arm64 system and leaves this machine's packages alone.
if [ ! -e "$root/.complete" ]; then
  rm -rf "$work" && mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$root"
  : >"$work/apt/status"
  apt_arm64() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
      -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt" "$@" >/dev/null
  }
  apt_arm64 update
  apt_arm64 install --download-only -y --no-install-recommends python3-minimal libpython3-stdlib libstdc++6 libgomp1
  for package in "$work"/apt/archives/*.deb; do dpkg -x "$package" "$root"; done
  version=$(basename "$(readlink "$root/usr/bin/python3")")
  platforms=(); for glibc in 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_aarch64"); done
  "$python" -m pip install --quiet --target "$work/site" --constraint constraints.txt --only-binary=:all: \
    "${platforms[@]}" --platform manylinux2014_aarch64 --python-version "${version#python}" \
    hypothesis numpy pillow pytest pytest-timeout pyyaml
  touch "$root/.complete"
fi

cmake -S bhvit/runtime/native -B "$work/core" -DBHVIT_WERROR=ON -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake --build "$work/core" --parallel >/dev/null

# Called by this name so that tests can start it again as sys.executable.
cat >"$work/python" <<END
#!/bin/sh
exec qemu-aarch64 -L $root -0 $work/python $root/usr/bin/python3 "\$@"
END
chmod +x "$work/python"
export PYTHONHOME=$root/usr PYTHONPATH=$PWD:$work/site PYTHONDONTWRITEBYTECODE=1
BHVIT_RUNTIME_LIBRARY=$work/core/_core.so exec "$work/python" -m pytest -p no:cacheprovider "$@"
