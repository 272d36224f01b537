"""Where an endpoint is, and the key for it. Keys come from the environment, and go nowhere but into the request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from latewood.errors import UsageError

__all__ = ["Address", "address_of"]


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's address and its key.

    Args:
        url: http or https, without a slash at the end.
        key: sent as a Bearer token; "" for none. Not in the value's repr.
        key_names: environment variables that the key was looked for in, for messages.
    """

    url: str
    key: str = field(default="", repr=False)
    key_names: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The address without its query, which may hold what isn't for messages."""
        return self.url.partition("?")[0]

    def at(self, path: str) -> str:
        """The address of a path below this one; a query stays at the end."""
        base, mark, query = self.url.partition("?")
        return base + path + mark + query

    def without_key(self, text: str) -> str:
        """A text as it may be shown: some services repeat the key that they refuse."""
        return text.replace(self.key, "…") if self.key else text


def address_of(url: str, key_names: Sequence[str] = ()) -> Address:
    """Check an address and look its key up.

    Args:
        url: as the user gave it.
        key_names: environment variables, the first that is set counts.

    Raises:
        UsageError: not an http or https address, or one with a user name or password in it.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid, parts = False, urlsplit("")
    if not valid or url != url.strip() or parts.fragment:
        raise UsageError(f"endpoint {url!r}: expected an address such as https://api.example.com/v1")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the endpoint at {parts.hostname} has a user name or password in its address, where it would be shown and "
            f"stored: take it out, and give the key by {' or '.join(key_names) or 'an environment variable'}"
        )
    key = next((os.environ[name] for name in key_names if os.environ.get(name)), "")
    if not key.isascii() or any(ord(letter) <= 32 for letter in key):
        name = next(name for name in key_names if os.environ.get(name))
        raise UsageError(f"{name}: the key has spaces, line ends or letters beyond ASCII in it; copy it again")
    base, mark, query = url.partition("?")
    return Address(base.rstrip("/") + mark + query, key, tuple(key_names))
