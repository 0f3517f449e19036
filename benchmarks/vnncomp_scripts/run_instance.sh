#!/usr/bin/env bash
# run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS_FILE TIMEOUT: the results file gets sat, unsat, unknown, timeout or
# error in its first line, and for sat the witness after it.
set -uo pipefail
[ "${1:-}" = v1 ] && [ $# = 6 ] ||
    { echo "usage: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS_FILE TIMEOUT" >&2; exit 1; }
answer=$(verify vnnlib "$3" "$4" --timeout "$6" --witness "$5")
code=$?
case $code in
    0 | 3) [ "$answer" = sat ] || echo "$answer" > "$5" ;;  # 3: unknown or timeout
    *) echo error > "$5"; exit $code ;;
esac
