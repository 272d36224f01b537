"""Chat models behind an OpenAI-compatible endpoint: one message in, a text or JSON out, whole or as it is written."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from latewood.endpoints.account import Account, current_account
from latewood.endpoints.address import address_of
from latewood.endpoints.cache import Cache, default_cache, key_of
from latewood.endpoints.calling import Caller
from latewood.endpoints.embeddings import BASE_URL, DEFAULT_URL, KEY
from latewood.endpoints.estimate import tokens_in
from latewood.endpoints.limits import Limits
from latewood.endpoints.refusals import Refused, said_by
from latewood.errors import EndpointError, UnavailableError, UsageError

__all__ = ["ChatModel", "Prompt", "Reply", "load_chat"]

STOP, LENGTH, FILTERED = "stop", "length", "content_filter"
"""Why a reply ends: it is done, it is cut at the limit of tokens, the service held it back."""

MODEL = "LATEWOOD_LLM"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent.

    Args:
        system: what to do.
        user: what to do it with; data that others wrote belongs here, as JSON.
        most_tokens: that the reply may have.
        as_json: the reply is to be a JSON object.
    """

    system: str
    user: str
    most_tokens: int
    as_json: bool = False

    @property
    def tokens(self) -> int:
        """What it has, by our estimate."""
        return tokens_in(self.system) + tokens_in(self.user)

    @property
    def messages(self) -> list[dict[str, str]]:
        """As the API takes it."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Args:
        text: of the reply; "" where the model refused.
        finish: "stop", "length" (cut), "content_filter", or what else the endpoint says.
        refusal: the model's own words where it refused; "" where it didn't.
        cached: it came from the disk.
    """

    text: str
    finish: str
    refusal: str = ""
    cached: bool = False

    @property
    def whole(self) -> bool:
        """It is a text that was neither cut, nor held back, nor refused."""
        return self.finish == STOP and not self.refusal and bool(self.text.strip())


def load_chat(
    model: str | None,
    *,
    url: str | None = None,
    limits: Limits | None = None,
    cache: Cache | None = None,
    option: str = "--llm",
) -> ChatModel:
    """A chat model. Nothing is sent yet.

    Args:
        model: as the endpoint knows it; None for LATEWOOD_LLM.
        url: the API's base address; None for OPENAI_BASE_URL, else OpenAI's own.
        limits: None for the environment's.
        cache: None for the user's.
        option: what names the model on the command line, for messages.

    Raises:
        UnavailableError: there is no endpoint: neither an address nor a key.
        UsageError: no model.
        MissingExtra: httpx isn't installed.
    """
    model = model or os.environ.get(MODEL)
    if not model:
        raise UsageError(
            f"this needs a chat model: name one by {option} or {MODEL}, "
            f"and its endpoint by {KEY} (OpenAI) or {BASE_URL}"
        )
    base = url or os.environ.get(BASE_URL)
    if not base and not os.environ.get(KEY):
        raise UnavailableError(
            f"'{model}' needs an endpoint, and none is set: give {KEY} for OpenAI, or {BASE_URL} (or {option}-url) for "
            f"another OpenAI-compatible one"
        )
    return ChatModel(model, Caller(address_of(base or DEFAULT_URL, (KEY,)), limits, need="a chat model"), cache)


class ChatModel:
    """A chat model behind an endpoint. `load_chat` makes it. Threads may share it.

    Temperature 0 is asked for, and left out where the model refuses it; JSON mode likewise. Whole replies are kept
    under everything that was sent.

    Args:
        name: as the endpoint knows it.
        caller: how it is reached.
        cache: where replies are kept; None for the user's cache.
    """

    def __init__(self, name: str, caller: Caller, cache: Cache | None = None) -> None:
        self.name = name
        self.caller = caller
        self._cache = cache or default_cache()
        self._limit_key = "max_tokens"
        self._temperature = True
        self._json_mode = True

    @property
    def url(self) -> str:
        """Where it is, without what isn't for showing."""
        return self.caller.address.shown

    def kept(self, prompt: Prompt) -> Reply | None:
        """The reply to this prompt, if it is on the disk."""
        found = self._cache.get(self._key(prompt))
        return None if found is None else replace(Reply(**json.loads(found)), cached=True)

    def complete(
        self,
        prompt: Prompt,
        *,
        usable: Callable[[Reply], bool] | None = None,
        account: Account | None = None,
        stop: threading.Event | None = None,
    ) -> Reply:
        """The whole reply at once.

        Args:
            prompt: what to send.
            usable: whether a whole reply is worth keeping; one that isn't is asked for again the next time.
            account: what to count in; None for that of the run in progress.
            stop: set by whoever wants no more of it.

        Raises:
            EndpointError: it can't be reached, refuses the request, or answers with something else.
            BudgetError: the limit of tokens is reached.
        """
        account = account or current_account()
        kept = self.kept(prompt)
        if kept is not None:
            account.from_cache()
            return kept
        tokens = prompt.tokens + prompt.most_tokens
        answer = self._adapting(
            lambda body: self.caller.post("/chat/completions", body, tokens=tokens, account=account, stop=stop), prompt
        )
        reply = _read(answer, self.url)
        _settle(account, tokens, prompt, reply, answer)
        if reply.whole and (usable is None or usable(reply)):
            self._keep(prompt, reply)
        return reply

    def stream(self, prompt: Prompt, account: Account | None = None) -> Iterator[str | Reply]:
        """The reply piece by piece; the last thing given is the whole of it.

        Raises:
            EndpointError: as for `complete`, or it breaks off on the way.
            BudgetError: the limit of tokens is reached.
        """
        account = account or current_account()
        kept = self.kept(prompt)
        if kept is not None:
            account.from_cache()
            yield kept.text
            yield kept
            return
        tokens = prompt.tokens + prompt.most_tokens
        opened = self._adapting(lambda body: self._open(body | {"stream": True}, tokens, account), prompt)
        reading = _Reading(self.url)
        try:
            for line in opened:
                yield from reading.pieces(line)
        finally:
            opened.close()
        reply = reading.reply()
        _settle(account, tokens, prompt, reply, {})
        if reply.whole:
            self._keep(prompt, reply)
        yield reply

    def _open(self, body: Mapping[str, Any], tokens: int, account: Account) -> Any:
        """The lines of a streamed answer, its first one already there, so that a refusal is raised here."""

        def lines() -> Iterator[str]:
            with self.caller.stream("/chat/completions", body, tokens=tokens, account=account) as found:
                yield ""
                yield from found

        opened = lines()
        next(opened)
        return opened

    def _adapting(self, send: Callable[[dict[str, Any]], Any], prompt: Prompt) -> Any:
        """Send; where the endpoint doesn't know an option, without it, from now on."""
        while True:
            body: dict[str, Any] = {"model": self.name, "messages": prompt.messages}
            body[self._limit_key] = prompt.most_tokens
            if self._temperature:
                body["temperature"] = 0
            if prompt.as_json and self._json_mode:
                body["response_format"] = {"type": "json_object"}
            try:
                return send(body)
            except Refused as error:
                if error.status not in {400, 422} or not self._without(error.said.lower(), body):
                    raise

    def _without(self, said: str, body: Mapping[str, Any]) -> bool:
        """Give up the option that a refusal is about; whether it is about one."""
        if "max_completion_tokens" in said and "max_tokens" in body:
            self._limit_key = "max_completion_tokens"
        elif "temperature" in said and "temperature" in body:
            self._temperature = False
        elif ("response_format" in said or "json" in said) and "response_format" in body:
            self._json_mode = False
        else:
            return False
        return True

    def _key(self, prompt: Prompt) -> bytes:
        return key_of("chat", 1, self.caller.address.url, self.name, asdict(prompt))

    def _keep(self, prompt: Prompt, reply: Reply) -> None:
        self._cache.put(self._key(prompt), json.dumps({"text": reply.text, "finish": reply.finish}).encode())


def _settle(account: Account, reserved: int, prompt: Prompt, reply: Reply, answer: Any) -> None:
    counted = answer.get("usage") if isinstance(answer, dict) else None
    total = counted.get("total_tokens") if isinstance(counted, dict) else None
    guessed = prompt.tokens + (tokens_in(reply.text) if reply.text else 0)
    account.settle(reserved, total if type(total) is int and total >= 0 else guessed)


def _read(answer: Any, shown: str) -> Reply:
    """A chat completion.

    Raises:
        EndpointError: it is something else.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise EndpointError(
            f"{shown}/chat/completions gave {json.dumps(answer)[:120]}: expected a chat completion with one choice; "
            f"check the address"
        ) from None
    return Reply(_text(text), str(finish or STOP), _text(refusal))


def _text(content: Any) -> str:
    """The text of a message: a string, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


class _Reading:
    """Server-sent events of a chat completion, line by line."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._finish = ""
        self._strange: list[str] = []

    def pieces(self, line: str) -> Iterator[str]:
        """What a line adds to the text."""
        kind, _, data = line.partition(":")
        data = data.strip()
        if kind != "data":
            # Comments and event names are passed over; JSON without "data:" is a server that doesn't stream.
            if line.strip() and kind and kind not in {"event", "id", "retry"}:
                self._strange.append(line)
            return
        if data in {"", "[DONE]"}:
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise EndpointError(
                f"{self._shown}/chat/completions streamed {data[:80]!r}: expected JSON in every event"
            ) from None
        if isinstance(event, dict) and event.get("error"):
            raise EndpointError(f"{self._shown}/chat/completions broke off its answer: {said_by(data)!r}; ask again")
        for choice in (event.get("choices") or [])[:1] if isinstance(event, dict) else []:
            delta = choice.get("delta") or {}
            piece = _text(delta.get("content"))
            self._refusal.append(_text(delta.get("refusal")))
            self._finish = choice.get("finish_reason") or self._finish
            if piece:
                self._text.append(piece)
                yield piece

    def reply(self) -> Reply:
        """All of it.

        Raises:
            EndpointError: no event came that belongs to a chat completion.
        """
        if self._strange and not self._text:
            try:
                return _read(json.loads("".join(self._strange)), self._shown)
            except ValueError:
                raise EndpointError(
                    f"{self._shown}/chat/completions answered {self._strange[0][:80]!r}: expected server-sent events"
                ) from None
        # A stream that ends without saying why was cut on the way.
        return Reply("".join(self._text), self._finish or "broken off", "".join(self._refusal))
