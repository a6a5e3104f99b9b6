"""How an endpoint is spoken to: JSON over HTTP with timeouts, repeats that wait longer each time, and a budget of requests.
It knows nothing of data or probes, follows no redirects, and lets no token into a message, a file or a record.
"""

from __future__ import annotations

import email.utils
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from fine_tune.sources import first_line
from probes.errors import EndpointError, SubjectError
from probes.evidence import Plain

if TYPE_CHECKING:
    import httpx

REPEATED = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 60.0
MOST_BYTES = 64 * 1024 * 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class EndpointSpec(Plain):
    """A model behind HTTP, as a plan names it.

    Each request is ``POST url`` with ``{inputs_key: [input, ...], **parameters}``; the answer is JSON with one entry for
    each input under ``scores_key``: probabilities in the order of ``classes``, ``{class: probability}``, or
    ``[{label_key: class, score_key: probability}, ...]``.

    Attributes:
        url: where to post, http or https; no password in it, and what follows ``?`` is not recorded.
        classes: names in the order of the scores.
        version: what its owner calls the model behind it; answers are reused under the same version alone.
        batch_size: inputs a request at most.
        timeout_s: seconds a request may take, its answer included.
        retries: repeats of a request that was not answered (408, 425, 429, 500, 502, 503, 504, no connection, timeout).
        backoff_s: seconds before the first repeat, doubled each time up to a minute; ``Retry-After`` prevails if longer.
        max_requests: requests a run at most, repeats included; None sets no limit.
        inputs_key: where the inputs go.
        scores_key: where the answers are; dots lead inwards; null where the answer is the list itself.
        label_key, score_key: names in answers that are lists of classes with scores.
        parameters: sent along with every request.
        token_env: the environment variable with a bearer token; its content is sent and never recorded.
    """

    url: str = Field(min_length=1)
    classes: tuple[str, ...] = Field(json_schema_extra={"minItems": 2})
    version: str = Field(min_length=1)
    batch_size: int = Field(default=16, ge=1, le=4096)
    timeout_s: float = Field(default=30.0, gt=0)
    retries: int = Field(default=4, ge=0, le=20)
    backoff_s: float = Field(default=0.5, ge=0)
    max_requests: int | None = Field(default=None, ge=1)
    inputs_key: str = Field(default="inputs", min_length=1)
    scores_key: str | None = Field(default="scores", min_length=1)
    label_key: str = "label"
    score_key: str = "score"
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    token_env: str | None = Field(default=None, min_length=1)

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("expected a url with a host and, if any, a port that is a number") from None
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError("expected a url that starts with http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "the url holds a user name or password; expected a url without (name a token's variable under token_env)"
            )
        return url

    @field_validator("classes")
    @classmethod
    def _several(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2:
            raise ValueError("expected the names of two or more classes")
        if len(set(classes)) < len(classes):
            raise ValueError("a class is named twice; expected different names")
        return classes

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.inputs_key in self.parameters:
            raise ValueError(f"parameters hold {self.inputs_key!r}, where the inputs go; expected other names")
        parts = urlsplit(self.url)
        if self.token_env and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError("a token would go out over plain http; expected https, or this machine")
        return self

    @property
    def place(self) -> str:
        """The url without what follows ``?``, which may hold a secret."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl()


class EndpointClient:
    """Posts batches and gives back the decoded answers; counts requests over its whole life. Use it in a ``with``.

    Args:
        spec: where and how.

    Raises:
        SubjectError: the token's variable is not set, or its content can be no token.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec, self.requests = spec, 0
        self._client: httpx.Client | None = None
        self._headers = {"accept": "application/json", "content-type": "application/json"}
        if spec.token_env is not None:
            token = os.environ.get(spec.token_env, "").strip()
            if not token or not token.isascii() or not token.isprintable():
                raise SubjectError(
                    f"the environment variable {spec.token_env} holds no token",
                    expected=f"a bearer token for {spec.place}",
                    fix=f"set {spec.token_env} where the audit runs",
                )
            self._headers["authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        import httpx

        self._client = httpx.Client(timeout=self.spec.timeout_s, follow_redirects=False, headers=self._headers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def ask(self, inputs: Sequence[Any]) -> Any:
        """What stands under ``scores_key`` of the answer to one batch.

        Raises:
            EndpointError: no answer after all repeats, too long a wait, or the budget is used up.
            SubjectError: a refusal, an input that is no JSON, or an answer that is none or has no such key.
        """
        body = self._encode(inputs)
        for attempt in range(self.spec.retries + 1):
            self._count()
            status, trouble, wanted, content = self._post(body)
            if status is not None and 200 <= status < 300:
                return self._scores(content)
            if status is not None and status not in REPEATED:
                raise self._refused(status)
            if attempt == self.spec.retries:
                break
            self._wait(attempt, wanted, trouble)
        raise self._error(
            f"no answer in {self.spec.retries + 1} attempts; the last one: {trouble}",
            fix="see whether it runs, and run again: batches that were answered are kept",
        )

    def _post(self, body: bytes) -> tuple[int | None, str, float, bytes]:
        """Status (None without an answer), what went wrong, seconds it asks to wait, and the content."""
        import httpx

        if self._client is None:
            raise RuntimeError("EndpointClient is used outside its with block")
        deadline = time.monotonic() + self.spec.timeout_s
        try:
            with self._client.stream("POST", self.spec.url, content=body) as response:
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    if time.monotonic() > deadline:
                        return None, f"not complete after {self.spec.timeout_s:g} s", 0.0, b""
                    if len(content) > MOST_BYTES:
                        raise self._error(f"an answer of more than {MOST_BYTES:,} bytes", fix="lower batch_size")
                wanted = _seconds(response.headers.get("retry-after"))
                return response.status_code, f"HTTP {response.status_code}", wanted, bytes(content)
        except httpx.TimeoutException:
            return None, f"nothing for {self.spec.timeout_s:g} s", 0.0, b""
        except httpx.RequestError as error:
            return None, f"{type(error).__name__}: {first_line(error)}", 0.0, b""

    def _count(self) -> None:
        most = self.spec.max_requests
        if most is not None and self.requests >= most:
            raise self._error(
                f"the budget of {most:,} requests is used up before every row was answered",
                fix="run again to go on from there, or raise max_requests: batches that were answered are kept",
            )
        self.requests += 1

    def _wait(self, attempt: int, wanted: float, trouble: str) -> None:
        if wanted > LONGEST_WAIT:
            raise self._error(
                f"it asks to wait {wanted:,.0f} s ({trouble})",
                fix="run again then: batches that were answered are kept",
            )
        time.sleep(max(wanted, min(LONGEST_WAIT, self.spec.backoff_s * 2.0**attempt)))

    def _encode(self, inputs: Sequence[Any]) -> bytes:
        try:
            body = {**self.spec.parameters, self.spec.inputs_key: list(inputs)}
            return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise SubjectError(
                f"an input cannot be sent as JSON: {first_line(error)}",
                expected="texts, numbers, lists or mappings", where=self.spec.place,
            ) from None  # fmt: skip

    def _scores(self, content: bytes) -> Any:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise SubjectError(
                f"the answer is no JSON ({len(content):,} bytes)", expected="JSON", where=self.spec.place
            ) from None
        for key in self.spec.scores_key.split(".") if self.spec.scores_key else ():
            if not isinstance(found, dict) or key not in found:
                have = (
                    f"an object with {', '.join(map(repr, sorted(found)[:10]))}" if isinstance(found, dict) else "none"
                )
                raise SubjectError(
                    f"the answer has no {self.spec.scores_key!r}: where {key!r} should be, there is {have}",
                    expected=f"the scores under {self.spec.scores_key!r}",
                    fix="name the key under scores_key; null where the answer is the list itself",
                    where=self.spec.place,
                )
            found = found[key]
        return found

    def _refused(self, status: int) -> SubjectError:
        fixes = {
            401: "name the variable that holds a token under token_env",
            403: "see whether the token may use this endpoint",
            404: "check the url",
            413: "lower batch_size",
        }
        if 300 <= status < 400:
            seen, fix = f"HTTP {status}: it sends elsewhere", "give the url that answers itself"
        else:
            seen, fix = f"HTTP {status}", fixes.get(status, "see what the endpoint expects")
        return SubjectError(seen, expected="an answer to every batch", fix=fix, where=self.spec.place)

    def _error(self, seen: str, *, fix: str) -> EndpointError:
        return EndpointError(seen, expected="an answer to every batch", fix=fix, where=self.spec.place)


def _seconds(header: str | None) -> float:
    """``Retry-After`` as seconds from now: a number, or a date; 0 where it says nothing that can be read."""
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        when = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
