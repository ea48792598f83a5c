"""Has Schemathesis talk of things that there are: a UUID that it made up is no flower, and no order of the actor's.

What it orders becomes a real flower or bouquet, none twice; of other UUIDs every second becomes a real one of its kind.
What is no UUID stays what it is, and wrong.
"""

import os
import uuid

import schemathesis

KINDS = ("flowers", "bouquets", "orders", "payments", "shipments")
REAL = {kind: os.environ["SHOP_" + kind.upper()].split(",") for kind in KINDS}
OF_PATH = {"/api/orders/{id}": "orders", "/api/payments/{id}": "payments", "/api/delivery/{id}": "shipments"}


def number_of(value):
    try:
        return uuid.UUID(value).int if len(value) == 36 else None
    except (AttributeError, TypeError, ValueError):
        return None


def sometimes_real(kind, value):
    number = number_of(value)
    if number is None or number % 2 == 0:
        return value
    return REAL[kind][number // 2 % len(REAL[kind])]


@schemathesis.hook
def before_call(ctx, case, kwargs):
    parameters = case.path_parameters or {}
    for path, kind in OF_PATH.items():
        if case.path.startswith(path):
            parameters["id"] = sometimes_real(kind, parameters.get("id"))
    if "order_id" in parameters:
        parameters["order_id"] = sometimes_real("orders", parameters["order_id"])
    if not isinstance(case.body, dict):
        return
    if "order_id" in case.body:
        case.body["order_id"] = sometimes_real("orders", case.body["order_id"])
    items = case.body.get("items")
    if case.path == "/api/orders" and isinstance(items, list):
        for index, item in enumerate(items):
            for field, kind in (("flower_id", "flowers"), ("bouquet_id", "bouquets")):
                if isinstance(item, dict) and number_of(item.get(field)) is not None:
                    item[field] = REAL[kind][index % len(REAL[kind])]
