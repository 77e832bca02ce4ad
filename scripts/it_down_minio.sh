#!/usr/bin/env bash
# Removes the container of scripts/it_up_minio.sh and its data.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec docker compose --file docker/compose.minio.yml down --volumes
