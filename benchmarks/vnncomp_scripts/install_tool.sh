#!/usr/bin/env bash
# install_tool.sh v1: installs this checkout into the Python that is found first.
set -euo pipefail
[ "${1:-}" = v1 ] || { echo "usage: install_tool.sh v1" >&2; exit 1; }
root=$(dirname "${BASH_SOURCE[0]}")/../..
python3 -m pip install --constraint "$root/constraints.txt" "$root"
