#!/bin/sh
# Make .venv with everything the demo and the tests need.  No root; says what to do where root would be needed.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "stream-server needs Python 3.11 or newer (found $("$PYTHON" --version)); set PYTHON=..." >&2; exit 1; }

if [ ! -x .venv/bin/python ]; then
    echo "making .venv ..."
    "$PYTHON" -m venv .venv 2>/dev/null || {
        echo "this Python has no venv module: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }
fi
PIP=".venv/bin/python -m pip --disable-pip-version-check"

# torch first and by itself: the registry's newest build brings gigabytes of CUDA, which a machine without a GPU
# does not want.  A CPU build is looked for where pip is told to look (find-links), then at pytorch's own index.
if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
        echo "installing torch for the GPU found here (some gigabytes) ..."
        $PIP install -q torch
    else
        echo "installing a CPU build of torch (about 200 MB) ..."
        $PIP install -q "torch==2.13.0+cpu" 2>/dev/null \
            || $PIP install -q torch --index-url https://download.pytorch.org/whl/cpu 2>/dev/null \
            || $PIP install -q torch
    fi
fi

echo "installing stream-server ..."
$PIP install -q -e ".[dev]"

touch .venv/.complete
echo "ready."
