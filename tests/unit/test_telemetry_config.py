"""`TelemetryConfig`: what is valid, and that headers stay secret."""

from __future__ import annotations

import copy
import pickle

import pytest

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import TelemetryConfig

pytestmark = pytest.mark.unit

AT = "http://collector:4318"


def test_it_is_off_and_sends_nowhere_by_default():
    config = TelemetryConfig()
    assert not config.enabled
    assert config.endpoint is None
    assert not config.delta_tracing
    assert not config.logs


def test_otlp_switches_it_on():
    config = TelemetryConfig.otlp(AT, headers={"X-Key": "s3cret"}, service_name="shop", requests=5)
    assert (config.enabled, config.endpoint, config.requests) == (True, AT, 5)
    assert config.headers["x-key"].reveal() == "s3cret"
    assert config == TelemetryConfig.otlp(
        AT, headers={"x-key": "s3cret"}, service_name="shop", requests=5
    )
    assert not TelemetryConfig.otlp(AT, enabled=False).enabled


def test_headers_are_shown_nowhere():
    config = TelemetryConfig.otlp(AT, headers={"X-Key": "s3cret"})
    for shown in (repr(config), str(config), f"{config}", repr(pickle.dumps(config))):
        assert "s3cret" not in shown
    assert "'x-key': ***" in repr(config)
    assert copy.deepcopy(config) == config
    assert config != config.replace(headers={"x-key": "other"})


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("collector:4318", "base URL"),
        ("", "base URL"),
        ("ftp://h", "base URL"),
        ("http://", "base URL"),
        ("http://h:port", "cannot be read"),
        ("http://h:99999", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://user:tok-1@h", "use headers"),
        ("http://h?api-key=tok-1", "use headers"),
        ("http://h#tok-1", "use headers"),
        ("http://h/v1/traces", "leave out '/v1/traces'"),
        ("http://h/x/v1/metrics/", "leave out '/v1/metrics'"),
        ("http://h\n", "base URL"),
        (4318, "not int"),
    ],
)
def test_endpoints_that_cannot_be(endpoint, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        TelemetryConfig.otlp(endpoint)
    assert "TelemetryConfig.endpoint" in str(caught.value)
    assert "tok-" not in str(caught.value)


@pytest.mark.parametrize("endpoint", [AT, f"{AT}/", "https://h/otlp", "http://[::1]:4318"])
def test_endpoints_that_can(endpoint):
    assert TelemetryConfig.otlp(endpoint).endpoint == endpoint.rstrip("/")


@pytest.mark.parametrize(
    "headers",
    [
        {"a b": "x"},
        {"": "x"},
        {"a:": "x"},
        {1: "x"},
        {"a": 1},
        {"a": "tok-1\r\nb: c"},
        {"a": " tok-1"},
        {"a": "tok-1\x7f"},
        {"a": "tok-ü"},
        {"a": "x", "A": "y"},
        "a=tok-1",
        [("a", "tok-1")],
    ],
)
def test_headers_that_cannot_be(headers):
    with pytest.raises(ConfigurationError, match=r"TelemetryConfig\.headers") as caught:
        TelemetryConfig.otlp(AT, headers=headers)
    assert "tok-" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"headers": {"a": "b"}}, "go with an endpoint"),
        ({"delta_tracing": True, "protocol": "grpc"}, "http/protobuf"),
        ({"protocol": "http/json"}, "protocol must be one of"),
        ({"service_name": " "}, "service_name"),
        ({"operators": -1}, "operators"),
        ({"requests": 1.5}, "requests"),
        ({"slow_query_rate": -1}, "slow_query_rate"),
        ({"slow_query_keep": True}, "slow_query_keep"),
        ({"statement": 1}, "statement"),
        ({"traces": None}, "traces"),
        ({"metrics": "yes"}, "metrics"),
        ({"logs": 0}, "logs"),
        ({"delta_tracing": "debug"}, "delta_tracing"),
        ({"endpont": AT}, "did you mean 'endpoint'"),
    ],
)
def test_values_that_cannot_be(changes, says):
    with pytest.raises(ConfigurationError, match=says):
        TelemetryConfig().replace(**changes)


# the environment


def env(**variables):
    names = {
        "endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
        "headers": "OTEL_EXPORTER_OTLP_HEADERS",
        "protocol": "OTEL_EXPORTER_OTLP_PROTOCOL",
        "service": "OTEL_SERVICE_NAME",
        "disabled": "OTEL_SDK_DISABLED",
        "log": "RUST_LOG",
    }
    return TelemetryConfig.from_env({names[name]: value for name, value in variables.items()})


def test_an_environment_without_an_endpoint_sends_nowhere():
    assert env() == TelemetryConfig(enabled=True)
    assert env(headers="a=b", protocol="x", service="s", log="deltalake=debug") == env()
    assert env(endpoint="  ") == env()


def test_an_environment_is_read_as_the_sdks_do():
    config = env(endpoint=AT, headers="Api-Key=a%3Db%2C, x = y ,", protocol="grpc", service="shop")
    assert {name: secret.reveal() for name, secret in config.headers.items()} == {
        "api-key": "a=b,",
        "x": "y",
    }
    assert (config.protocol, config.service_name) == ("grpc", "shop")


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", AT)
    assert TelemetryConfig.from_env().endpoint == AT


@pytest.mark.parametrize(("value", "enabled"), [("true", False), ("TRUE", False), ("1", True)])
def test_the_sdk_can_be_disabled(value, enabled):
    assert env(endpoint=AT, disabled=value).enabled is enabled


@pytest.mark.parametrize(
    ("log", "asked"),
    [
        ("deltalake=debug", True),
        ("info, deltalake_core::kernel=trace", True),
        ("deltalake", True),
        ("deltalake=off", False),
        ("info", False),
        ("my_deltalake=debug", False),
        ("", False),
    ],
)
def test_rust_log_asks_for_delta_rs_by_name(log, asked):
    assert env(endpoint=AT, log=log).delta_tracing is asked
    assert not env(endpoint=AT, log=log, protocol="grpc").delta_tracing


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"headers": "tok-1"}, "HEADERS .* its part 1"),
        ({"headers": "a=b,,tok-1=%ff"}, "HEADERS .* its part 3"),
        ({"headers": "=tok-1"}, "HEADERS"),
        ({"headers": "a=tok-1%0d%0a"}, "HEADERS"),
        ({"protocol": "http/json"}, "PROTOCOL must be http/protobuf or grpc"),
        ({"endpoint": "collector"}, "ENDPOINT"),
        ({"endpoint": "http://u:tok-1@h"}, "ENDPOINT"),
    ],
)
def test_variables_that_cannot_be(variables, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        env(**{"endpoint": AT, **variables})
    assert "tok-" not in str(caught.value)
