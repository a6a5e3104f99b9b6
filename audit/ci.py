"""What a pipeline is told beside the bundle: GitHub's job summary and annotations, GitLab's code quality, SARIF.

Chosen from the environment that the pipeline sets, or as asked. Nothing here lies in the bundle: it depends on where the
checkout and the policy are, and a bundle must give the same bytes anywhere. It decides nothing; a run that could not even
begin is told as such, so that no report of an earlier run stands in its place.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audit.errors import GateError
from audit.result import Result
from fine_tune.errors import PlumblineError
from reports import github, gitlab, sarif
from reports.origin import kept_origin
from reports.summary import escaped

CODE_QUALITY = "gl-code-quality-report.json"

Kind = Literal["github", "gitlab", "none"]
Say = Callable[[str], None]

_PLACE = re.compile(r"(?P<path>.+):(?P<line>\d+)")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Where we run, and where its outputs go.

    Attributes:
        kind: whose pipeline it is.
        root: the checkout, which all paths start from.
        job_summary: GitHub's file for this step's summary, which is appended to.
        code_quality: where GitLab's report goes.
        sarif: where the SARIF log goes; None where nobody asked.
        token: ends the time in which GitHub's runner reads no commands; nobody can guess it.
    """

    kind: Kind
    root: Path
    job_summary: Path | None = None
    code_quality: Path | None = None
    sarif: Path | None = None
    token: str = ""

    @classmethod
    def found(
        cls, asked: str = "auto", *, sarif: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Pipeline:
        """The pipeline that the environment speaks of.

        Args:
            asked: auto, github, gitlab or none.
            sarif: where the SARIF log goes.
            environment: `os.environ` unless given.

        Raises:
            GateError: ``asked`` is none of these.
        """
        values = os.environ if environment is None else environment
        kinds: dict[str, Kind] = {"github": "github", "gitlab": "gitlab", "none": "none", "auto": _kind(values)}
        if asked not in kinds:
            raise GateError(f"--ci is {asked!r}", expected=f"one of auto, {', '.join(k for k in kinds if k != 'auto')}")
        kind = kinds[asked]
        root = Path({"github": values.get("GITHUB_WORKSPACE"), "gitlab": values.get("CI_PROJECT_DIR")}.get(kind) or ".")
        summary = values.get("GITHUB_STEP_SUMMARY") if kind == "github" else None
        return cls(
            kind=kind,
            root=root,
            job_summary=Path(summary) if summary else None,
            code_quality=Path(CODE_QUALITY) if kind == "gitlab" else None,
            sarif=sarif,
            token=secrets.token_hex(16) if kind == "github" else "",
        )

    def check_apart(self, run: Path) -> None:
        """Refuse an output inside the run, which would not verify any more.

        Raises:
            GateError: one lies there.
        """
        for path in (self.sarif, self.code_quality):
            if path is not None and path.resolve().is_relative_to(run.resolve()):
                raise GateError(
                    f"{path} lies in the run itself", expected="a file outside of it", fix="choose another place"
                )

    def silence(self, say: Say) -> None:
        """Ask GitHub's runner to read no commands: names from data are printed, and could look like one."""
        if self.kind == "github":
            say(f"::stop-commands::{self.token}")

    def listen(self, say: Say) -> None:
        """Ask GitHub's runner to read commands again."""
        if self.kind == "github":
            say(f"::{self.token}::")

    def publish(self, result: Result, say: Say) -> None:
        """Tell the pipeline a verdict."""
        if self.kind == "none" and self.sarif is None:
            return
        record, verdict = result.record, result.verdict
        origin = result.origin or kept_origin(result.path)
        if self.kind == "github":
            self._command(github.workflow_commands(record, verdict, origin, self.root), say)
        if self.job_summary is not None:
            self._append(lambda room: github.job_summary(record, verdict, room))
        if self.code_quality is not None:
            _write(self.code_quality, gitlab.code_quality(record, verdict, origin, self.root))
        if self.sarif is not None:
            _write(self.sarif, sarif.sarif(record, verdict, origin, self.root))

    def publish_failure(self, error: Exception, asked: Path, say: Say) -> None:
        """Tell the pipeline that there is no verdict.

        Args:
            error: what ended the command; anything but a deliberate error is a crash.
            asked: what the command was given, to point at where the error names no file.
        """
        from audit.cards import plumbline_version

        deliberate = isinstance(error, PlumblineError)
        code = error.exit_code if isinstance(error, PlumblineError) else 1
        text = str(error) if deliberate else f"Plumbline stopped with {type(error).__name__}: {error}"
        at = self._at(error.where if isinstance(error, PlumblineError) else "", asked)
        if self.kind == "github":
            self._command((github.command("error", text, title="Plumbline: no verdict", at=at),), say)
        if self.job_summary is not None:
            said = f"# ⚠️ No verdict\n\n{escaped(text)}\n\nExit code {code}. Nothing was decided, so nothing passed.\n"
            self._append(lambda room: github.cut(said, room))
        if self.code_quality is not None:
            mark = hashlib.sha256(f"no verdict\0{asked}".encode("utf-8", "replace")).hexdigest()
            _write(self.code_quality, gitlab.failure(text, mark=mark, at=at))
        if self.sarif is not None:
            _write(self.sarif, sarif.unusable(text, code, plumbline_version()))

    def _at(self, where: str, asked: Path) -> tuple[str, int]:
        """The file and line of ``policy.yaml:12``, else the first line of what was asked for."""
        from reports.origin import Origin

        found = _PLACE.fullmatch(where)
        path, line = (Path(found["path"]), int(found["line"])) if found else (Path(where) if where else asked, 1)
        return Origin(path).shown(self.root), line

    def _command(self, commands: tuple[str, ...], say: Say) -> None:
        self.listen(say)
        for command in commands:
            say(command)
        self.silence(say)

    def _append(self, text: Callable[[int], str]) -> None:
        """Add to the step's summary as much as there is still room for."""
        path = self.job_summary
        if path is None:
            return
        used = path.stat().st_size if path.is_file() else 0
        with path.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(text(github.SUMMARY_BYTES - used))


def _kind(environment: Mapping[str, str]) -> Kind:
    if environment.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "gitlab" if environment.get("GITLAB_CI") == "true" else "none"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
