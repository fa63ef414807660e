"""One list of a file of JSON with comments is changed, and nothing else."""

from __future__ import annotations

import json

import pytest

from ops.install.jsonc import JsonInvalid, items, with_item, with_value, without_item

COMMENTED = """// mine
{
  /* "plugin": ["no"] */
  "url": "http://x/*no*/", // a comment, with "quotes"
  "plugin": [
    "one", // the first
    ["two", {"a": [1]}],
  ],
  "nested": {"plugin": ["no"]},
}
"""


def values(text: str) -> list[object] | None:
    found = items(text, "plugin")
    return None if found is None else [item.value for item in found]


def test_entries_are_found_among_comments() -> None:
    assert values(COMMENTED) == ["one", ["two", {"a": [1]}]]


def test_an_entry_is_added_and_taken_out_again() -> None:
    added = with_item(COMMENTED, "plugin", "mine")
    assert added == COMMENTED.replace('["two", {"a": [1]}],', '["two", {"a": [1]}], "mine",')
    assert without_item(added, "plugin", (items(added, "plugin") or [])[-1]) == COMMENTED


def test_the_first_of_several_is_taken_out() -> None:
    text = '{"plugin": ["one", "two"]}'
    assert without_item(text, "plugin", (items(text, "plugin") or [])[0]) == '{"plugin": ["two"]}'


def test_an_entry_is_replaced() -> None:
    (first, _) = items(COMMENTED, "plugin") or []
    assert with_value(COMMENTED, first, ["uno"]) == COMMENTED.replace('"one"', '["uno"]')


@pytest.mark.parametrize(
    "text", ["{}", "{ }\n", "// nothing\n{\n}\n", '{"plugin": []}', '{"plugin": [ ], "a": 1}', '{"a": "b"}']
)
def test_a_list_is_made_where_there_is_none(text: str) -> None:
    added = with_item(text, "plugin", "mine")
    assert values(added) == ["mine"]
    (item,) = items(added, "plugin") or []
    assert values(without_item(added, "plugin", item)) == []
    if not text.startswith("//"):
        assert {**json.loads(text), "plugin": ["mine"]} == json.loads(added)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1"),
        ("[]", "no JSON object"),
        ('{"plugin": "one"}', "no list"),
        ('{"a": 1\n "b": 2}', "line 2"),
        ('{"a": /* 1}', "line 1"),
        ("[" * 100_000, "too deeply"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(JsonInvalid, match=words):
        with_item(text, "plugin", "mine")
