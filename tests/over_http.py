"""A service of ours over real HTTP, in this process."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager


@contextmanager
def over_http(service):
    """Its address, as long as it is needed."""
    import uvicorn

    from latewood.serve import create_app

    running = uvicorn.Server(uvicorn.Config(create_app(service), port=0, log_level="warning", lifespan="on"))
    socket = running.config.bind_socket()
    thread = threading.Thread(target=running.run, args=([socket],), daemon=True)
    thread.start()
    while not running.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(30)
