#!/usr/bin/env bash
# Builds softraster on a machine with a GPU, then tests, checks and times its kernels, in nine minutes at most.
# Usage: scripts/gpu_check.sh FOLDER. Writes report.json, report.txt and logs there; gpu_check.py says more.
set -euo pipefail
if [ $# -ne 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu_check.py" "$1"
