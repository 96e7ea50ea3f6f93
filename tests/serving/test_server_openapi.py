"""`/openapi.json` is true: the client has its operations, and random requests of every kind get the answers that it promises."""

from __future__ import annotations

import inspect
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from tests.serving.conftest import ServerProcess

from recsmith.serving.client import Client
from recsmith.serving.openapi import document
from recsmith.serving.routes import ROUTES

CASES = int(os.environ.get("RECSMITH_CASES", "500"))
"""Random requests over all operations."""


def test_every_operation_is_a_method_of_the_client_with_its_parameters() -> None:
    schemas = document()["components"]["schemas"]
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            found = set(inspect.signature(getattr(Client, operation["operationId"])).parameters) - {"self"}
            wanted = {parameter["name"] for parameter in operation["parameters"]}
            if "requestBody" in operation:
                name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                wanted |= set(schemas[name]["properties"])
            assert found == wanted, f"{method} {path}"


def test_names_are_there_once() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_the_server_serves_the_document(server: ServerProcess) -> None:
    with server.client(None) as client:
        assert client.openapi() == document()


def test_random_requests_get_what_is_promised(server: ServerProcess) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    schema = schemathesis.openapi.from_dict(document())
    operations = [result.ok() for result in schema.get_all_operations()]
    each = CASES // len(operations) + 1
    for operation in operations:
        if operation.definition.raw["operationId"] not in ("activate_model", "rollback_model", "start_refit"):
            _attack(operation, server, each)
    with server.client() as client:
        assert client.ready()["status"] == "ready"
        for experiment in client.list_experiments()["experiments"]:
            if experiment["stopped"] is None:
                client.stop_experiment(experiment["name"])


def _attack(operation: Any, server: ServerProcess, cases: int) -> None:
    from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

    skipped = [ignored_auth]  # test_server_access asks that of every route
    if operation.definition.raw["operationId"] in ("put_rules", "create_experiment"):
        skipped.append(positive_data_acceptance)  # what a rule may say depends on the catalogue, what arms may, on each other

    @seed(7)
    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def attack(case: Any) -> None:
        keys = {"x-api-key": server.key, "authorization": f"Bearer {server.key}"}
        response = case.call(base_url=server.url, headers=keys, timeout=60)
        assert response.status_code < 500, response.text
        case.validate_response(response, excluded_checks=skipped)

    attack()
