"""Storage profiles: what is made of URIs and the environment, and what others are told."""

from datetime import datetime, timedelta, timezone

import pytest

from fusiondelta.errors import ConfigurationError, WriteSafetyError
from fusiondelta.profiles import IoPolicy, StorageProfile
from fusiondelta.profiles._storage import NativeStorage
from fusiondelta.storage import profile_for

pytestmark = pytest.mark.unit

HIDDEN = "hidden/+marker=="
KEYS = {"access_key_id": "AKIA", "secret_access_key": HIDDEN}


def provider():
    return {
        "access_key_id": "ASIA",
        "secret_access_key": HIDDEN,
        "session_token": HIDDEN,
        "expires_at": datetime(2030, 1, 1, tzinfo=timezone.utc),
    }


@pytest.fixture
def environment(monkeypatch):
    """An environment that holds what is set here and nothing else."""
    set_here = {}
    monkeypatch.setattr("os.environ", set_here)
    return set_here


class TestNative:
    def test_local(self):
        native = StorageProfile.local().native("")
        assert (native.prefix, native.kind, native.options, native.chain) == (
            "",
            "local",
            {},
            "options",
        )

    def test_policy_in_seconds(self):
        io = IoPolicy(
            connect_timeout=timedelta(milliseconds=500),
            request_timeout=2,
            retries=3,
            first_backoff=0.25,
            longest_backoff=4,
            retry_budget=60,
            concurrency=8,
            coalesce="2MiB",
        )
        assert StorageProfile.s3(io=io, region="x").native("S3A://b//a b/") == NativeStorage(
            prefix="s3://b/a%20b",
            kind="s3",
            options={"region": "x"},
            chain="aws",
            aws_profile=None,
            aws_region="x",
            credentials=None,
            lock=None,
            connect_timeout=0.5,
            request_timeout=2.0,
            first_backoff=0.25,
            longest_backoff=4.0,
            retry_budget=60.0,
            retries=3,
            concurrency=8,
            coalesce=2 * 2**20,
        )

    def test_options_are_those_of_object_store(self):
        profile = StorageProfile.s3(
            **KEYS,
            session_token="t",
            endpoint="http://h:9000",
            allow_http=True,
            dynamodb_table="t",
            dynamodb_secret_access_key="s",
            dynamodb_region="r",
            write_safety="aws_s3_locked",
        )
        native = profile.native("")
        assert native.options == {
            "access_key_id": "AKIA",
            "secret_access_key": HIDDEN,
            "session_token": "t",
            "endpoint": "http://h:9000",
            "allow_http": "true",
        }
        assert (native.lock.table, native.lock.region, native.lock.endpoint) == ("t", "r", None)
        assert "secret" not in repr(native.lock)
        web = StorageProfile.s3(role_arn="r", web_identity_token_file="f", sts_endpoint="https://h")
        assert web.native("").options == {
            "role_arn": "r",
            "web_identity_token_file": "f",
            "endpoint_url_sts": "https://h",
        }
        named = StorageProfile.s3(profile="p", region="x").native("")
        assert (named.options, named.aws_profile, named.aws_region) == ({"region": "x"}, "p", "x")
        azure = StorageProfile.azure(account_name="a", bearer_token="t").native("")
        assert azure.options == {"account_name": "a", "bearer_token": "t"}

    @pytest.mark.parametrize(
        ("profile", "chain"),
        [
            (StorageProfile.s3(), "aws"),
            (StorageProfile.s3(profile="p"), "aws"),
            (StorageProfile.s3(skip_signature=False), "aws"),
            (StorageProfile.s3(**KEYS), "options"),
            (StorageProfile.s3(anonymous=True), "options"),
            (StorageProfile.s3(role_arn="r", web_identity_token_file="f"), "options"),
            (StorageProfile.s3(container_credentials_relative_uri="/c"), "options"),
            (StorageProfile.s3(imdsv1_fallback=True), "options"),
            (StorageProfile.s3(credentials=provider), "callable"),
            (StorageProfile.gcs(), "options"),
            (StorageProfile.gcs(credentials=provider), "callable"),
            (StorageProfile.azure(), "options"),
            (StorageProfile.azure(credentials=provider), "callable"),
        ],
    )
    def test_who_finds_credentials(self, profile, chain):
        native = profile.native("")
        assert native.chain == chain
        assert (native.credentials is not None) == (chain == "callable")

    def test_prefixes_are_of_its_kind(self):
        with pytest.raises(ConfigurationError, match=r"'gcs'.*'s3'"):
            StorageProfile.s3().native("gs://b")


class TestDeltaRs:
    def test_s3(self):
        profile = StorageProfile.s3(
            endpoint="http://h:9000",
            region="eu-west-1",
            **KEYS,
            session_token="t",
            allow_http=True,
            server_side_encryption="AES256",
            pool_idle_timeout=9,
            dynamodb_table="lock",
            write_safety="conditional_put",
            io=IoPolicy(retries=3),
        )
        assert profile.to_deltalake_options() == {
            "AWS_ENDPOINT_URL": "http://h:9000",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": HIDDEN,
            "AWS_SESSION_TOKEN": "t",
            "AWS_SERVER_SIDE_ENCRYPTION": "AES256",
            "allow_http": "true",
            "pool_idle_timeout": "9000000us",
            "aws_conditional_put": "etag",
            **IoPolicy(retries=3).to_deltalake_options(),
        }

    def test_write_safety(self):
        io = IoPolicy().to_deltalake_options()
        assert StorageProfile.s3().to_deltalake_options() == io
        unsafe = StorageProfile.s3(write_safety="single_writer_unsafe")
        assert unsafe.to_deltalake_options() == {"AWS_S3_ALLOW_UNSAFE_RENAME": "true", **io}
        with pytest.raises(WriteSafetyError, match="lock of DynamoDB"):
            StorageProfile.s3(write_safety="aws_s3_locked").to_deltalake_options()

    def test_others(self):
        io = IoPolicy().to_deltalake_options()
        assert StorageProfile.gcs(service_account="f").to_deltalake_options() == {
            "GOOGLE_SERVICE_ACCOUNT": "f",
            **io,
        }
        azure = StorageProfile.azure(
            account_name="a", bearer_token="t", msi_endpoint="http://m", use_azure_cli=False
        )
        assert azure.to_deltalake_options() == {
            "AZURE_STORAGE_ACCOUNT_NAME": "a",
            "AZURE_STORAGE_TOKEN": "t",
            "AZURE_MSI_ENDPOINT": "http://m",
            "AZURE_USE_AZURE_CLI": "false",
            **io,
        }
        assert StorageProfile(io=IoPolicy(retries=0)).to_deltalake_options() == {}

    def test_callables_are_asked(self):
        options = StorageProfile.s3(region="x", credentials=provider).to_deltalake_options()
        assert (
            options.items()
            >= {
                "AWS_REGION": "x",
                "AWS_ACCESS_KEY_ID": "ASIA",
                "AWS_SECRET_ACCESS_KEY": HIDDEN,
                "AWS_SESSION_TOKEN": HIDDEN,
            }.items()
        )
        assert "expires_at" not in options
        azure = StorageProfile.azure(credentials=lambda: {"sas_token": "s", "expires_at": 2e9})
        assert azure.to_deltalake_options()["AZURE_STORAGE_SAS_TOKEN"] == "s"
        with pytest.raises(ConfigurationError, match=r"must give a mapping.*access_key_id"):
            StorageProfile.s3(credentials=lambda: HIDDEN).to_deltalake_options()
        with pytest.raises(ConfigurationError, match="no bearer token for gcs"):
            StorageProfile.gcs(credentials=provider).to_deltalake_options()


class TestFromUri:
    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("s3://b/x", StorageProfile.s3()),
            ("S3A://b", StorageProfile.s3()),
            ("gs://b/x", StorageProfile.gcs()),
            ("gcs://b", StorageProfile.gcs()),
            ("az://c/x", StorageProfile.azure()),
            ("abfss://c@acct.dfs.core.windows.net/x", StorageProfile.azure(account_name="acct")),
            ("https://acct.blob.core.windows.net/c/x", StorageProfile.azure(account_name="acct")),
            (
                "abfss://w@onelake.dfs.fabric.microsoft.com/x",
                StorageProfile.azure(account_name="onelake", use_fabric_endpoint=True),
            ),
            ("https://b.s3.eu-west-1.amazonaws.com/x", StorageProfile.s3(region="eu-west-1")),
            ("https://s3.amazonaws.com/b/x", StorageProfile.s3()),
            ("https://storage.googleapis.com/b/x", StorageProfile.gcs()),
            ("/folder", StorageProfile.local()),
            ("memory://x", StorageProfile.local()),
        ],
    )
    def test_kind_and_what_the_uri_says(self, uri, expected, environment):
        environment["AWS_REGION"] = environment["AWS_ACCESS_KEY_ID"] = "of the environment"
        profile = StorageProfile.from_uri(uri)
        assert profile == expected
        assert profile.canonicalize_uri(uri)

    @pytest.mark.parametrize("uri", ["ftp://h/x", "https://example.com/x", "s3n://b/x", "s3://"])
    def test_others_are_refused(self, uri):
        with pytest.raises(ConfigurationError):
            StorageProfile.from_uri(uri)


class TestFromEnv:
    def test_nothing_is_local(self, environment):
        environment.update(HOME="/root", AWS_PAGER="less", AWS_REGION="", REGION="x", TOKEN="t")
        assert StorageProfile.from_env() == StorageProfile.local()
        assert StorageProfile.from_env("s3") == StorageProfile.s3()
        assert StorageProfile.from_env("gcs") == StorageProfile.gcs()

    def test_s3(self, environment):
        environment.update(
            AWS_REGION="eu-west-1",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ACCESS_KEY_ID="AKIA",
            AWS_SECRET_ACCESS_KEY=HIDDEN,
            AWS_SESSION_TOKEN="t",
            AWS_ENDPOINT_URL="http://all:1",
            AWS_ENDPOINT_URL_S3="http://s3:1",
            AWS_ALLOW_HTTP="1",
            AWS_S3_LOCKING_PROVIDER="dynamodb",
            DELTA_DYNAMO_TABLE_NAME="lock",
            AWS_ENDPOINT_URL_DYNAMODB="http://dynamo:1",
            AWS_REGION_DYNAMODB="eu-west-2",
        )
        expected = StorageProfile.s3(
            region="eu-west-1",
            **KEYS,
            session_token="t",
            endpoint="http://s3:1",
            allow_http=True,
            write_safety="aws_s3_locked",
            dynamodb_table="lock",
            dynamodb_endpoint="http://dynamo:1",
            dynamodb_region="eu-west-2",
        )
        assert StorageProfile.from_env() == StorageProfile.from_env("s3") == expected

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"AWS_DEFAULT_REGION": "x"}, StorageProfile.s3(region="x")),
            ({"AWS_PROFILE": "p"}, StorageProfile.s3(profile="p")),
            ({"aws_region": "lower", "AWS_REGION": "upper"}, StorageProfile.s3(region="upper")),
            ({"AWS_SKIP_SIGNATURE": "true"}, StorageProfile.s3(anonymous=True)),
            (
                {"GOOGLE_APPLICATION_CREDENTIALS": "f"},
                StorageProfile.gcs(application_credentials="f"),
            ),
            ({"GOOGLE_SERVICE_ACCOUNT_KEY": "k"}, StorageProfile.gcs(service_account_key="k")),
            (
                {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "k"},
                StorageProfile.azure(account_name="a", account_key="k"),
            ),
            (
                {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_SAS_TOKEN": "s"},
                StorageProfile.azure(account_name="a", sas_token="s"),
            ),
            (
                {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": "s"},
                StorageProfile.azure(client_id="c", tenant_id="t", client_secret="s"),
            ),
        ],
    )
    def test_names_users_know(self, environment, variables, expected):
        environment.update(variables)
        assert StorageProfile.from_env() == expected

    def test_identities_of_workloads_come_first(self, environment):
        static = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "p"}
        environment.update(static, AWS_ROLE_ARN="r", AWS_WEB_IDENTITY_TOKEN_FILE="f")
        web = StorageProfile.s3(role_arn="r", web_identity_token_file="f")
        assert StorageProfile.from_env() == web
        del environment["AWS_WEB_IDENTITY_TOKEN_FILE"]
        keys = StorageProfile.s3(access_key_id="AKIA", secret_access_key="s")
        assert StorageProfile.from_env() == keys
        environment.pop("AWS_ACCESS_KEY_ID")
        assert StorageProfile.from_env() == StorageProfile.s3(profile="p")
        environment.clear()
        environment.update(AWS_ROLE_ARN="r")
        assert StorageProfile.from_env("s3") == StorageProfile.s3()
        environment.update(
            AZURE_CLIENT_ID="c",
            AZURE_TENANT_ID="t",
            AZURE_FEDERATED_TOKEN_FILE="f",
            AZURE_STORAGE_ACCOUNT_KEY="k",
        )
        assert StorageProfile.from_env("azure") == StorageProfile.azure(
            client_id="c", tenant_id="t", federated_token_file="f"
        )

    def test_flags_that_are_off_are_no_way_to_credentials(self, environment):
        environment.update(
            AWS_IMDSV1_FALLBACK="0",
            AWS_SSE_BUCKET_KEY_ENABLED="Off",
            AWS_ACCESS_KEY_ID="AKIA",
            AWS_SECRET_ACCESS_KEY=HIDDEN,
        )
        assert StorageProfile.from_env() == StorageProfile.s3(**KEYS, sse_bucket_key_enabled=False)
        environment["AWS_SKIP_SIGNATURE"] = "perhaps"
        with pytest.raises(ConfigurationError, match="skip_signature must be True or False"):
            StorageProfile.from_env()

    def test_containers_are_left_to_the_chain(self, environment):
        environment.update(AWS_REGION="x", AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/c")
        assert StorageProfile.from_env().native("").chain == "aws"

    def test_half_a_key_is_refused(self, environment):
        environment["AWS_SECRET_ACCESS_KEY"] = HIDDEN
        with pytest.raises(ConfigurationError, match="needs access_key_id") as raised:
            StorageProfile.from_env()
        assert "marker" not in str(raised.value)

    def test_several_stores_are_named(self, environment):
        environment.update(
            AWS_SECRET_ACCESS_KEY=HIDDEN,
            AWS_ACCESS_KEY_ID="a",
            GOOGLE_SERVICE_ACCOUNT="f",
            AZURE_TENANT_ID="t",
        )
        names = (
            r"AWS_ACCESS_KEY_ID \(s3\), GOOGLE_SERVICE_ACCOUNT \(gcs\), AZURE_TENANT_ID \(azure\)"
        )
        with pytest.raises(ConfigurationError, match=names + ".*from_env") as raised:
            StorageProfile.from_env()
        assert "marker" not in str(raised.value)
        assert StorageProfile.from_env("gcs") == StorageProfile.gcs(service_account="f")
        assert StorageProfile.from_env("local") == StorageProfile.local()

    @pytest.mark.parametrize(
        ("variables", "safety"),
        [
            ({"aws_conditional_put": "etag"}, "conditional_put"),
            ({"AWS_CONDITIONAL_PUT": " ETag "}, "conditional_put"),
            ({"AWS_CONDITIONAL_PUT": "disabled"}, None),
            ({"AWS_S3_LOCKING_PROVIDER": "dynamodb"}, "aws_s3_locked"),
            ({"AWS_S3_ALLOW_UNSAFE_RENAME": "True"}, "single_writer_unsafe"),
            (
                {"AWS_S3_ALLOW_UNSAFE_RENAME": "false", "aws_conditional_put": "etag"},
                "conditional_put",
            ),
        ],
    )
    def test_write_safety(self, environment, variables, safety):
        environment.update(variables, AWS_REGION="x")
        assert StorageProfile.from_env().write_safety == safety

    def test_write_safety_that_is_not_clear(self, environment):
        environment.update(AWS_REGION="x", aws_conditional_put="dynamo:t")
        with pytest.raises(ConfigurationError, match="aws_conditional_put must be one of etag"):
            StorageProfile.from_env()
        environment.update(aws_conditional_put="etag", AWS_S3_LOCKING_PROVIDER="dynamodb")
        both = "AWS_S3_LOCKING_PROVIDER and aws_conditional_put contradict"
        with pytest.raises(ConfigurationError, match=both):
            StorageProfile.from_env()

    def test_unencrypted_endpoints_are_said_outright(self, environment):
        environment.update(AWS_ENDPOINT_URL="http://h:1")
        with pytest.raises(ConfigurationError, match="allow_http=True"):
            StorageProfile.from_env()

    def test_kinds_are_checked(self):
        with pytest.raises(ConfigurationError, match="must be one of 'local', 's3'"):
            StorageProfile.from_env("aws")


class TestProfileFor:
    LOCAL = StorageProfile.local()
    S3 = StorageProfile.s3(region="default")
    A = StorageProfile.s3(region="a")
    AB = StorageProfile.s3(region="ab", scheme="s3a")
    GCS = StorageProfile.gcs()

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("s3://bucket/a", A),
            ("s3a://bucket//a/", A),
            ("https://bucket.s3.amazonaws.com/a/x", A),
            ("s3://bucket/a/x", A),
            ("s3://bucket/a/b", AB),
            ("s3://bucket/a/b/c", AB),
            ("s3://bucket/ab", S3),
            ("s3://bucket", S3),
            ("s3://buck", S3),
            ("gs://g/x", GCS),
            ("/folder", LOCAL),
            ("memory://m/a", LOCAL),
        ],
    )
    def test_the_longest_prefix_wins_by_whole_names(self, uri, expected):
        storage = {
            "": self.S3,
            "s3a://bucket/a/": self.A,
            "s3://bucket//a/b": self.AB,
            "gs://g": self.GCS,
        }
        assert profile_for(storage, uri) == expected
        assert profile_for(dict(reversed(storage.items())), uri) == expected

    def test_local_prefixes(self, tmp_path):
        special = StorageProfile(io=IoPolicy(retries=0))
        storage = {str(tmp_path): special, "memory://m": special}
        for uri in (tmp_path, tmp_path / "t", f"file://{tmp_path}/t/", "memory://m/x"):
            assert profile_for(storage, uri) is special
        for uri in (f"{tmp_path}x", "memory://mm/x", "memory://"):
            assert profile_for(storage, uri) == self.LOCAL
        assert profile_for({"/": special}, "/no/such") is special

    @pytest.mark.parametrize("storage", [{}, {"": LOCAL}, {"s3://other": A, "/x": LOCAL}])
    def test_stores_need_a_profile(self, storage):
        says = r"serves s3://bucket: .*from_env\(\).*\{'s3://bucket': StorageProfile.s3"
        with pytest.raises(ConfigurationError, match=says):
            profile_for(storage, "s3://bucket/a")
        for malformed in (f"s3://k:{HIDDEN}@bucket", "ftp://x", "https://example.com/x", ""):
            with pytest.raises(ConfigurationError) as raised:
                profile_for(storage, malformed)
            assert "marker" not in str(raised.value)

    def test_the_default_serves_its_kind(self):
        assert profile_for({"": self.S3}, "s3://any/x") is self.S3
        chosen = profile_for({"": self.S3}, "gs://any/x")
        with pytest.raises(ConfigurationError, match=r"'gcs'.*'s3'"):
            chosen.canonicalize_uri("gs://any/x")

    def test_accounts_and_endpoints_tell_apart(self):
        storage = {
            "abfss://c@one.dfs.core.windows.net": StorageProfile.azure(account_name="one"),
            "abfss://c@two.dfs.core.windows.net": StorageProfile.azure(account_name="two"),
            "s3://b": StorageProfile.s3(endpoint="https://minio"),
            "s3://c": StorageProfile.s3(endpoint="https://ceph"),
        }
        for uri, key in {
            "https://two.blob.core.windows.net/c/x": "abfss://c@two.dfs.core.windows.net",
            "https://minio/b/x": "s3://b",
            "https://ceph/c/x": "s3://c",
        }.items():
            assert profile_for(storage, uri) is storage[key]

    def test_wrong_prefixes_are_told(self):
        with pytest.raises(ConfigurationError, match=r"'gcs'.*'s3'"):
            profile_for({"gs://b": self.S3}, "s3://b")
        with pytest.raises(ConfigurationError, match="two profiles for one prefix"):
            profile_for({"s3://b": self.A, "s3a://b/": self.AB}, "s3://b/x")
        assert profile_for({"s3://b": self.A, "s3a://b/": self.A}, "s3://b/x") == self.A
