"""A server that speaks OpenAI's chat completions over HTTP, and answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Where Graphiti puts the shape of the answer if the server knows only `json_object`.
INJECTED = "Respond with a JSON object in the following format:\n\n"


@dataclass
class Asked:
    """One request: its body, and the shape of the answer that it asks for."""

    body: dict[str, Any]
    key: str

    @property
    def shape(self) -> dict[str, Any]:
        asked = self.body["response_format"]
        if asked["type"] == "json_schema":
            found: dict[str, Any] = asked["json_schema"]["schema"]
            return found
        _, _, injected = self.text.partition(INJECTED)
        return dict(json.JSONDecoder().raw_decode(injected)[0]) if injected else {}

    @property
    def name(self) -> str:
        return str(self.shape.get("title", ""))

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass
class ScriptedModel:
    """What it was asked, and how it answers."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    #: Answers in JSON what it is asked; by default the least that the shape allows.
    answers: Callable[[Asked], Any] = lambda asked: least(asked.shape)
    #: How the next requests are dealt with, one each; then they are answered.
    script: deque[str] = field(default_factory=deque)
    #: Whether it knows only `json_object`.
    only_json_object: bool = False
    #: Tokens that each answer is said to have taken: in, out.
    usage: tuple[int, int] = (100, 10)
    #: Set when slow answers may come.
    hurry: threading.Event = field(default_factory=threading.Event)

    def reply(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body."""
        self.asked.append(asked)
        if self.only_json_object and asked.body["response_format"]["type"] == "json_schema":
            return 400, {}, {"error": {"message": "This response_format type is unavailable now"}}
        what = self.script.popleft() if self.script else "answer"
        match what.split():
            case ["answer"]:
                return 200, {}, self.completion(json.dumps(self.answers(asked)))
            case ["fenced"]:
                return 200, {}, self.completion(f"```json\n{json.dumps(self.answers(asked))}\n```")
            case ["slow"]:
                self.hurry.wait(30)
                return 200, {}, self.completion(json.dumps(self.answers(asked)))
            case ["prose"]:
                return 200, {}, self.completion("Certainly! Here is what you asked for.")
            case ["empty"]:
                return 200, {}, self.completion("")
            case ["wrong"]:
                return 200, {}, self.completion('{"something": "else"}')
            case ["refusal"]:
                return 200, {}, self.completion(None, refusal="I can't help with that.")
            case ["no-usage"]:
                body = self.completion(json.dumps(self.answers(asked)))
                return 200, {}, {name: value for name, value in body.items() if name != "usage"}
            case [status, *after]:
                headers = {"Retry-After": after[0]} if after else {}
                return int(status), headers, {"error": {"message": f"{what}: {asked.text[:200]}"}}
        raise AssertionError(what)

    def completion(self, text: str | None, **more: Any) -> dict[str, Any]:
        tokens_in, tokens_out = self.usage
        return {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **more}}
            ],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
            },
        }


@contextmanager
def scripted_model() -> Iterator[ScriptedModel]:
    """Start it on a port of its own."""
    model = ScriptedModel()
    with served("/v1/chat/completions", lambda body, key: model.reply(Asked(body, key))) as model.url:
        try:
            yield model
        finally:
            model.hurry.set()


@contextmanager
def served(path: str, reply: Callable[[dict[str, Any], str], tuple[int, dict[str, str], Any]]) -> Iterator[str]:
    """A server that answers POST requests of one path.

    Args:
        reply: takes a request's body and its key; gives status, headers, and a body for JSON, or text as it is.

    Yields:
        The base URL that OpenAI's client is given.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path == path
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, said = reply(body, self.headers["Authorization"])
            raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                return  # whoever asked has given up

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def least(shape: dict[str, Any], definitions: dict[str, Any] | None = None) -> Any:
    """The least value that a JSON Schema allows: empty lists and texts, zeros."""
    definitions = shape.get("$defs", {}) if definitions is None else definitions
    if "$ref" in shape:
        return least(definitions[shape["$ref"].rpartition("/")[2]], definitions)
    if "default" in shape:
        return shape["default"]
    if "anyOf" in shape:
        return None if {"type": "null"} in shape["anyOf"] else least(shape["anyOf"][0], definitions)
    if "enum" in shape:
        return shape["enum"][0]
    match shape.get("type"):
        case "object":
            wanted = shape.get("required", ())
            return {name: least(shape["properties"][name], definitions) for name in wanted}
        case "array":
            return []
        case "integer" | "number":
            return 0
        case "boolean":
            return False
    return ""
