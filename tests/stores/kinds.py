"""Kinds of stores, to parametrize `store` with fewer than all of them.

    @pytest.mark.parametrize("store", kinds.S3, indirect=True)

Each carries the marker of its layer.
"""

from __future__ import annotations

import pytest

MINIO = pytest.param("minio", marks=pytest.mark.minio)
LOCALSTACK = pytest.param("localstack", marks=pytest.mark.localstack)
AZURITE = pytest.param("azurite", marks=pytest.mark.azurite)
GCS = pytest.param("gcs", marks=pytest.mark.gcs)

S3 = [MINIO, LOCALSTACK]
ALL = [*S3, AZURITE, GCS]
