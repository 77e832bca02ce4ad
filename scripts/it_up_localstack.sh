#!/usr/bin/env bash
# Starts LocalStack in a container on loopback and waits until it is ready. Next: scripts/it_seed_storage.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec docker compose --file docker/compose.localstack.yml up --detach --wait
