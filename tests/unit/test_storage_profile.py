"""Storage profiles: options, secrets, and ways to credentials."""

import copy
import dataclasses
import functools
import logging
import pickle
import traceback
from datetime import timedelta
from pathlib import Path

import pytest

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import IoPolicy, StorageProfile
from fusiondelta.profiles._credentials import WAYS
from fusiondelta.profiles._secrets import Secret
from fusiondelta.profiles._storage_options import OPTIONS

pytestmark = pytest.mark.unit

HIDDEN = "hidden/+marker=="
KEYS = {"access_key_id": "AKIA", "secret_access_key": HIDDEN}


def provider():
    return KEYS


class TestSecret:
    def test_is_not_shown(self):
        secret = Secret(HIDDEN)
        texts = [
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret:>9}",
            f"{secret!r}",
        ]
        assert [text.strip() for text in texts] == ["***"] * 5
        assert repr([secret]) == "[***]"
        assert not hasattr(secret, "__dict__")
        assert secret.reveal() == HIDDEN

    def test_is_compared_by_value(self):
        assert Secret("a") == Secret("a") != Secret("b")
        assert Secret("ä") == Secret("ä")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a"), Secret("b")}) == 2

    def test_does_not_change(self):
        with pytest.raises(AttributeError):
            Secret("a")._value = "b"

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_does_not_travel(self, protocol):
        pickled = pickle.dumps(Secret(HIDDEN), protocol)
        assert b"marker" not in pickled
        missing = pickle.loads(pickled)
        assert (repr(missing), missing == Secret(HIDDEN), missing == Secret("")) == (
            "***",
            False,
            False,
        )
        assert missing == pickle.loads(pickled)
        assert hash(missing) == hash(pickle.loads(pickled))
        with pytest.raises(ConfigurationError, match=r"pickles.*replace.*from_env.*credentials="):
            missing.reveal()

    def test_is_kept_by_copies_in_the_process(self):
        secret = Secret(HIDDEN)
        assert copy.copy(secret).reveal() == copy.deepcopy(secret).reveal() == HIDDEN


class TestSecretsStayHidden:
    PROFILES = (
        StorageProfile.s3(**KEYS, session_token=HIDDEN, sse_customer_key_base64=HIDDEN),
        StorageProfile.s3(dynamodb_secret_access_key=HIDDEN, dynamodb_session_token=HIDDEN),
        StorageProfile.gcs(service_account_key=HIDDEN),
        StorageProfile.azure(account_name="a", account_key=HIDDEN),
        StorageProfile.azure(sas_token=HIDDEN),
        StorageProfile.azure(bearer_token=HIDDEN),
        StorageProfile.azure(client_id="c", tenant_id="t", client_secret=HIDDEN),
        StorageProfile.s3(credentials=functools.partial(dict, secret_access_key=HIDDEN)),
    )

    @pytest.mark.parametrize("profile", PROFILES)
    def test_in_what_is_shown(self, profile, caplog):
        logging.getLogger("any").warning("%s %r", profile, profile)
        shown = [repr(profile), str(profile), f"{profile}", caplog.text, repr(profile.native(""))]
        shown.append(repr(dataclasses.asdict(profile.replace(credentials=None))))
        assert not [text for text in shown if "marker" in text]
        assert repr(profile).startswith(f"StorageProfile(kind={profile.kind!r}, ")

    @pytest.mark.parametrize("profile", PROFILES[:-1])
    def test_in_pickles(self, profile):
        pickled = pickle.dumps(profile)
        assert b"marker" not in pickled
        again = pickle.loads(pickled)
        assert again != profile
        assert again.options == profile.options
        assert again.io == profile.io
        for use in (again.to_deltalake_options, lambda: again.native("")):
            with pytest.raises(ConfigurationError, match="do not travel in pickles"):
                use()
        assert again.replace(secrets=profile.secrets) == profile
        assert again.replace(io=IoPolicy(retries=0)).io.retries == 0

    def test_those_without_secrets_travel_whole(self):
        for profile in (StorageProfile.s3(region="x"), StorageProfile.s3(credentials=provider)):
            assert pickle.loads(pickle.dumps(profile)) == profile

    @pytest.mark.parametrize(
        "make",
        [
            lambda: StorageProfile.s3(secret_access_key=HIDDEN),
            lambda: StorageProfile.s3(**KEYS, aws_secret_access_key=HIDDEN),
            lambda: StorageProfile.s3(**KEYS, profile="p"),
            lambda: StorageProfile.s3(endpoint=f"https://user:{HIDDEN}@host"),
            lambda: StorageProfile.s3(endpoint=f"https://host?sig={HIDDEN}"),
            lambda: StorageProfile.s3(endpoint=f"user:{HIDDEN}@host"),
            lambda: StorageProfile.s3(endpoint=f"https://host:{HIDDEN}"),
            lambda: StorageProfile.s3(endpoint=f"https://[{HIDDEN}"),
            lambda: StorageProfile.s3(proxy_url=f"http://user:{HIDDEN}@proxy"),
            lambda: StorageProfile.s3(allow_http=HIDDEN),
            lambda: StorageProfile.s3(pool_idle_timeout=HIDDEN),
            lambda: StorageProfile.s3(http2_max_frame_size=HIDDEN),
            lambda: StorageProfile.s3(secret_acess_key=HIDDEN),
            lambda: StorageProfile.s3(secret_access_key=[HIDDEN]),
            lambda: StorageProfile(kind="s3", secrets={"region": HIDDEN}),
            lambda: StorageProfile(kind="s3", secrets=[HIDDEN]),
            lambda: StorageProfile(kind="local", secrets={"secret_access_key": HIDDEN}),
            lambda: StorageProfile.azure(client_secret=HIDDEN),
            lambda: StorageProfile.azure(connection_string=f"AccountKey={HIDDEN}"),
        ],
    )
    def test_in_errors(self, make):
        with pytest.raises(ConfigurationError) as raised:
            make()
        assert "marker" not in "".join(traceback.format_exception_only(raised.value))
        assert "\n" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__ or raised.value.__context__ is None


class TestOptions:
    @pytest.mark.parametrize(
        ("kind", "spelt", "name"),
        [
            ("s3", "region", "region"),
            ("s3", "AWS_REGION", "region"),
            ("s3", "aws_default_region", "region"),
            ("s3", "Aws_Session_Name", None),
            ("s3", "AWS_ENDPOINT_URL_STS", "sts_endpoint"),
            ("s3", "AWS_SKIP_SIGNATURE", "skip_signature"),
            ("s3", "DELTA_DYNAMO_TABLE_NAME", "dynamodb_table"),
            ("s3", "aws_proxy_excludes", "proxy_excludes"),
            ("gcs", "google_service_account", "service_account"),
            ("gcs", "GOOGLE_SERVICE_ACCOUNT_PATH", "service_account"),
            ("azure", "azure_storage_account_name", "account_name"),
            ("azure", "AZURE_STORAGE_ACCOUNT", "account_name"),
            ("azure", "azure_authority_id", "tenant_id"),
            ("azure", "azure_client_id", "client_id"),
        ],
    )
    def test_spellings(self, kind, spelt, name):
        value = (
            "https://x" if "endpoint" in spelt.lower() else True if "skip" in spelt.lower() else "x"
        )
        options = {spelt: value}
        if name == "sts_endpoint":
            options |= {"role_arn": "r", "web_identity_token_file": "f"}
        if name is None:
            with pytest.raises(ConfigurationError, match="did you mean 'aws_role_session_name'"):
                StorageProfile(kind=kind, options=options)
        else:
            assert name in StorageProfile(kind=kind, options=options).options

    def test_secrets_are_told_from_options(self):
        profile = StorageProfile(
            kind="s3", options={"AWS_ACCESS_KEY_ID": "a", "secret_access_key": "b"}
        )
        assert profile.options == {"access_key_id": "a"}
        assert profile.secrets == {"secret_access_key": Secret("b")}
        given = {"aws_secret_access_key": Secret("b")}
        assert StorageProfile(kind="s3", options={"access_key_id": "a"}, secrets=given) == profile

    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("s3_express", True, "true"),
            ("s3_express", "No", "false"),
            ("s3_express", 1, "true"),
            ("pool_idle_timeout", timedelta(seconds=90), "90000000us"),
            ("pool_idle_timeout", 1.5, "1500000us"),
            ("pool_idle_timeout", "1m 30s", "1m 30s"),
            ("pool_max_idle_per_host", 0, "0"),
            ("http2_max_frame_size", "16384", "16384"),
            ("user_agent", "me/1", "me/1"),
            ("region", 5, "5"),
            ("endpoint", "https://host/base/", "https://host/base"),
        ],
    )
    def test_values_become_texts(self, name, value, text):
        assert StorageProfile.s3(**{name: value}).options[name] == text

    @pytest.mark.parametrize(
        ("name", "value", "wanted"),
        [
            ("s3_express", "maybe", "True or False"),
            ("s3_express", 2, "True or False"),
            ("s3_express", 1.0, "True or False"),
            ("pool_idle_timeout", "soon", "like '90s'"),
            ("pool_idle_timeout", True, "like '90s'"),
            ("pool_idle_timeout", -1, "duration"),
            ("pool_max_idle_per_host", -1, "whole number"),
            ("pool_max_idle_per_host", 1.5, "whole number"),
            ("pool_max_idle_per_host", True, "whole number"),
            ("region", "", "not empty"),
            ("region", b"x", "a text"),
            ("region", True, "a text"),
            ("endpoint", "localhost:9000", "https://"),
            ("endpoint", "ftp://host", "https://"),
            ("endpoint", "https://", "https://"),
            ("session_token", "", "not empty"),
        ],
    )
    def test_values_that_do_not_fit(self, name, value, wanted):
        with pytest.raises(ConfigurationError, match=rf"^StorageProfile\.\w+: {name} .*{wanted}"):
            StorageProfile.s3(**{name: value})

    @pytest.mark.parametrize(
        ("make", "given", "nearest"),
        [
            (StorageProfile.s3, "regoin", "region"),
            (StorageProfile.s3, "AWS_REGOIN", "aws_region"),
            (StorageProfile.gcs, "service_acount", "service_account"),
            (StorageProfile.azure, "acount_name", "account_name"),
        ],
    )
    def test_unknown_ones_name_the_nearest(self, make, given, nearest):
        with pytest.raises(ConfigurationError, match=f"has no option.*did you mean '{nearest}'"):
            make(**{given: "x"})

    @pytest.mark.parametrize(
        ("make", "name", "hint"),
        [
            (StorageProfile.s3, "timeout", "IoPolicy"),
            (StorageProfile.s3, "AWS_CONNECT_TIMEOUT", "IoPolicy"),
            (StorageProfile.gcs, "max_retries", "IoPolicy"),
            (StorageProfile.azure, "OBJECT_STORE_CONCURRENCY_LIMIT", "IoPolicy"),
            (StorageProfile.s3, "bucket", "URI"),
            (StorageProfile.gcs, "google_bucket_name", "URI"),
            (StorageProfile.azure, "azure_storage_container_name", "URI"),
            (StorageProfile.s3, "aws_conditional_put", "write_safety"),
            (StorageProfile.s3, "copy_if_not_exists", "write_safety"),
            (StorageProfile.s3, "AWS_S3_LOCKING_PROVIDER", "write_safety"),
            (StorageProfile.azure, "AZURE_STORAGE_CONNECTION_STRING", "account_key"),
        ],
    )
    def test_what_belongs_elsewhere_says_where(self, make, name, hint):
        with pytest.raises(ConfigurationError, match=f"{name.lower()} .*{hint}"):
            make(**{name: "x"})

    def test_given_twice(self):
        for spelt in ("aws_region", "REGION"):
            with pytest.raises(ConfigurationError, match="region is given twice"):
                StorageProfile.s3(region="a", **{spelt: "a"})

    @pytest.mark.parametrize("field", ["options", "secrets"])
    def test_are_mappings(self, field):
        with pytest.raises(
            ConfigurationError, match=rf"^StorageProfile\.{field} must be a mapping"
        ):
            StorageProfile(kind="s3", **{field: [("region", "x")]})
        with pytest.raises(ConfigurationError, match="local files have no options"):
            StorageProfile(**{field: {"region": "x"}})

    def test_are_read_only_and_compared_by_value(self):
        given = {"region": "x", "profile": "p"}
        one = StorageProfile(kind="s3", options=given)
        other = StorageProfile(kind="s3", options=dict(reversed(given.items())))
        assert (one, hash(one)) == (other, hash(other))
        assert list(one.options) == ["profile", "region"]
        given["region"] = "y"
        assert one.options["region"] == "x"
        with pytest.raises(TypeError):
            one.options["region"] = "y"
        assert one.replace(options={"region": "y"}) == StorageProfile.s3(region="y")

    def test_none_is_not_given(self):
        assert StorageProfile.s3(region=None, sse_kms_key_id=None) == StorageProfile(kind="s3")

    @pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
    def test_spellings_are_of_one_option(self, kind):
        spelt = [s for option in OPTIONS[kind].values() for s in option.spellings]
        assert len(spelt) == len(set(spelt))
        named = {sign for way in WAYS[kind] for sign in (*way.signs, *way.needs)}
        assert named <= set(OPTIONS[kind])


class TestTogether:
    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (lambda: StorageProfile.s3(endpoint="http://h"), "endpoint is http.*allow_http=True"),
            (lambda: StorageProfile.s3(endpoint="HTTP://h", allow_http=False), "allow_http=True"),
            (lambda: StorageProfile.gcs(base_url="http://h"), "base_url is http"),
            (lambda: StorageProfile.azure(endpoint="http://h"), "endpoint is http"),
            (lambda: StorageProfile.s3(dynamodb_endpoint="http://h"), "dynamodb_endpoint is http"),
            (
                lambda: StorageProfile.s3(
                    role_arn="r", web_identity_token_file="f", sts_endpoint="http://h"
                ),
                "sts_endpoint must be https",
            ),
            (lambda: StorageProfile.azure(use_emulator=True, endpoint="https://h"), "AZURITE"),
            (lambda: StorageProfile.s3(access_key_id="a"), "needs secret_access_key"),
            (lambda: StorageProfile.s3(secret_access_key="a"), "needs access_key_id"),
            (lambda: StorageProfile.s3(session_token="a"), "access_key_id and secret_access_key"),
            (lambda: StorageProfile.s3(role_arn="a"), "needs web_identity_token_file.*profile="),
            (lambda: StorageProfile.s3(web_identity_token_file="a"), "needs role_arn"),
            (lambda: StorageProfile.azure(client_secret="a", client_id="b"), "needs tenant_id"),
            (lambda: StorageProfile.azure(federated_token_file="a"), "client_id and tenant_id"),
            (lambda: StorageProfile.s3(**KEYS, profile="p"), "access_key_id and profile.*keep one"),
            (lambda: StorageProfile.s3(**KEYS, anonymous=True), "skip_signature and access_key_id"),
            (lambda: StorageProfile.azure(account_key="a", sas_token="b"), "keep one"),
            (
                lambda: StorageProfile.gcs(service_account="a", service_account_key="b"),
                "service_account and service_account_key",
            ),
            (lambda: StorageProfile.s3(**KEYS, credentials=provider), "access_key_id and cred"),
            (lambda: StorageProfile.s3(profile="p", credentials=provider), "profile and cred"),
            (lambda: StorageProfile.azure(sas_token="s", credentials=provider), "sas_token and cr"),
            (lambda: StorageProfile.azure(use_emulator=True, credentials=provider), "endpoint"),
            (lambda: StorageProfile.gcs(service_account="f", credentials=provider), "and cred"),
            (lambda: StorageProfile.local().replace(credentials=provider), "local files need"),
            (lambda: StorageProfile.s3(credentials={"access_key_id": "a"}), "callable"),
            (lambda: StorageProfile.s3(write_safety="dynamodb"), r"^StorageProfile\.write_safety"),
            (lambda: StorageProfile(write_safety="conditional_put"), "local are safe as they are"),
            (lambda: StorageProfile(kind="gcs", write_safety="aws_s3_locked"), "gcs are safe"),
            (lambda: StorageProfile.s3(conditional_put_verified=True), "goes with write_safety"),
            (lambda: StorageProfile.s3(conditional_put_verified=1), "True or False"),
            (lambda: StorageProfile.s3(scheme="gs"), r"scheme must be one of 's3', 's3a'"),
            (lambda: StorageProfile.gcs(scheme="s3"), "'gs', 'gcs'"),
            (lambda: StorageProfile(scheme="memory"), r"^StorageProfile\.scheme"),
            (lambda: StorageProfile(kind="s4"), r"^StorageProfile\.kind"),
            (lambda: StorageProfile(kind="s3", io=5), r"^StorageProfile\.io"),
        ],
    )
    def test_contradictions_are_refused(self, make, says):
        with pytest.raises(ConfigurationError, match=says):
            make()

    def test_what_goes_together(self):
        StorageProfile.s3(endpoint="http://h", allow_http=True, **KEYS, session_token="t")
        StorageProfile.azure(use_emulator=True, account_name="a", account_key="k")
        StorageProfile.azure(client_id="a managed identity")
        StorageProfile.s3(write_safety="conditional_put", conditional_put_verified=True)
        StorageProfile.s3(metadata_endpoint="http://169.254.169.254")
        StorageProfile.s3(**KEYS, skip_signature=False)

    def test_callables_count_and_show_by_name_alone(self):
        one = StorageProfile.s3(credentials=provider)
        assert one == StorageProfile.s3(credentials=provider)
        assert one != StorageProfile.s3(credentials=lambda: provider())
        assert repr(one).endswith(f"credentials={provider.__module__}.provider)")
        partial = StorageProfile.s3(credentials=functools.partial(provider, HIDDEN))
        assert repr(partial).endswith("credentials=functools.partial)")

        class Unhashable(dict):
            def __call__(self):
                return self

        odd = StorageProfile.s3(credentials=Unhashable())
        assert hash(odd) == hash(odd.replace())
        assert repr(odd).endswith(".Unhashable)")


def test_every_option_is_in_the_documentation():
    page = (Path(__file__).resolve().parents[2] / "docs" / "storage.md").read_text("utf-8")
    shapes = {"flag": "bool", "url": "URL"}
    missing = [
        (kind, option.name)
        for kind, options in OPTIONS.items()
        for option in options.values()
        if " | ".join(
            [
                f"| `{option.name}`",
                shapes.get(option.shape, option.shape),
                f"`{option.native}`" if option.native else "",
                f"`{option.delta}`" if option.delta else "",
            ]
        )
        not in page
    ]
    assert missing == []
