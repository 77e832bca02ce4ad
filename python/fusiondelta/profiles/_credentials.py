"""How a profile comes by its credentials: the ways there are, and that only one is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fusiondelta.errors import ConfigurationError

#: Gives credentials, and ``expires_at`` where they expire.
Credentials = Callable[[], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to credentials.

    Attributes:
        signs: Options of which any one says that this way is meant.
        needs: Options it does not work without.
        hint: What to do where one of these is missing.
        partial: Whether the environment may hold parts of it that mean nothing, as it may for the
            AWS SDKs.
    """

    signs: tuple[str, ...]
    needs: tuple[str, ...] = ()
    hint: str = ""
    partial: bool = False


#: In the order in which the environment is searched: identities of workloads, what is short-lived,
#: what is static. ``skip_signature`` stands before them, as it leaves credentials unused.
WAYS: dict[str, tuple[Way, ...]] = {
    "local": (),
    "s3": (
        Way(("skip_signature",)),
        Way(
            ("web_identity_token_file", "role_arn", "role_session_name", "sts_endpoint"),
            ("web_identity_token_file", "role_arn"),
            "to assume a role from other credentials, name a profile of ~/.aws/config that does, "
            "with profile=, or give credentials=callable",
            partial=True,
        ),
        Way(("container_credentials_relative_uri",)),
        Way(
            ("container_credentials_full_uri", "container_authorization_token_file"),
            ("container_credentials_full_uri", "container_authorization_token_file"),
        ),
        Way(
            ("access_key_id", "secret_access_key", "session_token"),
            ("access_key_id", "secret_access_key"),
            "or leave all of them out for the AWS default chain",
        ),
        Way(("profile",)),
        Way(("metadata_endpoint", "imdsv1_fallback")),
    ),
    "gcs": (
        Way(("skip_signature",)),
        Way(("service_account",)),
        Way(("service_account_key",)),
        Way(("application_credentials",)),
    ),
    "azure": (
        Way(("skip_signature",)),
        Way(("federated_token_file",), ("client_id", "tenant_id", "federated_token_file")),
        Way(("bearer_token",)),
        Way(("sas_token",)),
        Way(("client_secret",), ("client_id", "tenant_id", "client_secret")),
        Way(("account_key",)),
        Way(("use_azure_cli",)),
    ),
}


def check(kind: str, given: Mapping[str, object], credentials: object) -> None:
    """That at most one way to credentials is given, and all of it.

    Args:
        kind: Kind of store.
        given: Options and secrets by name.
        credentials: The callable, if any.

    Raises:
        ConfigurationError: More than one, or one that lacks something.
    """
    found = [(way, signs) for way in WAYS[kind] if (signs := _signs(way, given))]
    for way, signs in found:
        if missing := [name for name in way.needs if not _is_set(given, name)]:
            hint = f"; {way.hint}" if way.hint else ""
            raise ConfigurationError(
                f"StorageProfile: {signs[0]} needs {' and '.join(missing)} too{hint}"
            )
    named = [signs[0] for _, signs in found] + ["credentials"] * (credentials is not None)
    if len(named) > 1:
        raise ConfigurationError(
            f"StorageProfile: {' and '.join(named)} are different ways to credentials; keep one"
        )
    if credentials is not None and _is_set(given, "use_emulator"):
        raise ConfigurationError(
            "StorageProfile: the emulator of use_emulator takes no credentials=callable; give the "
            "emulator's URL as endpoint instead"
        )


def first_way(kind: str, given: Mapping[str, object]) -> set[str]:
    """Which of the options to leave out so that one way to credentials stays, the first that works.

    Args:
        kind: Kind of store.
        given: Options and secrets that the environment holds, by name.
    """
    ways = WAYS[kind]
    kept = next((way for way in ways if _works(way, given)), None)
    others = [way for way in ways if (way.partial if kept is None else way is not kept)]
    return {sign for way in others for sign in way.signs}


def chain(kind: str, given: Mapping[str, object], credentials: object) -> str:
    """Who finds the credentials: ``callable``, ``aws`` (the AWS default chain) or ``options``.

    Args:
        kind: Kind of store.
        given: Options and secrets by name.
        credentials: The callable, if any.
    """
    if credentials is not None:
        return "callable"
    found = [way for way in WAYS[kind] if _signs(way, given)]
    if kind == "s3" and all("profile" in way.signs for way in found):
        return "aws"
    return "options"


def ask(kind: str, credentials: Credentials) -> dict[str, object]:
    """What the callable gives now, without when it expires.

    Raises:
        ConfigurationError: It gave no mapping.
    """
    given: object = credentials()
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"StorageProfile.credentials must give a mapping, like {{'{_EXAMPLES[kind]}': ...}}, "
            f"not {type(given).__name__}"
        )
    return {str(k): v for k, v in given.items() if k != "expires_at" and v is not None}


_EXAMPLES = {"s3": "access_key_id", "gcs": "bearer_token", "azure": "bearer_token"}


def _works(way: Way, given: Mapping[str, object]) -> bool:
    return bool(_signs(way, given)) and all(_is_set(given, name) for name in way.needs)


def _signs(way: Way, given: Mapping[str, object]) -> list[str]:
    return [name for name in way.signs if _is_set(given, name)]


def _is_set(given: Mapping[str, object], name: str) -> bool:
    return given.get(name, "false") != "false"
