"""Tokens of Google and Azure that expire while they are used, from every place they can come from.

The services that hand them out are played on loopback; a proxy before the store, or a front, turns
away what is no longer valid.
"""

from __future__ import annotations

import base64
import json
import time

import pyarrow as pa
import pytest

from fusiondelta import AuthenticationError, FusionDeltaEngine, IoPolicy, StorageProfile
from fusiondelta.testing import ExpiredCredentials, FaultProxy, Latency, Rule
from tests.harness.bearer_front import BearerFront, account_sas
from tests.harness.credential_services import NOWHERE
from tests.harness.token_services import AzureMetadata, EntraTokens, GoogleMetadata, GoogleTokens
from tests.stores import kinds

pytestmark = pytest.mark.stores

google = pytest.mark.parametrize("store", [kinds.GCS], indirect=True)
azure = pytest.mark.parametrize("store", [kinds.AZURITE], indirect=True)

ROWS = pa.table({"id": list(range(1_000))})
LIFETIME = 2
QUICK = IoPolicy(retries=1, first_backoff=0.01, longest_backoff=0.02)


@pytest.fixture(autouse=True)
def nothing_else(store, monkeypatch, tmp_path):
    """No credentials of this machine."""
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def table(store):
    uri = store.uri("t")
    with FusionDeltaEngine(storage=store.profile()) as engine:
        for _ in range(3):
            engine.write_delta(uri, ROWS)
    return uri


def use(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def slowly(batch, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.1)
        yield batch


def reads_and_writes(profile, table, target):
    """A query, and a write that outlasts the first token."""
    with FusionDeltaEngine(storage=profile) as engine:
        count = engine.query("SELECT count(id) AS n FROM t", sources={"t": table}).to_pylist()
        assert count == [{"n": 3_000}]
        slow = slowly(ROWS.to_batches()[0], seconds=LIFETIME + 1)
        written = engine.write_delta(target, slow, schema=ROWS.schema)
        count = engine.query("SELECT count(id) AS n FROM t", sources={"t": target}).to_pylist()
        assert count == [{"n": written.rows_written}]


class Issuer:
    """Gives tokens that last two seconds, and knows which do."""

    def __init__(self):
        self.issued = {}

    def __call__(self):
        token = f"token-{len(self.issued)}"
        self.issued[token] = time.time() + LIFETIME
        return {"bearer_token": token, "expires_at": self.issued[token]}

    def valid(self):
        now = time.time()
        return {token for token, expires in self.issued.items() if expires > now}


def through_google(store, valid):
    """A proxy that takes valid tokens only, and a profile of it."""
    proxy = FaultProxy(store.server.endpoint)
    proxy.add(Rule(ExpiredCredentials(code=401, valid=valid)))
    return proxy


def google_profile(proxy, **options):
    return StorageProfile.gcs(base_url=proxy.endpoint, allow_http=True, io=QUICK, **options)


@google
def test_a_callable_for_google(store, table):
    issuer = Issuer()
    with through_google(store, issuer.valid) as proxy:
        proxy.add(Rule(Latency(0.8), target=r"\.parquet", method="GET"))
        reads_and_writes(google_profile(proxy, credentials=issuer), table, store.uri("w"))
        assert len(issuer.issued) >= 2
        assert {r.key_id for r in proxy.requests} <= set(issuer.issued)
        assert not [r for r in proxy.requests if r.status == 401]


@google
def test_google_instance_metadata(store, table, monkeypatch):
    with GoogleMetadata(lifetime=LIFETIME) as service:
        use(monkeypatch, service.env())
        with through_google(store, service.valid_keys) as proxy:
            reads_and_writes(google_profile(proxy), table, store.uri("w"))
            assert {r.key_id for r in proxy.requests} <= {one.key_id for one in service.issued}
            assert not [r for r in proxy.requests if r.status == 401]
        assert len(service.issued) >= 2


@google
def test_google_service_account(store, table, tmp_path):
    """The key signs tokens of its own; nobody is asked for them."""
    file = tmp_path / "key.json"
    GoogleTokens().service_account(file)
    with FaultProxy(store.server.endpoint) as proxy:
        for target, options in (
            ("file", {"service_account": str(file)}),
            ("content", {"service_account_key": file.read_text()}),
            ("default", {"application_credentials": str(file)}),
        ):
            reads_and_writes(google_profile(proxy, **options), table, store.uri(target))
        for request in proxy.requests:
            assert claims(request.key_id)["iss"] == GoogleMetadata.account


def claims(token):
    """What a JWT says."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@google
def test_google_without_credentials(store, table):
    with FaultProxy(store.server.endpoint) as proxy:
        engine = FusionDeltaEngine(storage=google_profile(proxy))
        with engine, pytest.raises(AuthenticationError, match="no token for the store"):
            engine.open_delta(table)
        assert proxy.requests == []


def azure_front(store, valid):
    server = store.server
    return BearerFront(server.endpoint, account_sas(server.account_name, server.account_key), valid)


def azure_profile(store, front, **options):
    return StorageProfile.azure(
        account_name=store.server.account_name,
        endpoint=front.endpoint,
        allow_http=True,
        io=QUICK,
        **options,
    )


@azure
def test_a_callable_for_azure(store, table):
    issuer = Issuer()
    with azure_front(store, issuer.valid) as front:
        reads_and_writes(azure_profile(store, front, credentials=issuer), table, store.uri("w"))
        assert front.refused == 0
        assert len(set(front.tokens)) >= 2


@azure
def test_azure_managed_identity(store, table):
    with AzureMetadata(lifetime=LIFETIME) as service:
        endpoint = service.endpoint + service.PATH
        with azure_front(store, service.valid_keys) as front:
            profile = azure_profile(store, front, msi_endpoint=endpoint)
            reads_and_writes(profile, table, store.uri("w"))
            assert front.refused == 0
        assert len(service.issued) >= 2


@azure
def test_azure_workload_identity(store, table, monkeypatch, tmp_path):
    with EntraTokens(lifetime=LIFETIME) as service:
        service.assertion = "federated"
        use(monkeypatch, service.env(tmp_path))
        with azure_front(store, service.valid_keys) as front:
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", store.server.account_name)
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", front.endpoint)
            monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
            profile = StorageProfile.from_env("azure")
            reads_and_writes(profile, table, store.uri("w"))
            assert front.refused == 0
        assert len(service.issued) >= 2


@azure
def test_azure_client_secret(store, table):
    with EntraTokens(lifetime=LIFETIME) as service:
        with azure_front(store, service.valid_keys) as front:
            profile = azure_profile(
                store,
                front,
                client_id="client",
                client_secret="secret",
                tenant_id=service.tenant,
                authority_host=service.endpoint,
            )
            reads_and_writes(profile, table, store.uri("w"))
            assert front.refused == 0
        assert len(service.issued) >= 2


@azure
def test_azure_refused_tokens(store, table):
    with azure_front(store, set) as front:
        profile = azure_profile(store, front, bearer_token="no longer valid")
        with FusionDeltaEngine(storage=profile) as engine, pytest.raises(AuthenticationError):
            engine.open_delta(table)
        assert front.refused >= 1
