"""The servers of the tests: how each is started, what it is reached with, and its raw client.

``Kind.start(folder)`` runs one as a child on a free port of loopback with its data in the folder;
``Kind.given()`` is the one that somebody else runs and the environment names. Both have `endpoint`,
`env()` (what the library's options and environment call it), `raw(bucket)` and `stop()`.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
from pathlib import Path
from typing import Any, ClassVar

from tests.harness import install
from tests.harness.process import Child, StartError, answers, free_port
from tests.harness.raw import Raw, RawAzure, RawGcs, RawS3, aws_client, request

HOST = "127.0.0.1"
GCS_FRONT = Path(__file__).with_name("gcs_front.py")
TRIES = 3


class Server:
    """One server. Subclasses say how it is started and what is asked of it."""

    layer: ClassVar[str]
    """The marker of the tests that need it."""
    program: ClassVar[str]
    """Its name in `install`."""
    variable: ClassVar[str]
    """Prefix of the environment variables that name one which runs already."""
    front: ClassVar[tuple[str, ...]] = ()
    """What the command begins with, where something stands before the server."""
    arguments: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[dict[str, str]] = {}
    """These may hold {port}, {inner_port} and {data}."""
    health: ClassVar[str] = ""
    """What answers 200 when it is ready; empty: it is when it accepts connections."""
    path: ClassVar[str] = ""
    """What follows the port in the endpoint."""

    def __init__(self, endpoint: str, child: Child | None = None) -> None:
        self.endpoint = endpoint
        self.child = child

    @classmethod
    def start(cls, folder: Path) -> Server:
        """Start one, and wait until it is ready.

        Raises:
            Unavailable: It is not installed.
            StartError: It does not come up.
        """
        begin = install.find(cls.program)
        for attempt in range(1, TRIES + 1):
            port = free_port()
            at = folder / f"{cls.program}-{port}"
            data = at / "data"
            data.mkdir(parents=True)
            names = {"port": port, "inner_port": free_port(), "data": data}
            front, arguments = ([t.format(**names) for t in p] for p in (cls.front, cls.arguments))
            child = Child(
                [*front, *begin, *arguments],
                folder=at,
                environment={key: text.format(**names) for key, text in cls.environment.items()},
            )
            try:
                child.wait_until(lambda port=port: cls._ready(port))
            except StartError:
                # Somebody else may have taken the port since it was found free.
                if attempt == TRIES or not answers(port):
                    raise
            else:
                return cls(f"http://{HOST}:{port}{cls.path}", child)
        raise AssertionError("not reached")

    @classmethod
    def given(cls) -> Server | None:
        """The one that the environment names."""
        endpoint = os.environ.get(f"{cls.variable}_ENDPOINT")
        return cls(endpoint.rstrip("/")) if endpoint else None

    @classmethod
    def _ready(cls, port: int) -> bool:
        if not cls.health:
            return answers(port)
        try:
            status, _ = request(
                f"http://{HOST}:{port}", "GET", cls.health, allow=tuple(range(300, 600))
            )
        except OSError:
            return False
        return status == 200

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return urllib.parse.urlsplit(self.endpoint).port

    def stop(self) -> None:
        """End it, if it is ours."""
        if self.child:
            self.child.stop()

    def env(self) -> dict[str, str]:
        """Environment variables, and as well storage options, that lead to it."""
        raise NotImplementedError

    def raw(self, bucket: str) -> Raw:
        """A client of one bucket that has nothing to do with the library."""
        raise NotImplementedError


class AwsServer(Server):
    """Speaks a protocol of AWS."""

    key_pair: ClassVar[tuple[str, str]]
    """What ours is started with, and others have unless the environment says otherwise."""

    def __init__(self, endpoint: str, child: Child | None = None) -> None:
        super().__init__(endpoint, child)
        self.access_key_id, self.secret_access_key = self.key_pair

    @classmethod
    def given(cls) -> Server | None:
        server = super().given()
        if server:
            server.access_key_id = os.environ.get(f"{cls.variable}_ACCESS_KEY", cls.key_pair[0])
            server.secret_access_key = os.environ.get(f"{cls.variable}_SECRET_KEY", cls.key_pair[1])
        return server

    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def raw(self, bucket: str) -> RawS3:
        return RawS3(self.endpoint, bucket, self.access_key_id, self.secret_access_key)

    def dynamodb(self) -> Any:
        """A client of botocore for its tables; close it."""
        return aws_client("dynamodb", self.endpoint, self.access_key_id, self.secret_access_key)


class MinioServer(AwsServer):
    """S3, a real one: conditional puts are atomic."""

    layer = "minio"
    program = "minio"
    variable = "FUSIONDELTA_MINIO"
    key_pair = ("fusiondelta", "fusiondelta-secret")
    arguments = ("server", "--quiet", "--address", HOST + ":{port}", "{data}")
    environment: ClassVar = {
        "MINIO_ROOT_USER": key_pair[0],
        "MINIO_ROOT_PASSWORD": key_pair[1],
        "MINIO_BROWSER": "off",  # a console would listen too
        "MINIO_UPDATE": "off",
    }
    health = "/minio/health/cluster"


class MinistackServer(AwsServer):
    """S3 and DynamoDB, emulated; comes with the test dependencies. LocalStack takes its place."""

    layer = "localstack"
    program = "ministack"
    variable = "FUSIONDELTA_LOCALSTACK"
    key_pair = ("test", "test")
    environment: ClassVar = {
        "BIND_HOST": HOST,  # else it listens on every interface
        "GATEWAY_PORT": "{port}",
        "SERVICES": "s3,dynamodb",
        "IOT_MTLS_ENABLED": "0",  # two more listeners
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix://{data}/none",  # it would remove containers that it takes for its own
        "LOG_LEVEL": "WARNING",
    }
    health = "/_ministack/health"


class DynaliteServer(AwsServer):
    """DynamoDB, emulated. LocalStack takes its place."""

    layer = "localstack"
    program = "dynalite"
    variable = "FUSIONDELTA_LOCALSTACK"
    key_pair = ("test", "test")
    arguments = (
        *("--host", HOST, "--port", "{port}"),
        *("--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0"),
    )


class AzuriteServer(Server):
    """Azure Blob Storage, emulated."""

    layer = "azurite"
    program = "azurite"
    variable = "FUSIONDELTA_AZURITE"
    arguments = (
        *("--location", "{data}", "--blobHost", HOST, "--blobPort", "{port}"),
        *("--skipApiVersionCheck", "--silent", "--disableTelemetry"),
    )
    # The account and key that every Azurite has, in its documentation.
    account_name = "devstoreaccount1"
    account_key = (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    )
    path = f"/{account_name}"

    def env(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account_name,
            "AZURE_STORAGE_ACCOUNT_KEY": self.account_key,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
            "AZURE_ALLOW_HTTP": "true",
        }

    def raw(self, bucket: str) -> RawAzure:
        return RawAzure(self.endpoint, bucket, self.account_name, self.account_key)


class FakeGcsServer(Server):
    """Google Cloud Storage, emulated, behind a front that speaks its XML interface."""

    layer = "gcs"
    program = "fake-gcs-server"
    variable = "FUSIONDELTA_GCS"
    front = (sys.executable, "-I", "-S", str(GCS_FRONT), "{port}", "{inner_port}")
    arguments = (
        *("-scheme", "http", "-host", HOST, "-port", "{inner_port}"),
        *("-public-host", HOST + ":{inner_port}"),
        *("-backend", "filesystem", "-filesystem-root", "{data}", "-log-level", "warn"),
    )
    health = "/_internal/healthcheck"
    # Without it object_store 0.13 asks the metadata service of Google for a token before each
    # upload, whatever skip_signature says.
    service_account_key = json.dumps(
        {"client_email": "", "disable_oauth": True, "private_key": "", "private_key_id": ""}
    )

    def env(self) -> dict[str, str]:
        return {
            "GOOGLE_BASE_URL": self.endpoint,
            "GOOGLE_SKIP_SIGNATURE": "true",
            "GOOGLE_SERVICE_ACCOUNT_KEY": self.service_account_key,
            "GOOGLE_ALLOW_HTTP": "true",
        }

    def raw(self, bucket: str) -> RawGcs:
        return RawGcs(self.endpoint, bucket)
