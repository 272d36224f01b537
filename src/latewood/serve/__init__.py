"""The service: `latewood serve`. HTTP for rerankers' clients, for searches, and a page that shows why.

`Service` holds models and collections, `create_app` puts HTTP around it, `listen` runs it as a process.
Needs the extra `serve`.
"""

from __future__ import annotations

from latewood.errors import MissingExtra

try:
    import fastapi  # noqa: F401 - asked for here, so that what is missing is said in one line
    import jinja2  # noqa: F401
    import prometheus_client  # noqa: F401
    import python_multipart  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise MissingExtra("the service", error.name or "fastapi", "serve") from None

from latewood.serve.app import create_app, listen
from latewood.serve.service import Service
from latewood.serve.settings import ApiKey, Limits, Settings, read_keys

__all__ = ["ApiKey", "Limits", "Service", "Settings", "create_app", "listen", "read_keys"]
