"""Credentials that expire while they are used, from every place they can come from.

MinIO's own token service (STS AssumeRole) mints the keys, a proxy before MinIO turns away those
whose time is over, and the services that hand them out are played on loopback.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time

import pyarrow as pa
import pytest

from fusiondelta import (
    AuthenticationError,
    DeltaSource,
    EngineProfile,
    FusionDeltaEngine,
    IoPolicy,
    StorageProfile,
)
from fusiondelta.testing import ExpiredCredentials, FaultProxy, Latency, Rule
from tests.harness.credential_services import (
    NOWHERE,
    AwsKeys,
    ContainerCredentials,
    InstanceMetadata,
    SecurityTokens,
    SsoPortal,
    write_aws_files,
)
from tests.stores import kinds

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)]

ROWS = pa.table({"id": list(range(1_000))})
LIFETIME = 2
QUICK = IoPolicy(retries=1, first_backoff=0.01, longest_backoff=0.02)


@pytest.fixture(autouse=True)
def nothing_else(store, monkeypatch, tmp_path):
    """No credentials of this machine."""
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mint(store):
    """Keys that MinIO knows, new ones each time."""
    from tests.harness.raw import aws_client

    server = store.server
    sts = aws_client("sts", server.endpoint, server.access_key_id, server.secret_access_key)

    def make(_number=0):
        keys = sts.assume_role(RoleArn="arn:minio:iam::x:role/x", RoleSessionName="test")[
            "Credentials"
        ]
        return AwsKeys(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    return make


@pytest.fixture
def table(store):
    uri = store.uri("t")
    with FusionDeltaEngine(storage=store.profile()) as engine:
        for _ in range(8):
            engine.write_delta(uri, ROWS)
    return uri


@pytest.fixture
def proxy(store):
    with FaultProxy(store.server.endpoint) as proxy:
        yield proxy


class Issuer:
    """Gives keys that last two seconds, and knows which do."""

    def __init__(self, mint):
        self.mint = mint
        self.issued = {}

    def __call__(self):
        keys = self.mint()
        expires = time.time() + LIFETIME
        self.issued[keys.access_key_id] = expires
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "session_token": keys.session_token,
            "expires_at": dt.datetime.fromtimestamp(expires, dt.timezone.utc),
        }

    def valid(self):
        now = time.time()
        return {key for key, expires in self.issued.items() if expires > now}


def keyless(store, proxy, **options):
    """The store's profile without its static keys."""
    return StorageProfile.s3(
        endpoint=proxy.endpoint,
        region="us-east-1",
        allow_http=True,
        write_safety="conditional_put",
        io=QUICK,
        **options,
    )


def test_a_callable_is_asked_again_while_a_query_and_a_write_run(store, proxy, table, mint):
    issuer = Issuer(mint)
    proxy.add(Rule(ExpiredCredentials(valid=issuer.valid)))
    proxy.add(Rule(Latency(2.5), target=r"\.parquet", method="GET"))
    profile = keyless(store, proxy, credentials=issuer)
    started = time.monotonic()
    # Footers, then data, as of large files: seconds between them, in one query.
    small = EngineProfile(options={"datafusion.execution.parquet.metadata_size_hint": "64"})
    with FusionDeltaEngine(small, storage=profile) as engine:
        result = engine.query("SELECT count(id) AS n FROM t", sources={"t": table})
        assert result.to_pylist() == [{"n": 8_000}]
        assert len(issuer.issued) >= 2
        slow = (batch for batch in slowly(ROWS.to_batches()[0], seconds=6))
        engine.write_delta(store.uri("w"), slow, schema=ROWS.schema)
    assert time.monotonic() - started > 3 * LIFETIME
    assert len(issuer.issued) >= 3
    assert not [r for r in proxy.requests if r.status == 403]
    assert {r.key_id for r in proxy.requests} <= set(issuer.issued)


def slowly(batch, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.1)
        yield batch


def test_many_requests_at_once_ask_once(store, proxy, table, mint):
    calls = []

    def once():
        calls.append(1)
        time.sleep(0.2)
        keys = mint()
        return dict(zip(("access_key_id", "secret_access_key", "session_token"), keys, strict=True))

    with FusionDeltaEngine(storage=keyless(store, proxy, credentials=once)) as engine:
        engine.query("SELECT count(id) FROM t", sources={"t": DeltaSource(table, 7)}).to_table()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: {"access_key_id": "a"}, "lacks secret_access_key"),
        (lambda: None, "no mapping"),
        (lambda: {"access_key_id": 3, "secret_access_key": "b"}, "access_key_id is no text"),
        (
            lambda: {"access_key_id": "a", "secret_access_key": "b", "expires_at": "soon"},
            "expires_at",
        ),
        (lambda: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_a_callable_that_cannot_be_used_is_told_of(store, proxy, table, given, said):
    with (
        FusionDeltaEngine(storage=keyless(store, proxy, credentials=given)) as engine,
        pytest.raises(AuthenticationError, match=said),
    ):
        engine.open_delta(table)


def reads(store, proxy, table, **options):
    with FusionDeltaEngine(storage=keyless(store, proxy, **options)) as engine:
        link = engine.probe(table)["identity"].detail
        count = engine.query("SELECT count(id) AS n FROM t", sources={"t": table}).to_pylist()
    assert count == [{"n": 8_000}]
    return link


def use(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_the_environment(store, proxy, table, mint, monkeypatch):
    keys = mint()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.session_token)
    assert "CredentialsEnvVars" in reads(store, proxy, table)


def test_a_shared_profile(store, proxy, table, mint, monkeypatch, tmp_path):
    keys = mint()
    use(
        monkeypatch,
        write_aws_files(
            tmp_path,
            {"profile work": {"region": "us-east-1"}},
            {
                "work": {
                    "aws_access_key_id": keys.access_key_id,
                    "aws_secret_access_key": keys.secret_access_key,
                    "aws_session_token": keys.session_token,
                }
            },
        ),
    )
    assert "CredentialsProfile" in reads(store, proxy, table, profile="work")


def test_single_sign_on(store, proxy, table, mint, monkeypatch, tmp_path):
    with SsoPortal(mint=mint) as portal:
        use(monkeypatch, portal.home(tmp_path, profile="sso"))
        assert "Sso" in reads(store, proxy, table, profile="sso")
        assert portal.issued


def test_instance_metadata(store, proxy, table, mint, monkeypatch):
    with InstanceMetadata(mint=mint) as service:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        use(monkeypatch, service.env())
        assert "CredentialsImds" in reads(store, proxy, table)
        assert service.issued


def test_container_credentials(store, proxy, table, mint, monkeypatch, tmp_path):
    with ContainerCredentials(mint=mint) as service:
        use(monkeypatch, service.env(tmp_path))
        assert "CredentialsHttp" in reads(store, proxy, table)


def test_web_identity(store, proxy, table, mint, monkeypatch, tmp_path):
    with SecurityTokens(mint=mint) as service:
        use(monkeypatch, service.env(tmp_path))
        assert "WebId" in reads(store, proxy, table)
        assert service.issued


def test_no_credentials_at_all(store, proxy, table):
    with (
        FusionDeltaEngine(storage=keyless(store, proxy)) as engine,
        pytest.raises(AuthenticationError, match="no AWS credentials were found"),
    ):
        engine.open_delta(table)


def test_old_keys_serve_while_new_ones_cannot_be_had(store, proxy, table, mint):
    """A service that fails for a while costs nothing as long as the keys in hand last."""
    numbers = itertools.count()
    first = {}

    def flaky():
        if next(numbers) == 0:
            keys = mint()
            first.update(
                access_key_id=keys.access_key_id,
                secret_access_key=keys.secret_access_key,
                session_token=keys.session_token,
                expires_at=time.time() + 4,
            )
            return first
        raise OSError("the service is away")

    with FusionDeltaEngine(storage=keyless(store, proxy, credentials=flaky)) as engine:
        engine.open_delta(table)
        time.sleep(3.2)  # past three quarters of their life
        engine.open_delta(table)
        time.sleep(1.0)
        with pytest.raises(AuthenticationError, match="raised OSError"):
            engine.open_delta(table)
