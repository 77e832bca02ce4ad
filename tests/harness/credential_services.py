"""The services that hand out cloud credentials, played on loopback.

    with InstanceMetadata(lifetime=2) as service, FaultProxy(minio) as proxy:
        proxy.add(Rule(ExpiredCredentials(valid=service.valid_keys)))
        for name, value in (NOWHERE | service.env()).items():
            monkeypatch.setenv(name, value)

Every answer is a new credential with its number in the key id (OAuth: in the token). Signatures
and assertions are taken as they come, and kept in ``requests``. A ``FaultProxy`` before a service
makes it slow, failing or absent.

How soon clients come back: object_store asks again when less than 300 s are left (Google: 240 s),
at most every 100 ms, so a shorter lifetime means a new credential with about every request; the
SDK's lazy cache asks again 5 to 10 s before the end. ``lifetime`` may change between requests.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

#: Keeps clients that find no credentials from asking the machine's real metadata service.
NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",  # heeded by the SDK, but not by object_store
    "AWS_METADATA_ENDPOINT": "http://127.0.0.1:1",
    "AZURE_MSI_ENDPOINT": "http://127.0.0.1:1",
    "GCE_METADATA_HOST": "127.0.0.1:1",
    "GCE_METADATA_IP": "127.0.0.1:1",
}


class AwsKeys(NamedTuple):
    """A temporary key of AWS."""

    access_key_id: str
    secret_access_key: str
    session_token: str


class Issued(NamedTuple):
    """A credential that was handed out; ``keys`` is the token where there is only one."""

    number: int
    key_id: str
    keys: AwsKeys | str
    expires: float


@dataclass(frozen=True)
class Asked:
    """A request to a service: header names in lower case, query and form in ``parameters``."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    status: int = 0


@dataclass(frozen=True)
class Answer:
    """What a service says: text, or what becomes JSON."""

    status: int
    body: str | dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)


class CredentialService:
    """What the services have in common.

    Args:
        lifetime: Seconds that a credential is valid.
        mint: Makes the n-th credential, for a store that knows its keys (default: invented ones).
        tls: Serve HTTPS; see ``self_signed``.
    """

    name = ""

    def __init__(
        self,
        lifetime: float = 3600,
        mint: Callable[[int], AwsKeys | str] | None = None,
        tls: ssl.SSLContext | None = None,
    ):
        self.lifetime = lifetime
        self.requests: list[Asked] = []
        self.issued: list[Issued] = []
        self._mint = mint or self.invent
        self._revoked = 0
        self._lock = threading.Lock()
        self._tls = tls
        self.endpoint = ""

    def __enter__(self):
        self._server = _Server(self, self._tls)
        scheme = "http" if self._tls is None else "https"
        self.endpoint = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def valid_keys(self) -> set[str]:
        """Key ids (or tokens) that are neither expired nor revoked."""
        with self._lock:
            now = time.time()
            return {one.key_id for one in self.issued[self._revoked :] if one.expires > now}

    def revoke(self) -> None:
        """What was handed out so far is no longer valid, whatever its answer said."""
        with self._lock:
            self._revoked = len(self.issued)

    def issue(self) -> Issued:
        """Make the next credential."""
        with self._lock:
            number = len(self.issued) + 1
            keys = self._mint(number)
            key_id = keys if isinstance(keys, str) else keys.access_key_id
            self.issued.append(Issued(number, key_id, keys, time.time() + self.lifetime))
            return self.issued[-1]

    def take(self, asked: Asked) -> Answer:
        """Answer and remember a request."""
        answer = self.answer(asked)
        with self._lock:
            self.requests.append(
                Asked(asked.method, asked.path, asked.parameters, asked.headers, answer.status)
            )
        return answer

    def answer(self, asked: Asked) -> Answer:
        """The protocol of the service."""
        raise NotImplementedError

    def invent(self, number: int) -> AwsKeys | str:
        """The n-th credential."""
        return AwsKeys(f"ASIA{self.name}{number:08d}", f"secret-{number}", f"session-{number}")

    def json_keys(self) -> dict[str, object]:
        """The next credential as EC2 and ECS tell it."""
        issued = self.issue()
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": issued.keys.access_key_id,
            "SecretAccessKey": issued.keys.secret_access_key,
            "Token": issued.keys.session_token,
            "Expiration": iso(issued.expires),
        }


class InstanceMetadata(CredentialService):
    """EC2's instance metadata, version 2 only.

    The SDK looks at ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` (or ``ec2_metadata_service_endpoint`` in
    the profile), object_store at its option ``aws_metadata_endpoint``. What has expired already the
    SDK uses for another ten minutes.
    """

    name = "IMDS"
    role = "fusiondelta-test"
    region = "us-east-1"

    def env(self) -> dict[str, str]:
        """Environment that leads here."""
        return {
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint,
            "AWS_METADATA_ENDPOINT": self.endpoint,
        }

    def answer(self, asked: Asked) -> Answer:
        roles = "/latest/meta-data/iam/security-credentials"
        if (asked.method, asked.path) == ("PUT", "/latest/api/token"):
            seconds = asked.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
            if seconds is None:
                return Answer(400, "how long?")
            return Answer(200, "session", {"x-aws-ec2-metadata-token-ttl-seconds": seconds})
        if asked.headers.get("x-aws-ec2-metadata-token") != "session":
            return Answer(401, "no token")
        if asked.path.rstrip("/") == roles:
            return Answer(200, self.role)
        if asked.path == f"{roles}/{self.role}":
            return Answer(200, self.json_keys())
        if asked.path == "/latest/meta-data/placement/region":
            return Answer(200, self.region)
        return Answer(404, "")


class ContainerCredentials(CredentialService):
    """ECS task and EKS pod credentials.

    The SDK takes a full URI over plain HTTP when its host is on loopback; object_store takes one
    only together with a token file. Both send the file's content in ``Authorization``.
    """

    name = "ECSC"
    authorization = "container-token"

    def env(self, folder: Path) -> dict[str, str]:
        """Environment that leads here, with the token in a file in ``folder``."""
        token = folder / "container-token"
        token.write_text(self.authorization, "utf-8")
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.endpoint}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }

    def answer(self, asked: Asked) -> Answer:
        if (asked.method, asked.path) != ("GET", "/v1/credentials"):
            return Answer(404, {"code": "NotFound", "message": asked.path})
        if asked.headers.get("authorization") != self.authorization:
            return Answer(401, {"code": "Unauthorized", "message": "wrong token"})
        return Answer(200, self.json_keys())


class SecurityTokens(CredentialService):
    """STS: AssumeRoleWithWebIdentity, and AssumeRole.

    Both the SDK (``AWS_ENDPOINT_URL_STS``, or ``endpoint_url`` below ``sts`` in the profile's
    ``services``) and object_store (``aws_endpoint_url_sts``) can be led here, but object_store
    insists on HTTPS for this one: ``tls`` here, and ``SSL_CERT_FILE`` for the process.
    """

    name = "STSW"
    role_arn = "arn:aws:iam::123456789012:role/fusiondelta-test"
    #: The only web identity that is accepted; None: any.
    identity: str | None = None

    def env(self, folder: Path, identity: str = "web-identity") -> dict[str, str]:
        """Environment that leads here, with the token in a file in ``folder``."""
        token = folder / "web-identity-token"
        token.write_text(identity, "utf-8")
        return {
            "AWS_ENDPOINT_URL_STS": self.endpoint,
            "AWS_ROLE_ARN": self.role_arn,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        }

    def answer(self, asked: Asked) -> Answer:
        action = asked.parameters.get("Action")
        if asked.method != "POST" or action not in ("AssumeRoleWithWebIdentity", "AssumeRole"):
            return self._refusal("InvalidAction", str(action))
        if action == "AssumeRoleWithWebIdentity":
            identity = asked.parameters.get("WebIdentityToken")
            if not identity or self.identity not in (None, identity):
                return self._refusal("InvalidIdentityToken", "not the expected token")
        issued = self.issue()
        session = asked.parameters.get("RoleSessionName", "session")
        arn = f"arn:aws:sts::123456789012:assumed-role/fusiondelta-test/{session}"
        return self._document(
            200,
            f"{action}Response",
            f"<{action}Result>"
            f"<AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>AROA:{session}</AssumedRoleId>"
            "</AssumedRoleUser><Credentials>"
            f"<AccessKeyId>{issued.keys.access_key_id}</AccessKeyId>"
            f"<SecretAccessKey>{issued.keys.secret_access_key}</SecretAccessKey>"
            f"<SessionToken>{issued.keys.session_token}</SessionToken>"
            f"<Expiration>{iso(issued.expires)}</Expiration>"
            f"</Credentials></{action}Result>",
        )

    def _refusal(self, code: str, message: str) -> Answer:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return self._document(400, "ErrorResponse", error)

    def _document(self, status: int, name: str, inner: str) -> Answer:
        xml = (
            f'<{name} xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{inner}'
            f"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{name}>"
        )
        return Answer(status, xml, {"Content-Type": "text/xml"})


class SsoPortal(CredentialService):
    """The portal of IAM Identity Center, and its OIDC service for refreshing the login."""

    name = "SSOP"
    access_token = "sso-access-1"
    start_url = "https://sso.test/start"

    def home(
        self,
        home: Path,
        profile: str = "default",
        session: str | None = "test",
        login_lifetime: float = 8 * 3600,
        refreshable: bool = False,
        endpoint: str | None = None,
    ) -> dict[str, str]:
        """Write a home folder that is logged in here; the environment that goes with it.

        The profile names an ``[sso-session]``, or with ``session=None`` has the older form with
        the start URL in it. The login is looked for in ``~/.aws/sso/cache/NAME.json``, where NAME
        is the SHA-1 of the session's name, in the older form of the start URL. Only a login of a
        session is ever refreshed, in its last five minutes, and the file then written again.

        The SDK takes the portal's address from, in this order: ``AWS_ENDPOINT_URL_SSO``;
        ``AWS_ENDPOINT_URL``; ``services = NAME`` in the profile with ``sso =`` and an indented
        ``endpoint_url`` in ``[services NAME]``, as written here; ``endpoint_url`` in the profile.
        The OIDC service is the same with ``SSO_OIDC`` and ``sso-oidc`` (botocore: ``sso_oidc``).
        ``endpoint`` is another address than this service's, such as a fault proxy's.
        """
        at = f"\n  endpoint_url = {endpoint or self.endpoint}"
        about = {"sso_region": "us-east-1", "sso_start_url": self.start_url}
        config = {"services played": dict.fromkeys(("sso", "sso-oidc", "sso_oidc"), at)}
        own = {"sso_account_id": "123456789012", "sso_role_name": "test", "services": "played"}
        if session is None:
            own |= about
        else:
            own["sso_session"] = session
            config[f"sso-session {session}"] = about
        config[profile if profile == "default" else f"profile {profile}"] = own
        env = write_aws_files(home, config)
        now = time.time()
        login = {
            "startUrl": self.start_url,
            "region": "us-east-1",
            "accessToken": self.access_token,
            "expiresAt": iso(now + login_lifetime),
        }
        if refreshable:
            login |= {
                "clientId": "client",
                "clientSecret": "client-secret",
                "refreshToken": "refresh",
                "registrationExpiresAt": iso(now + 86400),
            }
        cache = home / ".aws" / "sso" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha1((session or self.start_url).encode(), usedforsecurity=False).hexdigest()
        (cache / f"{name}.json").write_text(json.dumps(login), "utf-8")
        return env | {"AWS_PROFILE": profile}

    def answer(self, asked: Asked) -> Answer:
        if (asked.method, asked.path) == ("POST", "/token"):
            if asked.parameters.get("refreshToken") != "refresh":
                return self._refusal(400, "InvalidGrantException")
            self.access_token = f"sso-access-{int(self.access_token.rpartition('-')[2]) + 1}"
            token = {"accessToken": self.access_token, "expiresIn": 8 * 3600}
            return Answer(200, {**token, "tokenType": "Bearer", "refreshToken": "refresh"})
        if (asked.method, asked.path) != ("GET", "/federation/credentials"):
            return self._refusal(404, "ResourceNotFoundException")
        if asked.headers.get("x-amz-sso_bearer_token") != self.access_token:
            return self._refusal(401, "UnauthorizedException")
        if not {"role_name", "account_id"} <= asked.parameters.keys():
            return self._refusal(400, "InvalidRequestException")
        issued = self.issue()
        keys = {
            "accessKeyId": issued.keys.access_key_id,
            "secretAccessKey": issued.keys.secret_access_key,
            "sessionToken": issued.keys.session_token,
            "expiration": int(issued.expires * 1000),
        }
        return Answer(200, {"roleCredentials": keys})

    def _refusal(self, status: int, code: str) -> Answer:
        return Answer(status, {"__type": code, "message": code}, {"x-amzn-ErrorType": code})


def write_aws_files(
    home: Path,
    config: Mapping[str, Mapping[str, str]],
    credentials: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, str]:
    """Write ``.aws/config`` and ``.aws/credentials`` of these sections; the environment for it."""
    folder = home / ".aws"
    folder.mkdir(parents=True, exist_ok=True)
    for name, sections in (("config", config), ("credentials", credentials or {})):
        lines = []
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {value}" for key, value in values.items()]
        (folder / name).write_text("\n".join([*lines, ""]), "utf-8")
    return {
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
    }


def self_signed(folder: Path) -> tuple[ssl.SSLContext, dict[str, str]]:
    """A certificate for 127.0.0.1: what a server needs, and the environment for its clients.

    Not one of an authority, which rustls would refuse from a server. Needs ``openssl``.
    """
    both = folder / "loopback.pem"
    both.write_text(
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=loopback", "-keyout", "-"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        ),
        "utf-8",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, {"SSL_CERT_FILE": str(both)}


def iso(seconds: float) -> str:
    """A time as AWS writes it, to the millisecond."""
    at = datetime.fromtimestamp(seconds, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def openssl(*arguments: str) -> str:
    return subprocess.run(
        ["openssl", *arguments], capture_output=True, check=True, text=True
    ).stdout


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, service: CredentialService, tls: ssl.SSLContext | None):
        self.service = service
        self.tls = tls
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.tls is not None:  # shaking hands is for the connection's own thread
            connection = self.tls.wrap_socket(connection, True, do_handshake_on_connect=False)
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self.open):  # whoever connected and asks nothing
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, *about: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients leave as they like
            super().handle_error(*about)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    wbufsize = -1

    def _serve(self) -> None:
        url = urlsplit(self.path)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "json" in self.headers.get("Content-Type", ""):
            parameters |= json.loads(text)
        else:
            parameters |= parse_qsl(text, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.service.take(Asked(self.command, url.path, parameters, headers))
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        kind = "text/plain" if isinstance(answer.body, str) else "application/json"
        body = text.encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": kind, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _serve

    def log_message(self, *args: object) -> None:
        pass
