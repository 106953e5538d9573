#!/usr/bin/env bash
# Install a hashed lock into the project's virtual environment: scripts/setup.sh requirements/train.txt
# uses uv if it is installed or can be installed, else pip. NO_UV=1 selects pip.
set -euo pipefail
lock=$1
python=${PYTHON:-python3}
venv=${VENV:-.venv}

fail() { echo "setup: $1" >&2; exit 2; }

command -v "$python" >/dev/null || fail "$python is not installed; set PYTHON=... to a Python of 3.11, 3.12 or 3.13"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
  fail "$("$python" --version) is not supported; set PYTHON=... to a Python of 3.11, 3.12 or 3.13"

if [ ! -x "$venv/bin/python" ]; then
  "$python" -m venv "$venv" || fail "$python -m venv failed (on Debian: apt install python3-venv)"
fi

find_uv() {
  [ -z "${NO_UV:-}" ] || return 1
  command -v uv && return
  [ -x "$venv/bin/uv" ] ||
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
      --requirement requirements/uv.txt >&2 || return 1
  echo "$venv/bin/uv"
}

if uv=$(find_uv); then
  echo "Installing $lock into $venv with uv (about a minute, once) ..." >&2
  # Compiled once, not at every start.
  VIRTUAL_ENV=$venv "$uv" pip install --quiet --compile-bytecode --require-hashes --requirement "$lock"
else
  echo "Installing $lock into $venv with pip (about two minutes, once) ..." >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$lock"
fi
