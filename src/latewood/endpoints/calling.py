"""One way of calling an endpoint: paced, retried, counted, and with an error that says what to do.

Sent again: what could not be reached, timed out, or answered 408, 425, 429, 500, 502, 503, 504 or 529. Anything else
is the endpoint's last word. A Retry-After holds back every thread that uses the same caller.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from latewood.endpoints.account import Account, current_account
from latewood.endpoints.address import Address
from latewood.endpoints.limits import Limits
from latewood.endpoints.pacing import Pacer
from latewood.endpoints.refusals import RETRIED, TooLarge, refusal, retry_after
from latewood.errors import EndpointError, MissingExtra

if TYPE_CHECKING:
    import httpx

__all__ = ["Caller", "TooLarge"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Caller:
    """Sends JSON to one endpoint. Threads may share it.

    Args:
        address: where, and with which key.
        limits: how fast and how stubbornly; None for the environment's.
        need: what needs the endpoint, for the message when httpx isn't installed.

    Raises:
        MissingExtra: httpx isn't installed.
    """

    def __init__(self, address: Address, limits: Limits | None = None, need: str = "an endpoint") -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra(need, "httpx", "http") from error
        self.address = address
        self.limits = limits or Limits.from_environment()
        self._httpx = httpx
        self._pacer = Pacer(self.limits)
        self._random = random.Random()
        headers = {"Accept": "application/json", "User-Agent": "latewood"}
        if address.key:
            headers["Authorization"] = f"Bearer {address.key}"
        self._client = httpx.Client(
            headers=headers,
            timeout=self.limits.timeout,
            follow_redirects=False,  # a key goes where it was meant to go
            limits=httpx.Limits(max_connections=self.limits.concurrency + 1),
        )

    def close(self) -> None:
        """Give connections back. Closing twice is fine."""
        self._client.close()

    # -- one request -----------------------------------------------------------------------------------------------

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        tokens: int,
        account: Account | None = None,
        stop: threading.Event | None = None,
    ) -> Any:
        """Send one request and read its answer as JSON.

        Args:
            path: below the address; "" for the address itself.
            body: JSON object.
            tokens: what it has by our estimate, for the rate and the account.
            account: what to count in; None for that of the run in progress.
            stop: set by whoever wants no more of it.

        Raises:
            EndpointError: refused, not reached, or answered with something that isn't JSON.
            TooLarge: refused as too large (413); a smaller one may pass.
            BudgetError: the account's limit.
        """
        with self._answered(path, body, tokens, account, stop, stream=False) as response:
            shown = self._shown(path)
            try:
                value = response.json()
            except (ValueError, UnicodeError):
                kind = response.headers.get("content-type", "no content type")
                start = self._brief(response.text)
                raise EndpointError(
                    f"{shown} answered {response.status_code} with {kind} that is not JSON ({start!r}): "
                    f"expected the API's answer; check the address"
                ) from None
            return value

    @contextmanager
    def stream(
        self, path: str, body: Mapping[str, Any], *, tokens: int, account: Account | None = None
    ) -> Iterator[Iterator[str]]:
        """Send one request and read its answer line by line. Until the answer begins it is retried, afterwards never.

        Yields:
            Its lines. A connection that breaks among them is an EndpointError.
        """
        with self._answered(path, body, tokens, account, None, stream=True) as response:
            yield self._lines(path, response)

    def _lines(self, path: str, response: httpx.Response) -> Iterator[str]:
        try:
            yield from response.iter_lines()
        except self._httpx.HTTPError as error:
            raise EndpointError(
                f"{self._shown(path)} broke off in the middle of its answer ({_reason(error)}): ask again"
            ) from error

    @contextmanager
    def _answered(
        self,
        path: str,
        body: Mapping[str, Any],
        tokens: int,
        account: Account | None,
        stop: threading.Event | None,
        *,
        stream: bool,
    ) -> Iterator[httpx.Response]:
        """The first answer that is neither an error nor worth another try."""
        account = account or current_account()
        account.reserve(tokens)
        attempt = 0
        while True:
            attempt += 1
            self._pacer.wait(tokens, stop)
            response, trouble, asked_to_wait = self._send(path, body, stream)
            if response is not None:
                try:
                    yield response
                finally:
                    response.close()
                return
            if attempt >= self.limits.attempts:
                times = f"{attempt} times" if attempt > 1 else "once"
                raise EndpointError(f"{trouble}; tried {times}: see whether the endpoint is up, or try again later")
            if asked_to_wait is not None and asked_to_wait > self.limits.longest_wait:
                raise EndpointError(
                    f"{trouble}, and asks to wait {asked_to_wait:,.0f} s, longer than the "
                    f"{self.limits.longest_wait:,.0f} s that we do: try again later"
                )
            self._pacer.hold(self._backoff(attempt), asked_to_wait, stop)
            account.retried()

    def _send(
        self, path: str, body: Mapping[str, Any], stream: bool
    ) -> tuple[httpx.Response | None, str, float | None]:
        """An answer, or what went wrong and for how long we are asked to wait. The endpoint's last word is raised."""
        content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json"}
        shown = self._shown(path)
        request = self._client.build_request("POST", self.address.at(path), content=content, headers=headers)
        try:
            response = self._client.send(request, stream=stream)
        except self._httpx.TimeoutException as error:
            return None, f"{shown} gave no answer within {self.limits.timeout:g} s ({type(error).__name__})", None
        except self._httpx.TransportError as error:
            return None, f"{shown} can't be reached ({_reason(error)})", None
        if response.is_success:
            return response, "", None
        try:
            response.read()
            said = response.text
        except self._httpx.HTTPError:
            said = ""
        finally:
            response.close()
        refused = refusal(response.status_code, said, shown, self.address)
        if response.status_code in RETRIED and not refused.final:
            return None, refused.brief, retry_after(response.headers)
        raise refused

    def _backoff(self, attempt: int) -> float:
        ceiling = min(self.limits.longest_wait, self.limits.first_wait * 2.0 ** (attempt - 1))
        return self._random.uniform(0, ceiling)

    def _shown(self, path: str) -> str:
        return self.address.shown + path

    def _brief(self, text: str) -> str:
        return self.address.without_key(" ".join(text.split()))[:120]

    # -- several requests ------------------------------------------------------------------------------------------

    def each(self, ask: Callable[[Item, threading.Event], Result], items: Sequence[Item]) -> list[Result]:
        """`ask(item, stop)` of every item, `limits.concurrency` at once; the results in the order of the items.

        The first error ends it: what is under way is finished or stopped at its next wait, the rest isn't begun.
        """
        stop = threading.Event()
        if len(items) == 1 or self.limits.concurrency == 1:
            return [ask(item, stop) for item in items]
        pool = ThreadPoolExecutor(min(self.limits.concurrency, max(1, len(items))))
        try:
            futures = [pool.submit(ask, item, stop) for item in items]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((future for future in futures if future in done and future.exception()), None)
            if failed is not None:
                failed.result()
            return [future.result() for future in futures]
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
