#!/usr/bin/env bash
# Builds softraster on a machine with a GPU, then tests, checks and times its kernels, in nine minutes at most.
# Usage: scripts/gpu_check.sh FOLDER [fuzz]. With "fuzz": random calls of the op instead, also under compute-sanitizer.
# Writes report.json, report.txt and logs to FOLDER; gpu_check.py says more.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  echo "usage: $0 FOLDER [fuzz]" >&2
  exit 2
fi
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu_check.py" "$@"
