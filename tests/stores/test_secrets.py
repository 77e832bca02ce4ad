"""A planted secret is in nothing that the library gives out, on every way to fail."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import subprocess
import sys
import traceback

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import FusionDeltaEngine, IoPolicy, StorageProfile
from fusiondelta.testing import FaultProxy, Permanent, Reset, Rule, Status, Truncate
from tests.stores import kinds

pytestmark = pytest.mark.stores

MARKER = "pLaNtEdSeCrEt0123456789abcdefMARK"
QUICK = IoPolicy(retries=0, request_timeout=2, connect_timeout=1)
ROW = pa.table({"id": [1]})


class Produced:
    """Everything that was given out."""

    def __init__(self):
        self.texts = []

    def add(self, *values):
        for value in values:
            self.texts.append(str(value))
            self.texts.append(repr(value))
            if isinstance(value, BaseException):
                self.texts.extend(traceback.format_exception(value))
                self.texts.append(str(getattr(value, "details", "")))
            with contextlib.suppress(Exception):
                self.texts.append(pickle.dumps(value).decode("latin-1"))

    def check(self, *secrets):
        everything = "\n".join(self.texts)
        assert len(everything) > 1_000
        for secret in secrets:
            assert secret not in everything


@pytest.fixture
def produced(caplog):
    caplog.set_level(logging.DEBUG)
    found = Produced()
    yield found
    found.check(MARKER)
    assert MARKER not in caplog.text


def exercise(engine, uri, produced):
    """Every call that talks to the store; each may fail."""
    calls = (
        lambda: engine.open_delta(uri),
        lambda: engine.open_delta(uri, as_of=3),
        lambda: engine.reachable_versions(uri),
        lambda: engine.query("SELECT * FROM t", sources={"t": uri}).to_table(),
        lambda: engine.query("SELECT nothing FROM t", sources={"t": uri}),
        lambda: engine.query("SELECT * FROM t", sources={"t": f"{uri}/x.parquet"}).to_table(),
        lambda: engine.write_delta(uri, ROW),
        lambda: engine.write_delta(uri, ROW, mode="error"),
        lambda: engine.probe(uri),
    )
    for call in calls:
        try:
            produced.add(call())
        except fusiondelta.FusionDeltaError as error:
            produced.add(error)
    produced.add(engine, engine.debug.io(), engine.debug.caches(), engine.debug.settings())


@pytest.mark.parametrize("store", kinds.S3, indirect=True)
@pytest.mark.parametrize("fault", [None, Permanent(500), Status(403), Reset(), Truncate(5)])
def test_wrong_static_keys(store, produced, fault):
    with FaultProxy(store.server.endpoint) as proxy:
        if fault is not None:
            proxy.add(Rule(fault))
        profile = store.profile(
            endpoint=proxy.endpoint, secret_access_key=MARKER, session_token=MARKER, io=QUICK
        )
        produced.add(profile, profile.options, profile.secrets, profile.native(""))
        with FusionDeltaEngine(storage=profile) as engine:
            exercise(engine, store.uri("t"), produced)


@pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)
def test_a_callable_that_gives_or_raises_it(store, produced):
    def gives():
        return {"access_key_id": "AKIA", "secret_access_key": MARKER, "session_token": MARKER}

    def raises():
        raise RuntimeError(f"vault said {MARKER}")

    for credentials in (gives, raises):
        profile = StorageProfile.s3(
            endpoint=store.server.endpoint,
            allow_http=True,
            credentials=credentials,
            io=QUICK,
            write_safety="conditional_put",
        )
        produced.add(profile, profile.native(""))
        with FusionDeltaEngine(storage=profile) as engine:
            exercise(engine, store.uri("t"), produced)


@pytest.mark.parametrize("store", [kinds.AZURITE], indirect=True)
@pytest.mark.parametrize(
    "secret",
    [
        {"sas_token": f"sv=2021-08-06&sig={MARKER}&se=2030"},
        {"bearer_token": MARKER},
        {"account_key": "cExhTnRFZFNlQ3JFdDAxMjM0NTY3ODlhYmNkZWZNQVJL"},
    ],
)
def test_secrets_of_azure(store, produced, secret):
    profile = StorageProfile.azure(
        account_name=store.server.account_name,
        endpoint=store.server.endpoint,
        allow_http=True,
        io=QUICK,
        **secret,
    )
    produced.add(profile, profile.native(""))
    with FusionDeltaEngine(storage=profile) as engine:
        exercise(engine, store.uri("t"), produced)
    produced.check(*secret.values())


@pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)
def test_what_goes_well_shows_none_either(store, produced):
    secret = store.server.secret_access_key
    with FusionDeltaEngine(storage=store.profile()) as engine:
        written = engine.write_delta(store.uri("t"), ROW)
        result = engine.query("SELECT * FROM t", sources={"t": store.uri("t")})
        result.to_table()
        bundle = result.plan
        produced.add(
            written,
            written.manifest().to_json(),
            result,
            result.manifest().to_json(),
            bundle.to_json(),
            result.metrics().to_pylist(),
            result.explain(analyze=True),
            json.dumps(engine.open_delta(store.uri("t")).detail(), default=str),
        )
    produced.check(secret)


@pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)
def test_the_command_line_shows_none(store, produced, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": MARKER,
        "AWS_ENDPOINT_URL": store.server.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for arguments in (
        ["probe", store.uri("t")],
        ["history", store.uri("t")],
        ["query", "SELECT * FROM t", "--source", f"t={store.uri('t')}"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "fusiondelta.cli", *arguments], capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        produced.add(done.stdout, done.stderr)


def test_locations_with_credentials_in_them_are_refused_unseen(produced):
    for uri in (
        f"s3://AKIA:{MARKER}@bucket/t",
        f"https://bucket.s3.amazonaws.com/t?X-Amz-Signature={MARKER}",
        f"abfss://c@a.dfs.core.windows.net/t?sig={MARKER}",
    ):
        with FusionDeltaEngine(storage=StorageProfile.s3(region="eu-west-1")) as engine:
            with pytest.raises(fusiondelta.ConfigurationError) as caught:
                engine.open_delta(uri)
            produced.add(caught.value)
    produced.add("x" * 1_000)
