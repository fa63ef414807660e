"""Wake-ups, read from a Celery list and put back as they were read."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest

from workers.envelope import NotAWakeUp, read

CONTENT = "Zebra-7f3a"
TASKS = {"memlane.record": lambda group: None}
RAW = {
    "body": "W1sic2hvcCJdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsfV0=",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {"task": "memlane.record", "id": "52aa2a53", "argsrepr": CONTENT},
    "properties": {"body_encoding": "base64", "delivery_tag": "c5ff1182", "reply_to": CONTENT},
}


def test_only_task_id_and_arguments_are_kept() -> None:
    found = read(json.dumps(RAW).encode(), "record", TASKS)
    assert (found["headers"]["task"], found["headers"]["id"]) == ("memlane.record", "52aa2a53")
    assert json.loads(b64decode(found["body"]))[:2] == [["shop"], {}]
    assert CONTENT not in json.dumps(found)
    assert found["properties"]["delivery_tag"] != "c5ff1182"


def test_what_kombu_puts_back_can_be_read_again() -> None:
    """If a worker ends before its turn came to a message, kombu puts it back as it was handed on, with marks of its own."""
    found = read(json.dumps(RAW).encode(), "record", TASKS)
    found["headers"]["redelivered"] = found["properties"]["delivery_info"]["redelivered"] = True
    again = read(json.dumps(found).encode(), "record", TASKS)
    assert again["body"] == found["body"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (CONTENT, "message: json_invalid"),
        (json.dumps({CONTENT: 1}), "body: missing"),
        (json.dumps(RAW | {"headers": {"id": "1"}}), "headers.task: missing"),
        (json.dumps(RAW | {"body": CONTENT}), "body: not base64"),
        (json.dumps(RAW | {"headers": {"id": "1", "task": CONTENT}}), "headers.task: not one of this worker's"),
        # [[], {"Zebra-7f3a": 1}, {}]
        (json.dumps(RAW | {"body": "W1tdLCB7IlplYnJhLTdmM2EiOiAxfSwge31d"}), "1: none_required"),
    ],
)
def test_the_reason_tells_where_and_nothing_of_the_content(raw: str, reason: str) -> None:
    with pytest.raises(NotAWakeUp) as refused:
        read(raw.encode(), "record", TASKS)
    assert str(refused.value) == reason
