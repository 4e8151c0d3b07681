"""Kubernetes' quantities and resources, refused as an API server refuses them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from domainlm.cluster.quantities import amount, resource_faults


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("2", 2), ("0.5", "0.5"), (".5", "0.5"), ("1.", 1), ("500m", "0.5"), ("250u", "0.00025"), ("3n", "3e-9"),
        ("1k", 1000), ("16Gi", 16 * 1024**3), ("16G", 16 * 10**9), ("1Ei", 1024**6), ("1E", 10**18), ("1e3", 1000),
        ("12E2", 1200), ("-1", -1), ("+4Mi", 4 * 1024**2),
    ],
)  # fmt: skip
def test_a_quantity_is_the_number_that_kubernetes_takes_it_for(quantity: str, value: Any) -> None:
    assert amount(quantity) == Decimal(value)


@pytest.mark.parametrize(
    "quantity", ["lots", "", "16GB", "16gi", "1 Gi", "Gi", "1.2.3", "0x10", "1K", "NaN", "inf", "١"]
)
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError):
        amount(quantity)


def told(resources: Any) -> str:
    return "\n".join(f"{'.'.join(map(str, where))}: {what}" for where, what in resource_faults(resources, ("r",)))


def test_resources_that_fit_together_pass() -> None:
    assert told({"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}}) == ""
    assert told({"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi"}}) == ""


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"requests": {"memory": "lots"}}, "r.requests.memory: 'lots' is no quantity"),
        ({"requests": {"memory": "8Gi"}, "limits": {"memory": "8G"}}, "r.requests.memory: asks for 8Gi, more than its"),
        (
            {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1"}},
            "r.requests.cpu: asks for 1500m, more than its limit 1",
        ),
        ({"limits": {"cpu": 2}}, 'r.limits.cpu: must be text: write "2"'),
        ({"limits": {"cpu": True}}, "r.limits.cpu: must be a quantity"),
        ({"limits": {"cpu": "-1"}}, "less than nothing"),
        ({"limits": {"cpu": "0.0005"}}, "finer than a thousandth"),
        ({"limits": {"memory": "16m"}}, "r.limits.memory: '16m' is less than a mebibyte: 16m means 0.016 bytes"),
        ({"limits": {"gpu": "1"}}, "r.limits.gpu: unknown resource"),
        ({"limits": {"nvidia.com/gpu": "0.5"}}, "devices come whole"),
        ({"requests": {"nvidia.com/gpu": "1"}}, "a device is asked for under limits"),
        ({"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "2"}}, "must equal its limit"),
        ({"request": {"cpu": "1"}}, "r.request: unknown key"),
        ({"requests": ["cpu"]}, "r.requests: must map"),
        ("2Gi", "r: must map"),
    ],
)
def test_what_a_server_would_refuse_is_named_with_its_place(resources: Any, said: str) -> None:
    assert said in told(resources)
