"""`memlane mcp` as clients use it: the official SDK's client, over stdin and stdout, and over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from memory import lua
from tests.acceptance.command import MEMLANE, PATIENCE, CommandLine, environment, lines, validated
from tests.opencode_databases import LIMITER, recorded, renamed
from tests.servers import free_port, wait_until

#: Events of the recorded session.
IMPORTED = 25
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@asynccontextmanager
async def over_stdio(memlane: CommandLine, *options: str) -> AsyncIterator[Client]:
    environ = environment(memlane.home, **memlane.environ)
    server = StdioServerParameters(command=MEMLANE, args=["mcp", *options], env=environ, cwd=memlane.folder)
    async with Client(stdio_client(server)) as client:
        yield client


def _token(told: dict[str, Any]) -> str:
    return Path(told["token_file"]).read_text().strip()


@asynccontextmanager
async def over_http(memlane: CommandLine, *options: str) -> AsyncIterator[Client]:
    with memlane.begun("mcp", "--http", "--port", "0", "--json", *options, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        told = validated("mcp", running.stdout.readline().decode())
        headers = {"Authorization": f"Bearer {_token(told)}"}
        async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
            async with Client(streamable_http_client(told["url"], http_client=http)) as client:
                yield client
        running.terminate()
        assert running.wait(PATIENCE) == 0


TRANSPORTS = pytest.mark.parametrize("connect", [over_stdio, over_http])


def session(
    connect: Callable[..., Any], memlane: CommandLine, steps: Callable[[Client], Awaitable[None]], *options: str
) -> None:
    """What a client does, within the time that it may take."""

    async def go() -> None:
        with anyio.fail_after(PATIENCE * 2):
            async with connect(memlane, *options) as client:
                await steps(client)

    anyio.run(go)


async def called(client: Client, tool: str, arguments: dict[str, Any] | None = None) -> str:
    """The text that a tool gives."""
    found = await client.call_tool(tool, arguments or {})
    assert not found.is_error, found.content
    return _text(found)


async def refused(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """The error that a tool gives."""
    found = await client.call_tool(tool, arguments)
    assert found.is_error, found.content
    return _text(found)


def _text(found: Any) -> str:
    (content,) = found.content
    text: str = content.text
    return text


@TRANSPORTS
def test_a_client_uses_tools_and_resources(
    connect: Callable[..., Any], memlane: CommandLine, group: str, tmp_path: Path
) -> None:
    """Given a group with an imported session, and a plan in the project. If a client lists, calls and reads, I expect
    the tools with their descriptions, what the session knows, what was just remembered, the plan, and that a checkpoint
    was asked for."""
    limiter = f"ses_{group}"
    database = renamed(recorded("single-session", tmp_path), LIMITER, limiter)
    assert memlane("import", "opencode", str(database), "--group", group).code == 0
    memlane.books(group)
    (memlane.folder / ".opencode" / "plans").mkdir(parents=True)
    (memlane.folder / ".opencode" / "plans" / "cart.md").write_text("# Price carts\n- in UTC")

    async def steps(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"memory", "remember", "memory_compact"}
        assert "- search: full text over all conversations" in (tools["memory"].description or "")

        assert "1 session" in await called(client, "memory", {"tool": "summary"})
        assert f"`{limiter}` Rate limiter" in await called(client, "memory", {"tool": "sessions", "args": {"limit": 5}})
        assert "> Document it" in await called(client, "memory", {"tool": "messages", "args": {"sessionId": limiter}})
        assert "**limiter**" in await called(client, "memory", {"tool": "search", "args": {"query": "limiters"}})
        assert "## Objective" in await called(client, "memory", {"tool": "compactions", "args": {"read": "latest"}})
        assert "green" in await called(client, "memory", {"tool": "context", "args": {"sessionId": limiter}})
        assert "- `recall`" in await called(client, "memory", {"tool": "help"})
        assert "- in UTC" in await called(client, "memory", {"tool": "plans", "args": {"read": "cart.md"}})
        recall = {"tool": "recall", "args": {"query": "why did the limiter fail?", "paths": ["src/limiter.py"]}}
        assert "limiter" in await called(client, "memory", recall)

        assert await called(client, "remember", {"text": "deploys go out on zebra days"}) == f"Remembered in {group}."
        await anyio.to_thread.run_sync(memlane.books, group)
        recall = {"tool": "recall", "args": {"query": "zebra deploys"}}
        assert "deploys go out on zebra days" in await called(client, "memory", recall)
        today = datetime.now(UTC).date()
        within = {"kinds": ["user.request"], "since": "1d", "until": str(today), "asOf": str(today)}
        outside: list[dict[str, Any]] = [
            {"until": str(today - timedelta(days=2))},
            {"agent": "nobody"},
            {"kinds": ["vcs.commit"], "sessionId": limiter},
        ]
        recall = {"tool": "recall", "args": {"query": "zebra deploys", **within}}
        assert "deploys go out on zebra days" in await called(client, "memory", recall)
        for limits in outside:
            asked = {"tool": "recall", "args": {"query": "zebra deploys", **limits}}
            told = await called(client, "memory", asked)
            assert told.startswith("Nothing is known about that in "), told
            assert told.endswith(f" Without {next(iter(limits))} something would be found."), told
        wrongs: list[dict[str, Any]] = [{"paths": [""]}, {"agent": " "}, {"kinds": [""]}, {"since": "yesterday"}]
        for wrong in wrongs:
            asked = {"tool": "recall", "args": {"query": "zebra deploys", **wrong}}
            assert next(iter(wrong)) in await refused(client, "memory", asked)
        assert "None" not in await called(client, "memory", {"tool": "search", "args": {"query": "zebra"}})

        said = await called(client, "memory_compact", {"sessionId": limiter[:-2]})
        assert f"session {limiter} is made now" in said
        assert "Your own context is unchanged" in said

        assert "query: is missing" in await refused(client, "memory", {"tool": "search"})
        assert "there is no session 'none'" in await refused(
            client, "memory", {"tool": "messages", "args": {"sessionId": "none"}}
        )
        assert "'limit': memory takes tool and args" in await refused(
            client, "memory", {"tool": "sessions", "limit": 5}
        )
        missing = await refused(client, "memory", {})
        assert missing.startswith("tool: is missing, name one of recall, help, summary"), missing
        as_text = await refused(client, "memory", {"tool": "search", "args": '{"query": "x"}'})
        assert as_text == 'args: must be an object, as in {"query": "limiter test"}'
        assert "text: is missing" in await refused(client, "remember", {})
        number = await refused(client, "remember", {"text": 5})
        assert number == "text: input should be a valid string"
        for path in ("../../../etc/passwd", "/etc/passwd", "a\nb"):
            told = await refused(client, "remember", {"text": "x", "path": path})
            assert told.startswith("path: name a file of the project"), told
        assert "kind: must be one word" in await refused(client, "remember", {"text": "x", "kind": "bad kind!"})
        assert "kind: " in await refused(client, "remember", {"text": "x", "kind": "k" * 65})
        few = {"tool": "recall", "args": {"query": "limiter", "tokens": 1}}
        assert "tokens: 1 are too few, what is known needs at least" in await refused(client, "memory", few)
        assert "query: " in await refused(client, "memory", {"tool": "recall", "args": {"query": "  "}})
        assert "sessionId: name the session" in await refused(client, "memory_compact", {})
        assert "there is no session 'nosuch'" in await refused(client, "memory_compact", {"sessionId": "nosuch"})
        assert "there is no tool 'forget'" in await refused(client, "forget", {})

        listed = {resource.uri: resource for resource in (await client.list_resources()).resources}
        checkpoints = [uri for uri in listed if uri.startswith("memlane://checkpoint/")]
        assert listed[f"memlane://session/{limiter}"].title == "Rate limiter"
        assert "## Objective" in _read(await client.read_resource(checkpoints[0]))
        assert "> Document it" in _read(await client.read_resource(f"memlane://session/{limiter}"))
        assert len((await client.list_resource_templates()).resource_templates) == 2
        for uri in ("memlane://session/none", "memlane://nothing/x", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="there is no"):
                await client.read_resource(uri)

    session(connect, memlane, steps)

    def compacting() -> bool:
        found = memlane("history", "sessions", "--json").json["sessions"]
        return any(each["session"] == limiter and each["events"] > IMPORTED for each in found)

    wait_until(compacting, "the event that asks for a checkpoint", PATIENCE)


def _read(found: Any) -> str:
    (content,) = found.contents
    assert content.mime_type == "text/markdown"
    text: str = content.text
    return text


@TRANSPORTS
def test_the_queue_server_is_away(connect: Callable[..., Any], tmp_path: Path) -> None:
    """Given no queue server, I expect that what is asked fails with what to do, that what is remembered waits in the
    spool, and that help and plans work."""
    url = f"redis://:sesame@127.0.0.1:{free_port()}"
    memlane = CommandLine(tmp_path / "home", tmp_path, {"MEMLANE_GROUP": "shop", "MEMLANE_VALKEY_URL": url})

    async def steps(client: Client) -> None:
        for arguments in ({"tool": "sessions"}, {"tool": "recall", "args": {"query": "x"}}):
            told = await refused(client, "memory", arguments)
            assert "can't be used" in told
            assert "sesame" not in told
        assert "Noted on this machine" in await called(client, "remember", {"text": "carts are priced in UTC"})
        assert "once the queue server is back" in await called(client, "memory_compact")
        assert "`recall`" in await called(client, "memory", {"tool": "help", "args": {}})
        assert "There are none" in await called(client, "memory", {"tool": "plans"})
        with pytest.raises(MCPError, match="can't be used"):
            await client.list_resources()

    session(connect, memlane, steps, "--session", "s1")
    assert [each["events"] for each in memlane("spool", "list", "--json").json["spools"]] == [2]


def test_ones_own_session_may_be_so_new_that_nothing_is_known_of_it(memlane: CommandLine, group: str) -> None:
    async def steps(client: Client) -> None:
        for arguments in ({}, {"sessionId": "own"}):
            assert "session own is made now" in await called(client, "memory_compact", arguments)

    session(over_stdio, memlane, steps, "--session", "own")


def test_resources_come_in_pages(memlane: CommandLine, group: str) -> None:
    started = [{"type": "session.start", "session": f"s{n:03}", "data": {"title": f"Session {n}"}} for n in range(120)]
    memlane("publish", "--stdin", stdin=lines(*started))
    memlane.books(group)

    async def steps(client: Client) -> None:
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = await client.list_resources(cursor=cursor)
            seen += [resource.name for resource in page.resources]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(seen) == [event["session"] for event in started]

    session(over_stdio, memlane, steps)


def test_stdout_holds_nothing_but_the_protocol_and_it_ends_cleanly(tmp_path: Path) -> None:
    """If the client closes stdin, or sends SIGTERM or SIGINT, I expect exit code 0, and every line of stdout to be
    JSON-RPC."""
    memlane = CommandLine(tmp_path / "home", tmp_path, {"MEMLANE_GROUP": "shop"})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for end in (None, signal.SIGTERM, signal.SIGINT):
        with memlane.begun("mcp", **pipes) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            for message in (INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}):
                running.stdin.write(json.dumps(message).encode() + b"\n")
            running.stdin.write(b"this is no JSON\n")
            call = {"name": "memory", "arguments": {"tool": "sessions"}}
            running.stdin.write(
                json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}).encode()
            )
            running.stdin.write(b"\n")
            running.stdin.flush()
            answers = [json.loads(running.stdout.readline())]
            while answers[-1].get("id") != 2:
                answers.append(json.loads(running.stdout.readline()))
            assert answers[-1]["result"]["isError"] is True
            if end is not None:
                running.send_signal(end)
            out, err = running.communicate(timeout=PATIENCE)
            assert running.returncode == 0, err
            assert b"Traceback" not in err
        answers += [json.loads(line) for line in out.splitlines()]
        assert all(answer["jsonrpc"] == "2.0" for answer in answers)


def test_http_is_for_who_has_the_token_and_for_no_web_page(tmp_path: Path) -> None:
    """If a request comes without the token, with a wrong one, or by another name or from another origin than the
    loopback's, I expect it to be refused; and only the loopback to be listened on."""
    memlane = CommandLine(tmp_path / "home", tmp_path, {"MEMLANE_GROUP": "shop"})
    with memlane.begun("mcp", "--http", "--port", "0", "--json", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        told = validated("mcp", running.stdout.readline().decode())
        file = Path(told["token_file"])
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        token, url = file.read_text().strip(), told["url"]
        port = httpx2.URL(url).port
        right = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}

        def answered(headers: dict[str, str]) -> int:
            with httpx2.Client(timeout=PATIENCE) as http:
                return http.post(url, json=INITIALIZE, headers=headers).status_code

        assert answered(right) == 200
        assert answered({**right, "Origin": f"http://127.0.0.1:{port}"}) == 200
        assert answered({**right, "Authorization": f"bearer {token}"}) == 200
        for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {token}"}, {"Authorization": token}):
            assert answered({"Accept": right["Accept"], **wrong}) == 401
        assert answered({**right, "Host": f"evil.example:{port}"}) == 421
        assert answered({**right, "Origin": "http://evil.example"}) == 403
        assert answered({**right, "Origin": "null"}) == 403
        listening = [
            found.laddr.ip for found in psutil.Process(running.pid).net_connections() if found.status == "LISTEN"
        ]
        assert listening == ["127.0.0.1"]

        memlane("mcp", "--http", "--port", str(port)).failed(f"port {port} can't be listened on", "--port")
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE) == 0
    with memlane.begun("mcp", "--http", "--port", "0", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert f"token in {file}; Ctrl-C stops it" in running.stdout.readline().decode()
        assert file.read_text().strip() == token, "clients' configurations would be void"
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    wrong_line = memlane("mcp", "--json")
    assert (wrong_line.code, wrong_line.out) == (2, "")
    assert "--http" in wrong_line.err


def test_nothing_of_what_is_asked_gets_into_the_log(memlane: CommandLine, group: str) -> None:
    """Whatever goes wrong, I expect neither questions nor what is remembered on stderr, nor in the bell."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with memlane.begun("mcp", **pipes) as running, memlane.queue() as queue:
        assert running.stdin is not None
        calls: list[dict[str, Any]] = [
            {"name": "memory", "arguments": {"tool": "search", "args": {"query": "zanzibar", "limit": -1}}},
            {"name": "memory", "arguments": {"tool": "search", "args": {"query": "zanzibar"}}},
            {"name": "remember", "arguments": {"text": "zanzibar " * 1_000}},
            {"name": "zanzibar", "arguments": {}},
        ]
        running.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        running.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        for number, call in enumerate(calls, 2):
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}
            running.stdin.write(json.dumps(message).encode() + b"\n")
        running.stdin.flush()
        assert running.stdout is not None
        answered: set[int] = set()
        while answered != {1, 2, 3, 4, 5}:
            answered.add(json.loads(running.stdout.readline()).get("id"))
        _, err = running.communicate(timeout=PATIENCE)
        assert b"zanzibar" not in err
        assert not any(b"zanzibar" in ring for ring in queue.lrange(lua.BELL, 0, -1))
