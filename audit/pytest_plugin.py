"""A plan's rules as tests: ``pytest --plumbline PLAN`` collects one item a rule, and one for the verdict as a whole.

An item's outcome is its rule's: fail, error and what the policy blocks on as inconclusive fail, a waived check is skipped
with its reason, and what stops nothing passes with a warning. The audit runs once, at the first item that is asked; a
policy is read before, so that a plan that cannot be used is an error of the collection. Without ``--plumbline`` this
module does nothing and imports nothing of the audit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from audit.documents import Document
    from audit.result import Result
    from reports.record import Policy, Rule, Ruling

PLAN = "--plumbline"
VERDICT = "verdict"
_FAILS = ("failed", "errored", "inconclusive")

_audit = pytest.StashKey["Audit"]()


class AuditWarning(pytest.PytestWarning):
    """A check did not pass, and stops nothing: it is advisory, or its policy only warns, or a waiver does not count."""


class AuditFailed(Exception):
    """A rule did not pass; its text is what the policy says about it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("plumbline", "audit of a model against a policy")
    group.addoption(PLAN, metavar="PLAN", help="Audit by this plan: one test a rule of its policy.")
    group.addoption("--plumbline-only", action="store_true", help="Collect no other test.")
    group.addoption("--plumbline-out", metavar="RUN", help="Where the run goes; else in pytest's cache folder.")
    group.addoption("--plumbline-policy", metavar="FILE", help="A policy instead of the plan's.")
    group.addoption("--plumbline-waivers", metavar="FILE", help="Waivers instead of the plan's.")
    group.addoption("--plumbline-device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 or mps.")


def pytest_configure(config: pytest.Config) -> None:
    named = config.getoption(PLAN)
    if named is None:
        return
    plan = (config.invocation_params.dir / named).resolve()
    if not plan.is_file():
        raise pytest.UsageError(f"{PLAN}: {named} is no file")
    config.stash[_audit] = Audit(config, plan)
    if config.getoption("--plumbline-only"):
        config.args[:] = [str(plan)]
    elif str(plan) not in config.args:
        config.args.append(str(plan))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PlanFile | None:
    audit = parent.config.stash.get(_audit, None)
    if audit is None or file_path.resolve() != audit.plan:
        return None
    return PlanFile.from_parent(parent, path=file_path)


@pytest.fixture(scope="session")
def audit_result(request: pytest.FixtureRequest) -> Result:
    """The audit by the plan of ``--plumbline``: record, verdict and bundle, as an `audit.Result`."""
    audit = request.config.stash.get(_audit, None)
    if audit is None:
        pytest.fail(f"audit_result needs a plan: run pytest with {PLAN} PLAN", pytrace=False)
    from fine_tune.errors import PlumblineError

    try:
        return audit.result()
    except PlumblineError as error:
        pytest.fail(str(error), pytrace=False)


class Audit:
    """One audit a session, made when the first item asks; processes of one session (xdist) share it."""

    def __init__(self, config: pytest.Config, plan: Path) -> None:
        self.config, self.plan = config, plan
        self.out = self._place()
        self._result: Result | None = None
        self._error: Exception | None = None

    def _place(self) -> Path:
        named = self.config.getoption("--plumbline-out")
        if named is not None:
            return Path(self.config.invocation_params.dir / named)
        cache = getattr(self.config, "cache", None)
        if cache is None:
            raise pytest.UsageError("pytest runs without its cache: name a folder with --plumbline-out")
        return Path(cache.mkdir("plumbline")) / "run"

    def policy(self) -> Document[Policy] | None:
        """The policy, checked against the plan; None where the plan names none."""
        from audit.api import policy_of

        return policy_of(self.plan, self._file("policy"))

    def result(self) -> Result:
        """The audit's result, or its error; run at the first call."""
        if self._error is not None:
            raise self._error
        if self._result is None:
            try:
                with self._alone() as done:
                    self._result = self._load() if done else self._run()
            except Exception as error:
                self._error = error
                raise
        return self._result

    def _run(self) -> Result:
        from audit.api import run_plan

        return run_plan(
            self.plan,
            self.out,
            policy=self._file("policy"),
            waivers=self._file("waivers"),
            device=self.config.getoption("--plumbline-device"),
            progress=False,
        )

    def _load(self) -> Result:
        from audit.api import load

        return load(self.out)

    def _file(self, option: str) -> Path | None:
        named = self.config.getoption(f"--plumbline-{option}")
        return None if named is None else self.config.invocation_params.dir / named

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Says whether another process of this session has made the run already, and keeps others out meanwhile."""
        worker = getattr(self.config, "workerinput", None)
        if worker is None:
            yield False
            return
        from filelock import FileLock

        self.out.parent.mkdir(parents=True, exist_ok=True)
        mark = self.out.parent / f".{self.out.name}.session"
        with FileLock(f"{mark}.lock"):
            session = worker["testrunuid"]
            done = mark.is_file() and mark.read_text(encoding="utf-8") == session
            yield done
            mark.write_text(session, encoding="utf-8")


class PlanFile(pytest.File):
    """A plan: an item for each rule of its policy, and one for the verdict."""

    def collect(self) -> Iterator[pytest.Item]:
        from fine_tune.errors import PlumblineError

        audit = self.config.stash[_audit]
        try:
            document = audit.policy()
        except PlumblineError as error:
            raise self.CollectError(str(error)) from None
        if document is None:
            yield RuleItem.from_parent(self, name=f"({VERDICT})", rule=None, at=(self.path, 1))
            return
        for i, rule in enumerate(document.value.rules):
            yield RuleItem.from_parent(self, name=rule.id, rule=rule, at=(document.path, document.line(("rules", i))))
        yield RuleItem.from_parent(self, name=f"({VERDICT})", rule=None, at=(document.path, 1))


class RuleItem(pytest.Item):
    """One rule on all its slices; None is the verdict as a whole."""

    def __init__(self, *, rule: Rule | None, at: tuple[Path, int], **from_parent: Any) -> None:
        super().__init__(**from_parent)
        self.rule, self.at = rule, at

    def runtest(self) -> None:
        result = self.config.stash[_audit].result()
        if self.rule is None:
            self._whole(result)
        else:
            self._ruled(result, [r for r in result.verdict.rulings if r.check.rule.id == self.name])

    def _whole(self, result: Result) -> None:
        from reports.decision import headline
        from reports.standing import one_line, stops

        verdict = result.verdict
        for warning in verdict.warnings:
            self.warn(AuditWarning(one_line(str(warning))))
        said = [str(headline(result.record, verdict)), *(str(r) for r in verdict.reasons), f"Report: {result.report}"]
        if stops(verdict):
            said = [f"{verdict.outcome}, exit code {verdict.exit_code}", *said]
            raise AuditFailed("\n".join(map(one_line, said)))
        self.add_report_section("call", "plumbline", "\n".join(map(one_line, said)))

    def _ruled(self, result: Result, rulings: list[Ruling]) -> None:
        from reports.standing import one_line, standing, told_as

        verdict = result.verdict
        said = {id(r): one_line(f"{r.check.name}: {told_as(r, verdict)}: {r.reason}") for r in rulings}
        by: dict[str, list[str]] = {}
        for ruling in rulings:
            by.setdefault(standing(ruling, verdict), []).append(said[id(ruling)])
        for text in by.get("told", ()):
            self.warn(AuditWarning(text))
        failed = [text for stands in _FAILS for text in by.get(stands, ())]
        if failed:
            raise AuditFailed("\n".join(failed))
        self.add_report_section("call", "plumbline", "\n".join(said.values()))
        if "excused" in by:
            pytest.skip("\n".join(by["excused"]))
        if not rulings:
            pytest.skip("the policy lets this rule be: there is nothing to rule on")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        from fine_tune.errors import PlumblineError

        if isinstance(excinfo.value, AuditFailed | PlumblineError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.at[0], self.at[1] - 1, self.name
