"""A model server that says what a script tells it to: OpenAI's chat completions, streamed, over real HTTP.

A script belongs to a model's name; its replies are given one after the other, whoever asks. What was asked is kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """A tool call that the model asks for."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One answer of the model: text, tool calls, or (`status`) an HTTP error with `text` as its message.

    `waits_for` holds the answer back until it is set.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    tokens: tuple[int, int] = (100, 10)
    status: int = 200
    waits_for: threading.Event | None = None


#: What a model says when its script is at its end.
DONE = Reply("Done.")


def says(text: str, **options: Any) -> Reply:
    return Reply(text, **options)


def calls(tool: str, /, **arguments: Any) -> Reply:
    """The model calls one tool."""
    return Reply(calls=[Call(tool, arguments)])


@dataclass
class Model:
    """The server's state: scripts by model name, and the bodies of all requests."""

    url: str
    scripts: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def script(self, name: str, *replies: Reply) -> None:
        """Let the model `name` reply so, from its first reply on."""
        with self._lock:
            self.scripts[name] = list(replies)
            self.requests[:] = [request for request in self.requests if request["model"] != name]

    def asked(self, name: str) -> list[dict[str, Any]]:
        """Requests that came for a model, in order."""
        with self._lock:
            return [request for request in self.requests if request["model"] == name]

    def systems(self, name: str) -> list[str]:
        """For each request to a model, its system messages."""
        return [
            "\n".join(_text(message["content"]) for message in request["messages"] if message["role"] == "system")
            for request in self.asked(name)
        ]

    def take(self, request: dict[str, Any]) -> Reply:
        with self._lock:
            self.requests.append(request)
            replies = self.scripts.get(request["model"], [])
            return replies.pop(0) if replies else DONE


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _chunks(reply: Reply, model: str) -> Iterator[dict[str, Any]]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": reply.text})
    for number, call in enumerate(reply.calls):
        function = {"name": call.tool, "arguments": json.dumps(call.arguments)}
        yield chunk(
            {"tool_calls": [{"index": number, "id": f"call_{number}", "type": "function", "function": function}]}
        )
    yield chunk({}, "tool_calls" if reply.calls else "stop")
    given, said = reply.tokens
    usage = {"prompt_tokens": given, "completion_tokens": said, "total_tokens": given + said}
    yield {**base, "choices": [], "usage": usage}


@contextmanager
def model_server() -> Iterator[Model]:
    """Serve on loopback as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply = model.take(request)
            if reply.waits_for:
                reply.waits_for.wait(60)
            if reply.status != 200:
                kind, body = "application/json", json.dumps({"error": {"message": reply.text, "type": "scripted"}})
            else:
                kind = "text/event-stream"
                lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(reply, request["model"])]
                body = "".join(lines) + "data: [DONE]\n\n"
            raw = body.encode()
            self.send_response(reply.status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(raw)))
            # Whoever asked may have been killed meanwhile.
            with suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        model = Model(f"http://127.0.0.1:{server.server_address[1]}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()
