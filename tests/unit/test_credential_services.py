"""The played credential services, asked as object_store and the SDK ask the real ones."""

import configparser
import hashlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode, urlsplit

import pytest

from fusiondelta.testing import ExpiredCredentials, FaultProxy, Rule, Throttle
from tests.harness.credential_services import (
    NOWHERE,
    AwsKeys,
    ContainerCredentials,
    InstanceMetadata,
    SecurityTokens,
    SsoPortal,
    self_signed,
    write_aws_files,
)
from tests.harness.token_services import (
    AzureMetadata,
    EntraTokens,
    GoogleMetadata,
    GoogleTokens,
)

pytestmark = pytest.mark.unit

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")


@pytest.fixture(autouse=True)
def _no_threads_left():
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def ask(method, url, headers=None, form=None, body=None, context=None):
    """Status, headers and body: text, or JSON read."""
    parts = urlsplit(url)
    headers = headers or {}
    if form is not None:
        body = urlencode(form)
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    if parts.scheme == "https":
        client = http.client.HTTPSConnection(parts.netloc, timeout=5, context=context)
    else:
        client = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        client.request(method, f"{parts.path or '/'}?{parts.query}", body, headers)
        with client.getresponse() as answer:
            text = answer.read().decode()
    finally:
        client.close()
    told = answer.headers
    return answer.status, told, json.loads(text) if "json" in told["Content-Type"] else text


def seconds_left(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime.now(timezone.utc)) / (
        timedelta(seconds=1)
    )


def instance_keys(service):
    _, _, token = ask(
        "PUT",
        f"{service.endpoint}/latest/api/token",
        {"X-aws-ec2-metadata-token-ttl-seconds": "600"},
    )
    roles = f"{service.endpoint}/latest/meta-data/iam/security-credentials/"
    headers = {"X-aws-ec2-metadata-token": token}
    _, _, role = ask("GET", roles, headers)
    return ask("GET", roles + role, headers)[2]


class TestInstanceMetadata:
    def test_protocol(self):
        with InstanceMetadata(lifetime=60) as service:
            assert set(service.env().values()) == {service.endpoint, "false"}
            keys = instance_keys(service)
            assert keys["AccessKeyId"] == "ASIAIMDS00000001"
            assert (keys["SecretAccessKey"], keys["Token"]) == ("secret-1", "session-1")
            assert keys["Code"] == "Success"
            assert 50 < seconds_left(keys["Expiration"]) <= 60
            assert instance_keys(service)["AccessKeyId"] == "ASIAIMDS00000002"
            assert [one.method for one in service.requests] == ["PUT", "GET", "GET"] * 2
            assert {one.status for one in service.requests} == {200}

    def test_tells_how_long_a_session_lasts(self):
        with InstanceMetadata() as service:
            url = f"{service.endpoint}/latest/api/token"
            _, headers, _ = ask("PUT", url, {"x-aws-ec2-metadata-token-ttl-seconds": "21600"})
            assert headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"

    def test_refusals(self):
        with InstanceMetadata() as service:
            assert ask("PUT", f"{service.endpoint}/latest/api/token")[0] == 400
            url = f"{service.endpoint}/latest/meta-data/"
            assert ask("GET", f"{url}iam/security-credentials/")[0] == 401
            headers = {"X-aws-ec2-metadata-token": "session"}
            assert ask("GET", f"{url}iam/security-credentials/other", headers)[0] == 404
            assert ask("GET", f"{url}placement/region", headers)[2] == "us-east-1"
            assert service.issued == []


class TestValidity:
    def test_expires(self):
        with InstanceMetadata(lifetime=60) as service:
            first = service.issue().key_id
            service.lifetime = 0
            assert service.issue().key_id == "ASIAIMDS00000002"
            assert service.valid_keys() == {first}

    def test_revoked(self):
        with GoogleMetadata() as service:
            service.issue()
            service.revoke()
            assert service.valid_keys() == set()
            assert service.issue().key_id == "gce-00000002"
            assert service.valid_keys() == {"gce-00000002"}

    def test_keys_that_a_store_knows(self):
        def mint(number):
            return AwsKeys(f"known{number}", "s", "t")

        with InstanceMetadata(mint=mint) as service:
            assert instance_keys(service)["AccessKeyId"] == "known1"
            assert service.valid_keys() == {"known1"}

    def test_with_a_proxy_before_the_store_and_one_before_the_service(self):
        with (
            InstanceMetadata() as service,
            FaultProxy(service.endpoint) as before_service,
            FaultProxy(service.endpoint) as before_store,
        ):
            before_store.add(Rule(ExpiredCredentials(valid=service.valid_keys)))

            def status(key):
                signature = f"AWS4-HMAC-SHA256 Credential={key}/x, Signature=0"
                return ask("GET", before_store.endpoint, {"Authorization": signature})[0]

            key = service.issue().key_id
            assert [status(key), status("other")] == [401, 403]
            service.revoke()
            assert status(key) == 403
            before_service.add(Rule(Throttle(429), first=1))
            url = f"{before_service.endpoint}/latest/api/token"
            headers = {"x-aws-ec2-metadata-token-ttl-seconds": "600"}
            assert [ask("PUT", url, headers)[0] for _ in range(2)] == [429, 200]


def test_a_connection_without_a_request_does_not_keep_a_service():
    with InstanceMetadata() as service:
        idle = socket.create_connection(("127.0.0.1", urlsplit(service.endpoint).port), 5)
        ask("GET", service.endpoint)
    with idle:
        assert idle.recv(1) == b""


class TestContainerCredentials:
    def test_protocol(self, tmp_path):
        with ContainerCredentials(lifetime=60) as service:
            env = service.env(tmp_path)
            url = env["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
            with open(env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]) as file:
                headers = {"Authorization": file.read()}
            status, _, keys = ask("GET", url, headers)
            assert (status, keys["AccessKeyId"]) == (200, "ASIAECSC00000001")
            assert 50 < seconds_left(keys["Expiration"]) <= 60
            assert ask("GET", url)[0] == 401
            assert ask("GET", url + "x", headers)[0] == 404
            assert service.valid_keys() == {"ASIAECSC00000001"}


class TestSecurityTokens:
    NS = "{https://sts.amazonaws.com/doc/2011-06-15/}"
    PARAMETERS = {  # noqa: RUF012 - read only
        "Action": "AssumeRoleWithWebIdentity",
        "RoleArn": SecurityTokens.role_arn,
        "RoleSessionName": "me",
        "Version": "2011-06-15",
        "WebIdentityToken": "jwt+/=",
    }

    def keys(self, answer):
        status, headers, text = answer
        assert (status, headers["Content-Type"]) == (200, "text/xml")
        result = ET.fromstring(text).find(f"{self.NS}AssumeRoleWithWebIdentityResult")
        assert result.findtext(f"{self.NS}AssumedRoleUser/{self.NS}Arn").endswith("/me")
        return {
            one.tag.removeprefix(self.NS): one.text for one in result.find(f"{self.NS}Credentials")
        }

    def test_asked_as_by_the_sdk_and_as_by_object_store(self):
        with SecurityTokens(lifetime=900) as service:
            keys = self.keys(ask("POST", service.endpoint, form=self.PARAMETERS))
            assert keys["AccessKeyId"] == "ASIASTSW00000001"
            assert (keys["SecretAccessKey"], keys["SessionToken"]) == ("secret-1", "session-1")
            assert 890 < seconds_left(keys["Expiration"]) <= 900
            keys = self.keys(ask("POST", f"{service.endpoint}/?{urlencode(self.PARAMETERS)}"))
            assert keys["AccessKeyId"] == "ASIASTSW00000002"
            assert {one.parameters["WebIdentityToken"] for one in service.requests} == {"jwt+/="}

    def test_refusals(self, tmp_path):
        with SecurityTokens() as service:
            service.identity = "second"
            status, _, text = ask("POST", service.endpoint, form=self.PARAMETERS)
            assert (status, "<Code>InvalidIdentityToken</Code>" in text) == (400, True)
            assert ask("POST", service.endpoint, form={"Action": "Other"})[0] == 400
            with open(service.env(tmp_path, "second")["AWS_WEB_IDENTITY_TOKEN_FILE"]) as file:
                form = {**self.PARAMETERS, "WebIdentityToken": file.read()}
            assert ask("POST", service.endpoint, form=form)[0] == 200
            assert [one.number for one in service.issued] == [1]

    @needs_openssl
    def test_https(self, tmp_path):
        context, env = self_signed(tmp_path)
        with SecurityTokens(tls=context) as service:
            assert service.endpoint.startswith("https://127.0.0.1:")
            trusting = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
            for _ in range(2):
                self.keys(ask("POST", service.endpoint, form=self.PARAMETERS, context=trusting))
            with pytest.raises(ssl.SSLCertVerificationError):
                ask("POST", service.endpoint, context=ssl.create_default_context())


class TestSsoPortal:
    def keys(self, service, token, query="?role_name=test&account_id=123456789012"):
        url = f"{service.endpoint}/federation/credentials{query}"
        return ask("GET", url, {"x-amz-sso_bearer_token": token})

    def cached(self, home, name):
        path = home / ".aws/sso/cache" / f"{hashlib.sha1(name.encode()).hexdigest()}.json"
        return json.loads(path.read_text("utf-8"))

    def test_protocol(self, tmp_path):
        with SsoPortal(lifetime=60) as service:
            env = service.home(tmp_path)
            assert (env["HOME"], env["AWS_PROFILE"]) == (str(tmp_path), "default")
            token = self.cached(tmp_path, "test")["accessToken"]
            status, _, body = self.keys(service, token)
            keys = body["roleCredentials"]
            assert (status, keys["accessKeyId"]) == (200, "ASIASSOP00000001")
            assert 50_000 < keys["expiration"] - time.time() * 1000 <= 60_000
            assert self.keys(service, "other")[0] == 401
            assert self.keys(service, token, "")[0] == 400
            assert ask("GET", service.endpoint)[0] == 404

    def test_home_of_a_session(self, tmp_path):
        with SsoPortal() as service:
            env = service.home(tmp_path, "mine", "corp", login_lifetime=60)
        config = configparser.ConfigParser()
        config.read(env["AWS_CONFIG_FILE"], "utf-8")
        assert config["profile mine"]["sso_session"] == "corp"
        assert "sso_start_url" not in config["profile mine"]
        assert config["sso-session corp"]["sso_start_url"] == service.start_url
        services = config[f"services {config['profile mine']['services']}"]
        assert services["sso"] == services["sso-oidc"] == f"\nendpoint_url = {service.endpoint}"
        login = self.cached(tmp_path, "corp")
        assert 50 < seconds_left(login["expiresAt"]) <= 60
        assert "refreshToken" not in login

    def test_home_of_the_older_form(self, tmp_path):
        with SsoPortal() as service:
            env = service.home(tmp_path, session=None, endpoint="http://elsewhere")
        config = configparser.ConfigParser(default_section="none")
        config.read(env["AWS_CONFIG_FILE"], "utf-8")
        assert config["default"]["sso_start_url"] == service.start_url
        assert config["default"]["sso_region"] == "us-east-1"
        assert "elsewhere" in config["services played"]["sso"]
        assert self.cached(tmp_path, service.start_url)["startUrl"] == service.start_url

    def test_login_is_refreshed(self, tmp_path):
        with SsoPortal() as service:
            service.home(tmp_path, refreshable=True)
            login = self.cached(tmp_path, "test")
            asked = {"grantType": "refresh_token", "refreshToken": login["refreshToken"]}
            headers = {"Content-Type": "application/json"}
            url = f"{service.endpoint}/token"
            status, _, new = ask("POST", url, headers, body=json.dumps(asked))
            assert (status, new["accessToken"]) == (200, "sso-access-2")
            assert self.keys(service, login["accessToken"])[0] == 401
            assert self.keys(service, new["accessToken"])[0] == 200
            assert ask("POST", url, headers, body="{}")[0] == 400


class TestGoogle:
    def test_metadata(self):
        with GoogleMetadata(lifetime=60.9) as service:
            host = service.env()["GCE_METADATA_HOST"]
            account = f"http://{host}/computeMetadata/v1/instance/service-accounts/default"
            url = f"{account}/token?audience=x"
            assert ask("GET", url)[0] == 403
            headers = {"Metadata-Flavor": "Google"}
            status, told, body = ask("GET", url, headers)
            assert (status, told["Metadata-Flavor"]) == (200, "Google")
            assert body == {
                "access_token": "gce-00000001",
                "expires_in": 60,
                "token_type": "Bearer",
            }
            assert ask("GET", f"{account}/email", headers)[2] == service.account
            assert ask("GET", f"{account}/other", headers)[0] == 404
            assert service.valid_keys() == {"gce-00000001"}

    def test_token_endpoint(self):
        with GoogleTokens() as service:
            url = f"{service.endpoint}/token"
            form = {"grant_type": service.GRANTS[0], "assertion": "a.b.c"}
            assert ask("POST", url, form=form)[2]["access_token"] == "google-00000001"
            form = {"grant_type": "refresh_token", "refresh_token": "1"}
            assert ask("POST", url, form=form)[2]["access_token"] == "google-00000002"
            assert ask("POST", url, form={"grant_type": "refresh_token"})[0] == 400
            assert ask("GET", url)[0] == 404

    @needs_openssl
    def test_service_account(self, tmp_path):
        with GoogleTokens() as service:
            env = service.service_account(tmp_path / "key.json", gcs_base_url="http://gcs")
        with open(env["GOOGLE_APPLICATION_CREDENTIALS"]) as file:
            about = json.load(file)
        assert about["token_uri"] == f"{service.endpoint}/token"
        assert (about["type"], about["gcs_base_url"]) == ("service_account", "http://gcs")
        checked = subprocess.run(
            ["openssl", "rsa", "-check", "-noout"],
            input=about["private_key"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "RSA key ok" in checked.stdout + checked.stderr


class TestAzure:
    def test_managed_identity(self):
        with AzureMetadata(lifetime=60) as service:
            url = service.env()["IDENTITY_ENDPOINT"]
            query = "?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com"
            status, _, body = ask("GET", url + query, {"metadata": "true"})
            assert (status, body["access_token"]) == (200, "msi-00000001")
            assert isinstance(body["expires_on"], str)
            assert 50 < int(body["expires_on"]) - time.time() <= 60
            assert ask("GET", url + query)[0] == 400
            assert ask("GET", service.endpoint)[0] == 404

    def test_workload_identity(self, tmp_path):
        with EntraTokens() as service:
            env = service.env(tmp_path, "jwt")
            with open(env["AZURE_FEDERATED_TOKEN_FILE"]) as file:
                form = {"client_id": env["AZURE_CLIENT_ID"], "client_assertion": file.read()}
            url = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
            assert ask("POST", url, form=form)[2]["access_token"] == "entra-00000001"
            service.assertion = "another"
            assert ask("POST", url, form=form)[0] == 401
            assert ask("POST", url, form={"client_secret": "s"})[0] == 200
            assert ask("POST", url, form={})[0] == 400
            assert ask("POST", url.replace(service.tenant, "other"), form=form)[0] == 404


def test_nowhere_is_loopback_and_yields_to_services():
    assert all("127.0.0.1:1" in value or value == "true" for value in NOWHERE.values())
    with InstanceMetadata() as aws, GoogleMetadata() as google, AzureMetadata() as azure:
        assert NOWHERE.keys() <= (aws.env() | google.env() | azure.env()).keys()


def test_aws_files(tmp_path):
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "B"}
    env = write_aws_files(tmp_path, {"profile x": {"region": "r"}}, {"x": keys})
    config = configparser.ConfigParser()
    config.read([env["AWS_CONFIG_FILE"], env["AWS_SHARED_CREDENTIALS_FILE"]], "utf-8")
    assert dict(config["profile x"]) == {"region": "r"}
    assert dict(config["x"]) == keys
