#!/usr/bin/env bash
# Emulated Raspberry Pi user space: qemu-user, a Debian arm64 and armhf root, and the boards' own wheels.
# usage: bring_up.sh FOLDER PYTHON ; needs mmdebstrap. Nothing is installed on this machine.
set -euo pipefail
folder=$1
python=$2
mkdir -p "$folder"/apt/{lists,cache/archives}/partial
cd "$folder"
# the mirror that this machine itself uses
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -vi security | head -1 || true)
[ -n "$mirror" ] || { echo "this machine has no apt sources; run apt-get update" >&2; exit 1; }
echo "deb $mirror trixie main" >trixie.list
echo "deb $mirror bookworm main" >bookworm.list
options=(-o "Dir::Etc::sourcelist=$PWD/trixie.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache")
# qemu 7 of bookworm dies on LiteRT 2.3; trixie's is static enough to be unpacked and used as it is
apt-get "${options[@]}" -qq update
apt-get "${options[@]}" -qq download qemu-user 2>/dev/null
dpkg-deb --fsys-tarfile qemu-user_*.deb | tar -x ./usr/bin/qemu-aarch64 ./usr/bin/qemu-arm
rm qemu-user_*.deb
base=python3,libpython3.11-stdlib,libstdc++6,libgomp1,libatomic1
mmdebstrap -q --arch=arm64 --variant=extract --include="$base" bookworm pi64 bookworm.list
mmdebstrap -q --arch=armhf --variant=extract --include="$base,python3-numpy,python3-pil" bookworm pi32 bookworm.list
# alternatives are not set up in an extracted root
ln -sf blas/libblas.so.3 lapack/liblapack.so.3 pi32/usr/lib/arm-linux-gnueabihf/
wheels() { # ROOT MACHINE PACKAGES...
  local root=$1 machine=$2 platforms=() tag
  shift 2
  for tag in 2014 _2_17 _2_27 _2_28 _2_31 _2_34; do platforms+=(--platform "manylinux${tag}_$machine"); done
  "$python" -m pip install -q --disable-pip-version-check --no-compile --only-binary=:all: --python-version 3.11 \
    "${platforms[@]}" --target "$root/opt/site" "$@"
}
wheels pi64 aarch64 numpy==2.4.6 ai-edge-litert==2.3.0 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 uvicorn==0.54.0 pytest==9.2.0 hypothesis==6.141.1
wheels pi32 armv7l --no-deps tflite-runtime==2.14.0 uvicorn==0.54.0 h11==0.16.0 click==8.5.1 typing_extensions==4.16.0 pytest==9.2.0 hypothesis==6.141.1 iniconfig packaging pluggy pygments sortedcontainers attrs
rm -rf apt
touch ready
