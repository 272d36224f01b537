"""How an endpoint is called: what is tried again, how long is waited, what is said when it doesn't help."""

from __future__ import annotations

import socket
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from latewood.endpoints import Account, Caller, Limits, TooLarge, accounting, address_of
from latewood.endpoints.pacing import Pacer
from latewood.endpoints.refusals import retry_after, said_by
from latewood.errors import BudgetError, EndpointError, MissingExtra, UsageError
from stand_in import Say

BODY = {"model": "m", "input": ["one"]}


class Clock:
    """Time that passes only in waits."""

    def __init__(self):
        self.now = 0.0
        self.waits = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def caller(server, limits, key=""):
    address = address_of(server.url + "/v1", ())
    return Caller(type(address)(address.url, key, ("OPENAI_API_KEY",)), limits)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_later_is_sent_again(server, quick, status):
    server.script = [Say(status), Say(status)]
    account = Account()
    answer = caller(server, quick).post("/embeddings", BODY, tokens=1, account=account)
    assert len(answer["data"]) == 1
    assert len(server.asked) == 3
    assert (account.requests, account.retries, account.tokens) == (3, 2, 1)
    assert server.asked[0] == server.asked[2]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "check the model's name and the options"),
        (401, "set OPENAI_API_KEY to the key it wants"),
        (403, "set OPENAI_API_KEY"),
        (404, "check the address and the model's name"),
        (422, "check the model's name"),
        (424, "check the model's name"),
        (307, "give the address that it points to"),
    ],
)
def test_a_last_word_is_not_asked_for_again(server, quick, status, advice):
    server.script = [Say(status, {"error": {"message": "so it is", "type": "t"}}, {"Location": "http://127.0.0.1:9/"})]
    with pytest.raises(EndpointError, match=f"answered {status}: 'so it is \\(t\\)'.*{advice}"):
        caller(server, quick).post("/embeddings", BODY, tokens=1)
    assert len(server.asked) == 1


def test_too_large_is_an_error_of_its_own(server, quick):
    for said in (
        Say(413, {"error": "batch size 64 > maximum allowed batch size 32", "error_type": "Validation"}),
        Say(400, {"error": {"message": "This model's maximum context length is 8192 tokens", "code": None}}),
    ):
        server.script = [said]
        with pytest.raises(TooLarge, match="fewer or shorter texts"):
            caller(server, quick).post("/embeddings", BODY, tokens=1)


def test_an_empty_account_is_not_waited_for(server, quick):
    server.script = [Say(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})]
    with pytest.raises(EndpointError, match="no credit left"):
        caller(server, quick).post("/embeddings", BODY, tokens=1)
    assert len(server.asked) == 1


def test_it_gives_up_in_the_end_and_says_why(server, quick):
    server.script = [Say(500, {"detail": "no GPU"})] * 9
    with pytest.raises(EndpointError, match=r"/v1/embeddings answered 500: 'no GPU'; tried 6 times"):
        caller(server, quick).post("/embeddings", BODY, tokens=1)
    assert len(server.asked) == 6


def test_a_retry_after_is_waited_out_by_everyone(server):
    clock = Clock()
    limits = Limits(first_wait=0.001)
    calls = caller(server, limits)
    calls._pacer = Pacer(limits, clock, clock.sleep)
    server.script = [Say(429, headers={"Retry-After": "7"})]
    calls.post("/embeddings", BODY, tokens=1)
    assert clock.now == pytest.approx(7.0)
    # Another request that comes while the first waits is held back as well.
    other = Pacer(limits, clock, clock.sleep)
    other.hold(0.0, 5.0)
    other.wait(1)
    assert clock.now == pytest.approx(12.0)


def test_a_retry_after_of_an_hour_is_not_waited_for(server, quick):
    server.script = [Say(429, headers={"Retry-After": "3600"})]
    with pytest.raises(EndpointError, match=r"asks to wait 3,600 s, longer than the 120 s"):
        caller(server, quick).post("/embeddings", BODY, tokens=1)


def test_retry_after_in_every_form():
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert 28 <= retry_after({"retry-after": soon}) <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None


def test_backoff_doubles_its_ceiling_and_is_jittered():
    calls = Caller(address_of("http://127.0.0.1:9"), Limits(first_wait=1.0, longest_wait=10.0))
    calls._random.seed(1)
    drawn = {attempt: [calls._backoff(attempt) for _ in range(200)] for attempt in (1, 2, 3, 4, 5)}
    for attempt, ceiling in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0)):
        assert 0 <= min(drawn[attempt]) < 0.1 * ceiling
        assert 0.9 * ceiling < max(drawn[attempt]) <= ceiling


def test_rates_space_requests_evenly():
    clock = Clock()
    pacer = Pacer(Limits(requests_per_minute=30), clock, clock.sleep)
    moments = []
    for _ in range(4):
        pacer.wait(10)
        moments.append(clock.now)
    assert moments == pytest.approx([0.0, 2.0, 4.0, 6.0])
    clock = Clock()
    pacer = Pacer(Limits(requests_per_minute=600, tokens_per_minute=600), clock, clock.sleep)
    for tokens in (50, 1, 1):
        pacer.wait(tokens)
    assert clock.now == pytest.approx(5.1)  # 50 tokens take 5 s, one takes 0.1 s, as its request does


def test_a_timeout_and_a_dead_port_are_tried_again(server):
    short = Limits(first_wait=0.001, timeout=0.2, attempts=2)
    server.script = [Say(wait=1.0)]
    assert caller(server, short).post("/embeddings", BODY, tokens=1)["data"]
    server.script = [Say(wait=1.0), Say(wait=1.0)]
    with pytest.raises(EndpointError, match=r"gave no answer within 0.2 s \(ReadTimeout\); tried 2 times"):
        caller(server, short).post("/embeddings", BODY, tokens=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=r"can't be reached .*; tried 2 times: see whether the endpoint is up"):
        Caller(address_of(f"http://127.0.0.1:{port}"), short).post("/x", {}, tokens=1)


def test_an_answer_that_breaks_off_is_asked_for_again(server, quick):
    server.script = [Say(cut=20)]
    assert caller(server, quick).post("/embeddings", BODY, tokens=1)["data"]
    assert len(server.asked) == 2


def test_an_answer_that_is_not_json_is_quoted(server, quick):
    server.script = [Say(body="<html>Welcome to the portal</html>")]
    with pytest.raises(EndpointError, match=r"answered 200 with text/html that is not JSON \('<html>Welcome"):
        caller(server, quick).post("/embeddings", BODY, tokens=1)


def test_the_key_is_sent_and_never_shown(server, quick, monkeypatch):
    server.key = "sk-right"
    assert caller(server, quick, "sk-right").post("/embeddings", BODY, tokens=1)
    with pytest.raises(EndpointError, match="check the key in OPENAI_API_KEY") as wrong:
        caller(server, quick, "sk-wrong-and-secret").post("/embeddings", BODY, tokens=1)
    assert "Incorrect API key provided: …" in str(wrong.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    address = address_of("https://api.example.com/v1/", ["OPENAI_API_KEY"])
    assert (address.key, address.url) == ("sk-hidden", "https://api.example.com/v1")
    assert "sk-hidden" not in repr(address)


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "ftp://a/b", "http://", "http://a:x/", " http://a", "http://a/#x"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match="expected an address such as"):
        address_of(url)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="user name or password") as refused:
        address_of("https://me:secret@example.com/v1", ["A_KEY"])
    assert "secret" not in str(refused.value)
    assert "A_KEY" in str(refused.value)


def test_a_key_with_a_line_end_is_refused_before_it_is_sent(monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-1\n")
    with pytest.raises(UsageError, match="A_KEY: the key has spaces"):
        address_of("https://example.com", ["A_KEY"])


def test_a_query_in_an_address_stays_at_the_end_and_out_of_messages():
    address = address_of("https://example.com/openai/?api-version=7")
    assert address.at("/embeddings") == "https://example.com/openai/embeddings?api-version=7"
    assert address.shown == "https://example.com/openai"


def test_the_limit_stops_before_the_request_that_would_pass_it(server, quick):
    calls = caller(server, quick)
    with accounting(limit=25) as account:
        calls.post("/embeddings", BODY, tokens=10)
        calls.post("/embeddings", BODY, tokens=10)
        with pytest.raises(BudgetError, match=r"stopped at 20 tokens: the next request has about 10.*limit is 25"):
            calls.post("/embeddings", BODY, tokens=10)
    assert len(server.asked) == account.requests == 2


def test_many_at_once_in_order_and_no_more_than_allowed(server):
    calls = caller(server, Limits(concurrency=3))
    server.script = [Say(wait=0.05 * (i % 3)) for i in range(9)]

    def ask(item, stop):
        return calls.post("/embeddings", {"model": "m", "input": ["a"] * item}, tokens=1, stop=stop)

    assert [len(answer["data"]) for answer in calls.each(ask, range(1, 10))] == list(range(1, 10))
    assert 2 <= server.most_at_once <= 3


def test_the_first_error_ends_the_others(server):
    calls = caller(server, Limits(concurrency=2, first_wait=60.0))
    done = threading.Event()

    def ask(item, stop):
        if item == 0:
            server.script = [Say(500)]
            calls.post("/embeddings", BODY, tokens=1, stop=stop)  # would wait for a minute
        done.set()
        raise EndpointError("the second one")

    server.script = [Say(500)]
    with pytest.raises(EndpointError):
        calls.each(ask, list(range(50)))
    assert done.is_set()
    assert len(server.asked) < 5


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "m", "type": "t", "code": "c"}}', "m (c)"),
        ('{"message": "m"}', "m"),
        ('{"detail": "d"}', "d"),
        ('{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        ('{"error": "Batch is empty", "error_type": "empty"}', "Batch is empty"),
        ("plain\n text", "plain text"),
        ("", ""),
    ],
)
def test_errors_in_every_shape(body, said):
    assert said_by(body) == said


def test_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LATEWOOD_HTTP_CONCURRENCY", "2")
    monkeypatch.setenv("LATEWOOD_HTTP_RPM", "90.5")
    assert Limits.from_environment() == Limits(concurrency=2, requests_per_minute=90.5)
    for text in ("many", "0", "-1"):
        monkeypatch.setenv("LATEWOOD_HTTP_CONCURRENCY", text)
        with pytest.raises(UsageError, match="LATEWOOD_HTTP_CONCURRENCY"):
            Limits.from_environment()


def test_a_missing_httpx_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"'openai:m' needs httpx.*latewood\[http\]"):
        Caller(address_of("http://127.0.0.1:9"), need="'openai:m'")
