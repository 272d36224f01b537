"""A stand-in for a Qdrant server, which can't be had in tests: real HTTP in front of the Python client's local mode.

What the client sends is read with the client's own models, so a request that isn't Qdrant's is an error here as there.
What a server does otherwise (HNSW, quantisation, shards) it doesn't do. `version` is what it says it is; `script` has
one entry for each of the next requests that shall fail: a status, or "cut" for a connection that breaks.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pydantic_core import to_jsonable_python


class StandIn:
    def __init__(self, version="1.19.0"):
        from qdrant_client import QdrantClient, models

        self.version = version
        self.script = []
        self.asked = []
        self.models = models
        self.client = QdrantClient(":memory:")
        self.mutex = threading.Lock()

    def answer(self, method, path, body):
        """Status and result of a request."""
        client, models = self.client, self.models
        path = path.partition("?")[0]
        if path == "/":
            return 200, None
        if path == "/collections":
            return 200, client.get_collections()
        if path == "/aliases":
            return 200, client.get_aliases()
        if path == "/collections/aliases":
            asked = models.ChangeAliasesOperation(**body)
            return 200, client.update_collection_aliases(asked.actions)
        name, rest = re.fullmatch(r"/collections/([^/]+)(/.*)?", path).groups()
        if rest == "/exists":
            return 200, {"exists": client.collection_exists(name)}
        if rest is None and method == "PUT":
            asked = models.CreateCollection(**body)
            return 200, client.create_collection(name, vectors_config=asked.vectors, metadata=asked.metadata)
        if rest is None and method == "DELETE":
            return 200, client.delete_collection(name)
        if not client.collection_exists(name):
            return 404, None
        if rest is None:
            return 200, client.get_collection(name)
        return 200, self.points(name, method, rest, body)

    def points(self, name, method, rest, body):
        client, models = self.client, self.models
        if rest == "/points" and method == "PUT":
            return client.upsert(name, models.PointsList(**body).points)
        if rest == "/points":
            asked = models.PointRequest(**body)
            return client.retrieve(name, asked.ids, with_payload=asked.with_payload, with_vectors=asked.with_vector)
        if rest == "/points/delete":
            return client.delete(name, models.PointIdsList(**body))
        if rest == "/points/count":
            return client.count(name, models.CountRequest(**body).filter)
        if rest == "/points/scroll":
            asked = models.ScrollRequest(**body)
            given = {"with_payload": asked.with_payload, "with_vectors": asked.with_vector}
            found, after = client.scroll(name, asked.filter, limit=asked.limit, offset=asked.offset, **given)
            return {"points": found, "next_page_offset": after}
        assert rest == "/points/query", rest
        asked = models.QueryRequest(**body)
        return client.query_points(
            name,
            query=asked.query,
            using=asked.using,
            prefetch=asked.prefetch,
            query_filter=asked.filter,
            limit=asked.limit,
            with_payload=asked.with_payload,
        )


@contextmanager
def stand_in(version="1.19.0"):
    """The server, and the address of a collection on it."""
    server = StandIn(version)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self):
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            with server.mutex:
                server.asked.append((self.command, self.path))
                trouble = server.script.pop(0) if server.script else None
                if trouble == "cut":
                    self.close_connection = True
                    self.connection.close()
                    return
                status, result = (trouble, None) if trouble else server.answer(self.command, self.path, body)
            told = {"title": "qdrant - vector search engine", "version": server.version} if self.path == "/" else {}
            error = {} if status == 200 else {"status": {"error": f"scripted: {status}"}}
            text = json.dumps({"status": "ok", "time": 0.0, **told, "result": to_jsonable_python(result), **error})
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = do_DELETE = reply  # noqa: N815

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"qdrant://127.0.0.1:{running.server_port}/docs"
    finally:
        running.shutdown()
        running.server_close()
        thread.join(10)
        server.client.close()
