"""A stand-in for paid models: a real HTTP server with scripted answers, since no real one can be had in tests.

It speaks OpenAI's embeddings API, rerank as Cohere, Jina, Voyage and text-embeddings-inference do, and chat
completions. A vector is a bag of words, hashed; a score is the share of the question's words in the passage: enough for
the right passage to win. The chat model quotes the sentence that shares most words with the question, and judges by
looking whether a sentence is in a text (`scripted_model.py`). What it should do otherwise is put into its script, one
entry for each request that comes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from scripted_model import ScriptedModel

DIM = 64


@dataclass
class Say:
    """One answer instead of the usual one.

    `body` is JSON, or text as it is; None for the usual body, which `change` may alter. `cut` bytes of it are sent
    before the connection breaks. `wait` seconds go by first.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    change: Callable[[Any], Any] | None = None
    cut: int | None = None
    wait: float = 0.0


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: Any


def words(text):
    return re.findall(r"\w+", text.lower())


def vector(text, dim=DIM):
    found = np.full(dim, 1e-3, np.float32)
    for word in words(text):
        found[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % dim] += 1
    return found / np.linalg.norm(found)


def overlap(query, text):
    asked = set(words(query))
    return len(asked & set(words(text))) / max(1, len(asked))


class StandIn:
    """The server. `url` is its address; `asked` are the requests that came, `script` the answers to the next ones."""

    def __init__(self):
        self.asked: list[Asked] = []
        self.script: list[Say] = []
        self.key = ""
        self.most = 32  # passages that the TEI dialect takes in one request
        self.takes_base64 = True
        self.usage = True
        self.at_once = 0
        self.most_at_once = 0
        self.model = ScriptedModel()
        self.answers: dict[str, Callable[[Any], Any]] = {
            "/v1/chat/completions": self.model.completion,
            "/v1/embeddings": self.embeddings,
            "/v2/rerank": self.cohere,
            "/v1/rerank": self.jina_or_voyage,
            "/rerank": self.tei,
        }
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    # -- what it says ----------------------------------------------------------------------------------------------

    def embeddings(self, body):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not all(texts):
            return 400, {"error": {"message": "input cannot be an empty string", "type": "invalid_request_error"}}
        if body.get("encoding_format") == "base64" and not self.takes_base64:
            return 422, {"detail": "encoding_format: expected 'float'"}
        rows = [vector(text, body.get("dimensions", DIM)) for text in texts]
        if body.get("encoding_format") == "base64":
            shown = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
        else:
            shown = [row.tolist() for row in rows]
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(shown)]
        answer = {"object": "list", "data": data, "model": body["model"]}
        if self.usage:
            tokens = sum(len(words(text)) for text in texts)
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return 200, answer

    @staticmethod
    def ranked(query, texts):
        scores = [(i, overlap(query, text)) for i, text in enumerate(texts)]
        return sorted(scores, key=lambda pair: (-pair[1], pair[0]))

    def cohere(self, body):
        if not body.get("model"):
            return 400, {"message": "model is required"}
        ranked = self.ranked(body["query"], body["documents"])[: body.get("top_n")]
        results = [{"index": i, "relevance_score": score} for i, score in ranked]
        return 200, {"id": "x", "results": results, "meta": {"billed_units": {"search_units": 1}}}

    def jina_or_voyage(self, body):
        if not body.get("model"):
            return 422, {"detail": [{"loc": ["body", "model"], "msg": "field required"}]}
        key, limit = ("data", "top_k") if "top_k" in body else ("results", "top_n")
        ranked = self.ranked(body["query"], body["documents"])[: body.get(limit)]
        results = [{"index": i, "relevance_score": score} for i, score in ranked]
        return 200, {"model": body["model"], key: results, "usage": {"total_tokens": 7}}

    def tei(self, body):
        if len(body["texts"]) > self.most:
            message = f"batch size {len(body['texts'])} > maximum allowed batch size {self.most}"
            return 413, {"error": message, "error_type": "Validation"}
        return 200, [{"index": i, "score": 10 * score - 5} for i, score in self.ranked(body["query"], body["texts"])]

    # -- how it says it --------------------------------------------------------------------------------------------

    def answer(self, path, headers, body):
        """(Say, status, body) for a request."""
        with self._lock:
            self.asked.append(Asked(path, headers, body))
            said = self.script.pop(0) if self.script else Say()
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            given = headers.get("authorization", "")
            return Say(), 401, {"error": {"message": f"Incorrect API key provided: {given[7:]}", "code": "invalid"}}
        if said.body is not None or said.status != 200:
            return said, said.status, {"error": "scripted"} if said.body is None else said.body
        if path not in self.answers:
            return said, 404, {"error": {"message": f"no route {path}"}}
        status, usual = self.answers[path](body)
        return said, status, said.change(usual) if said.change else usual

    def _handler(self):
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                with stand_in._lock:
                    stand_in.at_once += 1
                    stand_in.most_at_once = max(stand_in.most_at_once, stand_in.at_once)
                try:
                    self.say()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the caller has given up waiting
                finally:
                    with stand_in._lock:
                        stand_in.at_once -= 1

            def say(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {key.lower(): value for key, value in self.headers.items()}
                said, status, value = stand_in.answer(self.path.partition("?")[0], headers, body)
                time.sleep(said.wait)
                if hasattr(value, "__next__"):
                    self.stream(value, said)
                    return
                content = (value if isinstance(value, str) else json.dumps(value)).encode()
                self.send_response(status)
                kind = "text/html" if isinstance(value, str) else "application/json"
                for name, text in {"Content-Type": kind, "Content-Length": str(len(content)), **said.headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(content if said.cut is None else content[: said.cut])
                self.close_connection = said.cut is not None

            def stream(self, pieces, said):
                """Server-sent events; `cut` of them before the connection breaks."""
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for number, piece in enumerate(pieces):
                    if said.cut is not None and number >= said.cut:
                        self.close_connection = True
                        return
                    content = f"data: {piece}\n\n".encode()
                    self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_):
                pass

        return Handler
