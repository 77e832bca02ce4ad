"""What the environment says about telemetry comes through whole, and secrets never come out."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import TelemetryConfig

pytestmark = pytest.mark.property

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_!#$&'*+.^`|~%", min_size=1, max_size=12)
printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
values = st.text(printable, max_size=20).filter(lambda text: text == text.strip())
headers = st.dictionaries(names, values, max_size=5)
blanks = st.sampled_from(["", " ", "\t"])


def read(environ):
    """The config, or the error in its place."""
    try:
        return TelemetryConfig.from_env(environ)
    except ConfigurationError as error:
        return error


@given(headers, blanks, blanks, st.booleans())
def test_headers_come_through_percent_encoding(given_headers, before, after, upper):
    spelt = ",".join(
        f"{before}{quote(name.upper() if upper else name, safe='')}{after}="
        f"{before}{quote(value, safe='')}{after}"
        for name, value in given_headers.items()
    )
    config = TelemetryConfig.from_env({ENDPOINT: "http://collector:4318/", HEADERS: spelt})
    assert {name: secret.reveal() for name, secret in config.headers.items()} == given_headers
    assert config.endpoint == "http://collector:4318"
    assert config.enabled


@given(st.text(max_size=40))
def test_any_text_makes_headers_or_an_error_without_it(text):
    token = "tok-" + text
    found = read({ENDPOINT: "http://c", HEADERS: f"{text},a={token}"})
    assert "tok-" not in repr(found)
    assert "tok-" not in str(found)
    if isinstance(found, ConfigurationError):
        assert HEADERS in str(found)
    else:
        assert found.headers["a"].reveal().startswith("tok-")


environments = st.dictionaries(
    st.sampled_from(
        [
            ENDPOINT,
            HEADERS,
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_SERVICE_NAME",
            "OTEL_SDK_DISABLED",
            "RUST_LOG",
        ]
    ),
    st.sampled_from(["", " ", "true", "grpc", "http/protobuf", "a=b", "http://h", "deltalake=info"])
    | st.text(max_size=10),
)


@given(environments)
def test_any_environment_makes_a_config_or_names_the_variable(environ):
    config = read(environ)
    if isinstance(config, ConfigurationError):
        assert any(name in str(config) for name in environ)
        return
    # Nothing goes anywhere that the environment does not name.
    given_endpoint = environ.get(ENDPOINT, "").strip().rstrip("/")
    assert config.endpoint == (given_endpoint or None)
    assert not (config.endpoint is None and (config.headers or config.delta_tracing))
    assert config.enabled == (environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true")
