"""Endpoints that answer slowly, wrongly, with half a batch or not at all: a named error or a complete table, nothing lost."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from fine_tune.data import AuditData
from probes.endpoint_client import EndpointClient, _seconds
from probes.errors import EndpointError, SubjectError
from probes.probe import Context, MemoryJournal
from probes.subject import EndpointSpec, EndpointSubject

CLASSES = ("no", "yes")
TEXTS = [f"text {i}" for i in range(20)]


def score(text: str) -> list[float]:
    share = (sum(text.encode()) % 97) / 97
    return [1 - share, share]


def good(inputs: list[Any]) -> bytes:
    return json.dumps({"scores": [score(text) for text in inputs]}).encode()


class Server:
    """Answers as ``script`` says, one step a request, and then well; a step gives status, headers and body."""

    def __init__(self) -> None:
        self.script: list[Callable[[list[Any]], tuple[int, dict[str, str], bytes]]] = []
        self.asked: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.times: list[float] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(body)
                outer.heads.append({k.lower(): v for k, v in self.headers.items()})
                outer.times.append(time.monotonic())
                inputs = body.get("inputs", body.get("texts"))
                step = outer.script.pop(0) if outer.script else lambda i: (200, {}, good(i))
                status, headers, content = step(inputs)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the one who asked has left

            def log_message(self, *words: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/predict"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def says(self, *answers: tuple[int, Any] | tuple[int, Any, dict[str, str]]) -> None:
        for status, body, *headers in answers:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.script.append(
                lambda _, status=status, content=content, headers=headers: (
                    status,
                    headers[0] if headers else {},
                    content,
                )
            )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def data() -> AuditData:
    frame = pd.DataFrame({"text": TEXTS, "label": ["no", "yes"] * 10})
    return AuditData.from_frame(frame, input="text", label="label", name="rows")


def subject_of(server: Server, data: AuditData, **more: Any) -> EndpointSubject:
    spec = {"url": server.url, "classes": CLASSES, "version": "1", "batch_size": 4, "backoff_s": 0.001, **more}
    return EndpointSubject(EndpointSpec(**spec), data)


def complete(subject: EndpointSubject, journal: MemoryJournal | None = None) -> None:
    rows = subject.predictions(Context(instance="test", journal=journal or MemoryJournal())).to_pylist()
    assert [row["score_yes"] for row in rows] == [score(text)[1] for text in TEXTS]
    assert [row["prediction"] for row in rows] == [CLASSES[score(text)[1] > 0.5] for text in TEXTS]


def test_every_batch_is_asked_once(server: Server, data: AuditData) -> None:
    subject = subject_of(server, data, parameters={"model": "m"})
    complete(subject)
    assert subject.requests == len(server.asked) == 5
    assert {len(body["inputs"]) for body in server.asked} == {4}
    assert all(body["model"] == "m" for body in server.asked)
    assert sorted(t for body in server.asked for t in body["inputs"]) == sorted(TEXTS)
    assert subject.predict(["new", "new"], Context(instance="test")).tolist() == [score("new")] * 2
    assert subject.requests == 6


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_asked_again(server: Server, data: AuditData, status: int) -> None:
    server.says((status, b"busy"), (status, b"busy"))
    subject = subject_of(server, data)
    complete(subject)
    assert subject.requests == 7


def test_waits_grow_and_retry_after_prevails(server: Server, data: AuditData, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("probes.endpoint_client.time.sleep", waited.append)
    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    server.says(
        (503, b""), (503, b""), (429, b"", {"retry-after": "2"}), (503, b"", {"retry-after": soon}),
        (503, b"", {"retry-after": "soonish"}),
    )  # fmt: skip
    complete(subject_of(server, data, backoff_s=0.25, retries=5))
    assert waited[:3] == [0.25, 0.5, 2.0]
    assert 25 < waited[3] <= 30
    assert waited[4:] == [4.0]
    assert _seconds(None) == _seconds("nonsense") == _seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0


def test_too_long_a_wait_is_said_at_once(server: Server, data: AuditData) -> None:
    server.says((429, b"", {"retry-after": "3600"}))
    with pytest.raises(EndpointError, match=r"wait 3,600 s \(HTTP 429\)"):
        subject_of(server, data).predictions(Context(instance="test"))
    assert len(server.asked) == 1


def test_a_slow_answer_is_asked_again_and_then_an_error(server: Server, data: AuditData) -> None:
    def slow(inputs: list[Any]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.4)
        return 200, {}, good(inputs)

    server.script = [slow]
    complete(subject_of(server, data, timeout_s=0.15))
    assert len(server.asked) == 6
    server.script = [slow] * 3
    with pytest.raises(EndpointError, match=r"no answer in 2 attempts; the last one: nothing for 0.15 s"):
        subject_of(server, data, timeout_s=0.15, retries=1).predictions(Context(instance="test"))


def test_an_answer_that_trickles_is_cut_off(data: AuditData) -> None:
    import socket

    def trickle() -> None:
        link, _ = listener.accept()
        with link:
            link.recv(65536)
            link.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(100):
                try:
                    link.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=trickle, daemon=True).start()
        spec = EndpointSpec(
            url=f"http://127.0.0.1:{listener.getsockname()[1]}/", classes=CLASSES, version="1", timeout_s=0.2, retries=0
        )
        start = time.monotonic()
        with pytest.raises(EndpointError, match=r"not complete after 0\.2 s"):
            EndpointSubject(spec, data).predictions(Context(instance="test"))
        assert time.monotonic() - start < 1.5


def test_nobody_there_is_an_error_and_not_tried_by_every_probe(data: AuditData) -> None:
    spec = EndpointSpec(url="http://127.0.0.1:9/", classes=CLASSES, version="1", retries=1, backoff_s=0)
    subject = EndpointSubject(spec, data)
    for _ in range(2):
        with pytest.raises(EndpointError, match="ConnectError"):
            subject.predictions(Context(instance="test"))
    assert subject.requests == 2


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"<html>", "no JSON"),
        (b"", "no JSON"),
        ({"outputs": []}, "no 'scores'.*'outputs'"),
        ([[0.5, 0.5]] * 4, "no 'scores'"),
        ({"scores": None}, "the answer is nothing"),
        ({"scores": [[0.5, 0.5]] * 2}, "4 inputs were asked about, and 2 answers came back"),
        ({"scores": [[0.5, 0.5]] * 5}, "5 answers came back"),
        (b'{"scores": [[0.5, 0.5], [NaN, 0.5], [0.5, 0.5], [0.5, 0.5]]}', "answer 1 .* not finite"),
        ({"scores": [[0.5, None]] * 4}, "a score that is nothing"),
        ({"scores": [["0.5", "0.5"]] * 4}, "a score that is of type str"),
        ({"scores": [[True, False]] * 4}, "a score that is of type bool"),
        ({"scores": [[0.2, 0.3, 0.5]] * 4}, "has 3 scores"),
        ({"scores": [[0.5]] * 4}, "one number, as of a regression"),
        ({"scores": [0.5] * 4}, "one number, as of a regression"),
        ({"scores": [[0.9, 0.8]] * 4}, "sum to 1.7"),
        ({"scores": [[3.0, -2.0]] * 4}, "between -2 and 3"),
        ({"scores": [{"no": 0.5, "maybe": 0.5}] * 4}, "the classes 'maybe', 'no'"),
        ({"scores": [{"no": 1.0}] * 4}, "the classes 'no'"),
        ({"scores": [{"label": "no", "score": 1.0}] * 4}, "one class and its score alone"),
        ({"scores": [[{"label": "no", "score": 0.5}] * 2] * 4}, "names a class twice"),
        ({"scores": [[{"label": "no"}]] * 4}, "lacks 'label' or 'score'"),
        ({"scores": [[{"label": "ja", "score": 0.4}, {"label": "no", "score": 0.6}]] * 4}, "'ja', 'no'"),
    ],
)
def test_a_wrong_answer_is_named_and_what_came_before_is_kept(
    server: Server, data: AuditData, body: Any, seen: str
) -> None:
    journal = MemoryJournal()
    server.script = [lambda i: (200, {}, good(i))] * 2
    server.says((200, body))
    with pytest.raises(SubjectError, match=seen) as caught:
        subject_of(server, data).predictions(Context(instance="test", journal=journal))
    assert caught.value.where == server.url
    assert len(server.asked) == 3
    complete(subject_of(server, data), journal)
    assert len(server.asked) == 6
    assert sorted(t for b in (*server.asked[:2], *server.asked[3:]) for t in b["inputs"]) == sorted(TEXTS)


@pytest.mark.parametrize(("status", "seen"), [(400, "HTTP 400"), (401, "token_env"), (302, "sends elsewhere")])
def test_a_refusal_is_not_asked_again(server: Server, data: AuditData, status: int, seen: str) -> None:
    server.says((status, b"secret words", {"location": "http://127.0.0.1:9/"}))
    subject = subject_of(server, data)
    with pytest.raises(SubjectError, match=seen) as caught:
        subject.predictions(Context(instance="test"))
    with pytest.raises(SubjectError, match=seen):
        subject.predictions(Context(instance="test"))
    assert len(server.asked) == 1
    assert subject.predict(["other"], Context(instance="test")).tolist() == [score("other")]
    assert "secret" not in str(caught.value)


def test_the_budget_counts_repeats_and_the_next_run_goes_on(server: Server, data: AuditData) -> None:
    journal = MemoryJournal()
    server.says((500, b""))
    subject = subject_of(server, data, max_requests=3)
    with pytest.raises(EndpointError, match="budget of 3 requests"):
        subject.predictions(Context(instance="test", journal=journal))
    assert len(server.asked) == 3
    with pytest.raises(EndpointError, match="budget of 3 requests"):
        subject.predict(["new"], Context(instance="test", journal=journal))
    complete(subject_of(server, data, max_requests=3), journal)
    assert len(server.asked) == 6


def test_an_interrupted_run_asks_for_the_rest_alone(server: Server, data: AuditData) -> None:
    class Dying(MemoryJournal):
        left = 3

        def append(self, items: Any) -> None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            super().append(items)

    journal = Dying()
    with pytest.raises(KeyboardInterrupt):
        subject_of(server, data).predictions(Context(instance="test", journal=journal))
    assert len(server.asked) == 4
    journal.left = 100
    complete(subject_of(server, data), journal)
    assert len(server.asked) == 4 + 2
    complete(subject_of(server, data, timeout_s=9, retries=1), journal)
    assert len(server.asked) == 6
    complete(subject_of(server, data, version="2"), journal)
    assert len(server.asked) == 11


def test_names_of_fields_and_shapes_are_the_users(server: Server, data: AuditData) -> None:
    def nested(inputs: list[Any]) -> tuple[int, dict[str, str], bytes]:
        rows = [[{"name": c, "p": p} for c, p in zip(CLASSES[::-1], score(t)[::-1], strict=True)] for t in inputs]
        return 200, {}, json.dumps({"data": {"out": rows}}).encode()

    server.script = [nested] * 5
    complete(subject_of(server, data, inputs_key="texts", scores_key="data.out", label_key="name", score_key="p"))
    assert set(server.asked[0]) == {"texts"}
    bare = [lambda i: (200, {}, json.dumps([dict(zip(CLASSES, score(t), strict=True)) for t in i]).encode())]
    server.script = bare * 5
    complete(subject_of(server, data, scores_key=None))


def test_a_token_is_sent_and_never_shown(server: Server, data: AuditData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TOKEN", "hunter2hunter2")
    subject = subject_of(server, data, token_env="MODEL_TOKEN", url=server.url + "?key=sesame")
    server.says((403, b""))
    with pytest.raises(SubjectError) as caught:
        subject.predictions(Context(instance="test"))
    assert server.heads[0]["authorization"] == "Bearer hunter2hunter2"
    shown = f"{caught.value} {subject.name} {subject.details} {subject.files} {subject.spec!r} {subject._client!r}"
    assert "hunter2" not in shown
    assert "sesame" not in f"{caught.value} {subject.name} {subject.details}"
    for content in ("", "  ", "two\nlines"):
        monkeypatch.setenv("MODEL_TOKEN", content)
        with pytest.raises(SubjectError, match="MODEL_TOKEN holds no token") as refused:
            EndpointClient(subject.spec)
        assert "lines" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"url": "ftp://example.org"}, "http"),
        ({"url": "http://"}, "host"),
        ({"url": "http://example.org:port/"}, "number"),
        ({"url": "https://me:pw@example.org/"}, "user name"),
        ({"url": "http://example.org/", "token_env": "T"}, "plain http"),
        ({"classes": ("no",)}, "classes"),
        ({"classes": ("no", "no")}, "twice"),
        ({"parameters": {"inputs": 1}}, "parameters"),
        ({"version": ""}, "version"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_an_endpoint_is_checked_before_anything_is_sent(change: dict[str, Any], seen: str) -> None:
    with pytest.raises(ValidationError, match=seen):
        EndpointSpec(**{"url": "https://example.org/", "classes": CLASSES, "version": "1", **change})


def test_inputs_that_json_cannot_hold_are_named(server: Server) -> None:
    frame = pd.DataFrame({"image": [b"\x00", b"\x01"]})
    subject = subject_of(server, AuditData.from_frame(frame, input="image"))
    with pytest.raises(SubjectError, match="cannot be sent as JSON"):
        subject.predictions(Context(instance="test"))
    assert server.asked == []
