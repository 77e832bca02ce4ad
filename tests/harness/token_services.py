"""The services of Google and Azure that hand out tokens; see `credential_services`."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from tests.harness.credential_services import (
    Answer,
    Asked,
    AwsKeys,
    CredentialService,
    openssl,
)


class _Tokens(CredentialService):
    """Those that give a bearer token."""

    def invent(self, number: int) -> AwsKeys | str:
        return f"{self.name}-{number:08d}"

    def bearer(self) -> Answer:
        issued = self.issue()
        seconds = int(self.lifetime)
        return Answer(
            200, {"access_token": issued.keys, "expires_in": seconds, "token_type": "Bearer"}
        )


class GoogleMetadata(_Tokens):
    """The metadata server of Google's machines.

    object_store asks ``GCE_METADATA_HOST`` (or ``GCE_METADATA_ROOT``), when that fails
    ``GCE_METADATA_IP``, and else the real names: both are set, so that a failure stays on loopback.
    """

    name = "gce"
    account = "test@fusiondelta.iam.gserviceaccount.com"

    def env(self) -> dict[str, str]:
        """Environment that leads here."""
        host = urlsplit(self.endpoint).netloc
        return {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("metadata-flavor") != "Google":
            return Answer(403, "no Metadata-Flavor")
        account = "/computeMetadata/v1/instance/service-accounts/default"
        if (asked.method, asked.path) == ("GET", f"{account}/token"):
            answer = self.bearer()
        elif (asked.method, asked.path) == ("GET", f"{account}/email"):
            answer = Answer(200, self.account)
        else:
            answer = Answer(404, "")
        return Answer(answer.status, answer.body, {"Metadata-Flavor": "Google"})


class GoogleTokens(_Tokens):
    """Google's OAuth endpoint, for a service account's assertion or a user's refresh token.

    Nothing leads object_store here: with a service account's key it signs its tokens itself, and
    for ``authorized_user`` it asks accounts.google.com. Google's libraries follow ``token_uri``.
    """

    name = "google"
    GRANTS = ("urn:ietf:params:oauth:grant-type:jwt-bearer", "refresh_token")

    def service_account(self, file: Path, **more: object) -> dict[str, str]:
        """Write the key file of a service account, with a new RSA key; the environment for it.

        object_store also reads ``gcs_base_url`` and ``disable_oauth`` from it. Needs ``openssl``.
        """
        key = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        about = {
            "type": "service_account",
            "project_id": "fusiondelta",
            "private_key_id": "key-1",
            "private_key": key,
            "client_email": GoogleMetadata.account,
            "client_id": "1",
            "token_uri": f"{self.endpoint}/token",
        }
        file.write_text(json.dumps({**about, **more}), "utf-8")
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    def answer(self, asked: Asked) -> Answer:
        if (asked.method, asked.path) != ("POST", "/token"):
            return Answer(404, {"error": "not_found"})
        grant = asked.parameters.get("grant_type")
        if grant not in self.GRANTS or not asked.parameters.keys() & {"assertion", "refresh_token"}:
            return Answer(400, {"error": "invalid_grant"})
        return self.bearer()


class AzureMetadata(_Tokens):
    """Managed identity.

    object_store takes the whole URL, as option ``azure_msi_endpoint``. ``IDENTITY_ENDPOINT``, which
    Azure itself sets, is only seen by its builder's ``from_env``.
    """

    name = "msi"
    PATH = "/metadata/identity/oauth2/token"

    def env(self) -> dict[str, str]:
        """Environment that leads here."""
        url = self.endpoint + self.PATH
        return {"IDENTITY_ENDPOINT": url, "AZURE_MSI_ENDPOINT": url}

    def answer(self, asked: Asked) -> Answer:
        if (asked.method, asked.path) != ("GET", self.PATH):
            return Answer(404, {"error": "not_found"})
        if asked.headers.get("metadata") != "true" or "resource" not in asked.parameters:
            return Answer(400, {"error": "invalid_request"})
        answer = self.bearer()
        # Text, here.
        more = {
            "expires_in": str(int(self.lifetime)),
            "expires_on": str(int(self.issued[-1].expires)),
            "resource": asked.parameters["resource"],
        }
        return Answer(200, {**answer.body, **more})


class EntraTokens(_Tokens):
    """Azure AD, for workload identity and client secrets.

    object_store takes the option ``azure_storage_authority_host`` or ``AZURE_AUTHORITY_HOST``, and
    over plain HTTP only with ``allow_http``.
    """

    name = "entra"
    tenant = "11111111-1111-1111-1111-111111111111"
    #: The only assertion that is accepted; None: any.
    assertion: str | None = None

    def env(self, folder: Path, assertion: str = "federated") -> dict[str, str]:
        """Environment that leads here, with the token in a file in ``folder``."""
        token = folder / "federated-token"
        token.write_text(assertion, "utf-8")
        return {
            "AZURE_AUTHORITY_HOST": self.endpoint,
            "AZURE_TENANT_ID": self.tenant,
            "AZURE_CLIENT_ID": "client",
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
        }

    def answer(self, asked: Asked) -> Answer:
        if asked.method != "POST" or asked.path.lstrip("/") != f"{self.tenant}/oauth2/v2.0/token":
            return Answer(404, {"error": "not_found"})
        assertion = asked.parameters.get("client_assertion")
        if assertion is None and "client_secret" not in asked.parameters:
            return Answer(400, {"error": "invalid_request"})
        if assertion is not None and self.assertion not in (None, assertion):
            return Answer(401, {"error": "invalid_client", "error_codes": [700024]})
        return self.bearer()
