"""A server of the OpenAI chat protocol for tests: a process of its own on loopback that misbehaves as it is told. Standard library only.

    python tests/language/endpoint_server.py [--port 0]

Prints its port. `POST /behave` sets the behaviour (JSON): `rate` (share of the calls that fail, by a random number of seed `seed`),
`faults` (which), `latency` seconds, `slow` seconds, `key` (the API key it wants), `after` (Retry-After), `location` (where `moved` points),
`refuse` (a prompt that holds this text is refused), `down_after` (answers after which it hangs up on everybody).
`GET /stats` counts.
The answer to a prompt is "answer to <last message>".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random

DEFAULTS = {"rate": 0.0, "faults": [], "latency": 0.0, "slow": 1.0, "seed": 0, "key": None, "after": None, "text": None, "cached": 0}
DEFAULTS |= {"refuse": None, "down_after": None}
DEFAULTS["location"] = "http://127.0.0.1:1/v1/chat/completions"


class Server:
    def __init__(self) -> None:
        self.behave(DEFAULTS)

    def behave(self, values: dict) -> None:
        self.behaviour = {**DEFAULTS, **values}
        self.random = random.Random(self.behaviour["seed"])
        self.stats = {"calls": 0, "paid": 0, "faults": {}, "most_at_once": 0, "paid_prompts": {}, "headers": [], "bodies": []}
        self.at_once = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path == "/behave":
            self.behave(json.loads(body))
            return await send(writer, 200, {"ok": True})
        if path == "/stats":
            return await send(writer, 200, self.stats)
        if path != "/v1/chat/completions" or method != "POST":
            return await send(writer, 404, {"error": {"message": f"no route {path}"}})
        self.stats["calls"] += 1
        self.at_once += 1
        self.stats["most_at_once"] = max(self.stats["most_at_once"], self.at_once)
        try:
            return await self.chat(json.loads(body), headers, writer)
        finally:
            self.at_once -= 1

    async def chat(self, body: dict, headers: dict, writer: asyncio.StreamWriter) -> bool:
        behaviour = self.behaviour
        self.stats["headers"] = [*self.stats["headers"], headers][-3:]
        self.stats["bodies"] = [*self.stats["bodies"], body][-3:]
        await asyncio.sleep(behaviour["latency"])
        if behaviour["key"] and headers.get("authorization", "") != f"bearer {behaviour['key']}".lower():
            given = headers.get("authorization", "nothing").removeprefix("bearer ")
            return await send(writer, 401, {"error": {"message": f"Incorrect API key provided: {given}", "code": "invalid_api_key"}})
        fault = None
        if behaviour["faults"] and self.random.random() < behaviour["rate"]:
            fault = self.random.choice(behaviour["faults"])
            self.stats["faults"][fault] = self.stats["faults"].get(fault, 0) + 1
        question = body["messages"][-1]["content"]
        if behaviour["down_after"] is not None and self.stats["paid"] >= behaviour["down_after"]:
            return False
        if behaviour["refuse"] is not None and behaviour["refuse"] in question:
            return await send(writer, 400, {"error": {"message": f"this server does not speak about {behaviour['refuse']}"}})
        text = behaviour["text"] or f"answer to {question}"
        if fault is not None and fault.startswith("echo"):
            return await echo(fault, headers.get("authorization", "").removeprefix("bearer "), writer)
        if fault is not None and fault != "cut":
            return await self.fail(fault, body, text, writer)
        if fault is None:
            self.stats["paid"] += 1
            self.stats["paid_prompts"][question] = self.stats["paid_prompts"].get(question, 0) + 1
        if body.get("stream"):
            return await stream(writer, body["model"], text, cut=fault == "cut")
        if fault == "cut":
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"choices": [')
            await writer.drain()
            return False
        return await send(writer, 200, document(body["model"], text, cached=behaviour["cached"]))

    async def fail(self, fault: str, body: dict, text: str, writer: asyncio.StreamWriter) -> bool:
        extra = "" if self.behaviour["after"] is None else f"Retry-After: {self.behaviour['after']}\r\n"
        if fault == "429":
            return await send(writer, 429, {"error": {"message": "Rate limit reached"}}, extra=extra)
        if fault == "500":
            return await send(writer, 500, {"error": {"message": "The server had an error"}})
        if fault == "no-money":
            return await send(writer, 429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
        if fault == "400":
            return await send(writer, 400, {"error": {"message": "maximum context length is 10 tokens"}})
        if fault == "moved":
            return await send(writer, 307, {}, extra=f"Location: {self.behaviour['location']}\r\n")
        if fault == "slow":
            await asyncio.sleep(self.behaviour["slow"])
            return await send(writer, 200, document(body["model"], text))
        if fault == "wrong-model":
            return await send(writer, 200, document("some-other-model", text))
        if fault == "malformed":
            return await send_raw(writer, 200, b'{"choices": [{"message": {"content": "half of', "")
        if fault == "empty":
            return await send(writer, 200, {"choices": []})
        if fault == "hang-up":
            return False
        raise ValueError(fault)


async def echo(fault: str, key: str, writer: asyncio.StreamWriter) -> bool:
    """Every way in which a careless server repeats the key that it was sent."""
    if fault == "echo-400":
        return await send(writer, 400, {"error": {"message": f"cannot serve {key}"}})
    if fault == "echo-long-400":
        return await send(writer, 400, {"error": {"message": "x" * 285 + key}})
    if fault == "echo-text":
        return await send_raw(writer, 200, f"hello {key}".encode(), "")
    if fault == "echo-late":
        return await send_raw(writer, 200, f"{'hello ' * 7}{key}".encode(), "")
    if fault == "echo-model":
        return await send(writer, 200, document(key, "text"))
    if fault == "echo-header":
        writer.write(f"HTTP/1.1 200 OK\r\n{key} {key}\r\n\r\n".encode())
        await writer.drain()
        return False
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    await chunk(writer, {"error": {"message": f"cannot serve {key}"}})
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def document(model: str, text: str, *, cached: int = 0) -> dict:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": cached}}
    return {"model": model, "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], "usage": usage}


async def stream(writer: asyncio.StreamWriter, model: str, text: str, *, cut: bool) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    words = text.split(" ")
    for index, word in enumerate(words[: 1 if cut else None]):
        await chunk(writer, {"model": model, "choices": [{"delta": {"content": word if index == 0 else f" {word}"}}]})
    if cut:
        await writer.drain()
        return False
    await chunk(writer, {"model": model, "choices": [{"delta": {}, "finish_reason": "stop"}]})
    await chunk(writer, {"model": model, "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}})
    data = b"data: [DONE]\n\n"
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n")
    await writer.drain()
    return True


async def chunk(writer: asyncio.StreamWriter, value: dict) -> None:
    data = f"data: {json.dumps(value)}\n\n".encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def send(writer: asyncio.StreamWriter, status: int, value: object, *, extra: str = "") -> bool:
    return await send_raw(writer, status, json.dumps(value).encode(), extra)


async def send_raw(writer: asyncio.StreamWriter, status: int, data: bytes, extra: str) -> bool:
    writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{extra}\r\n".encode() + data)
    await writer.drain()
    return True


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    server = await asyncio.start_server(Server().serve, "127.0.0.1", parser.parse_args().port)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
