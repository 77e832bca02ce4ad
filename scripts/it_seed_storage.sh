#!/usr/bin/env bash
# Makes a bucket (default: fusiondelta) in each of MinIO and LocalStack that runs, and prints what leads the tests to
# them:  eval "$(scripts/it_seed_storage.sh [BUCKET])" && scripts/test -m "minio or localstack"
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

setup_environment
cd "$root"
exec "$python" -m tests.harness.seed "$@"
