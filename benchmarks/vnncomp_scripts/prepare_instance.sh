#!/usr/bin/env bash
# prepare_instance.sh v1 CATEGORY ONNX VNNLIB: fails for a network that cannot be represented, before the clock runs.
set -euo pipefail
[ "${1:-}" = v1 ] && [ $# = 4 ] || { echo "usage: prepare_instance.sh v1 CATEGORY ONNX VNNLIB" >&2; exit 1; }
verify inspect "$3" > /dev/null
