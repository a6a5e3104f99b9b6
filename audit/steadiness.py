"""Would the gate say the same of other rows like these? A finished run is decided again on resampled rows (an A/A test).

Nothing differs between two replicates but which rows were drawn, so a check that passes in one and fails in the other was
decided by chance. Units are drawn with replacement: clusters where the rows have any, else input rows (Efron 1979; Davison and
Hinkley 1997, 3.8); tables with the same units draw the same ones. It needs no model, changes no bundle and decides nothing about the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from audit.compare import Run
from audit.demands import Demands, decide_run
from audit.errors import GateError
from audit.restate import RowsSource, reread
from probes.evidence import Message, message
from probes.probe import Progress, silent
from reports.record import AuditRecord, Finding, Outcome, Policy, RowsRef, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.intervals import Int

_UNITS = ("cluster", "row_id")
_NUMBER = "text"


@dataclass(frozen=True, kw_only=True)
class CheckFlips:
    """How one check came out over the replicates.

    Attributes:
        name: the check, ``rule`` or ``rule [slice]``.
        outcomes: how often each outcome occurred; sums to the number of replicates in which the check existed.
        flip_rate: share of pairs of replicates of which one passes and the other fails, in [0, 1].
        by_value: it was decided on its value alone, because the policy says so or the figure has no interval.
    """

    name: str
    outcomes: dict[Outcome, int]
    flip_rate: float
    by_value: bool = False


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """What repeated gates on rows drawn from the same run said.

    Attributes:
        replicates: how many gates were made.
        checks: each check of the policy, those that flip most first.
        flip_rate: share of pairs of replicates in which at least one check passes in one and fails in the other.
        interval_flip_rate: the same over the checks that were decided on an interval; None if there are none.
        verdict_flip_rate: the same for the verdict as a whole.
        left_out: rules and findings that could not be drawn anew, and why.
    """

    replicates: int
    checks: tuple[CheckFlips, ...]
    flip_rate: float
    interval_flip_rate: float | None
    verdict_flip_rate: float
    left_out: tuple[Message, ...] = field(default=())


def steadiness(
    run: Run, policy: Policy, *, replicates: int = 100, seed: int = 0, progress: Progress = silent
) -> Steadiness:
    """Decide ``run`` again ``replicates`` times, each time on rows drawn anew from its own.

    Rules with ``max_drop`` are left out, because a baseline's rows would have to be drawn with them; findings whose rows
    name neither cluster nor input keep the figures that they have. Both are said in ``left_out``.

    Args:
        run: a record with its rows.
        policy: what is demanded; waivers play no part here.
        replicates: gates to make, at least 2.
        seed: of the draws.
        progress: wraps the loop.

    Raises:
        GateError: fewer than two replicates, or no rule is left to decide.
    """
    return steadiness_of_each(run, [policy], replicates=replicates, seed=seed, progress=progress)[0]


def steadiness_of_each(
    run: Run, policies: Sequence[Policy], *, replicates: int = 100, seed: int = 0, progress: Progress = silent
) -> tuple[Steadiness, ...]:
    """`steadiness` of several policies on the same draws, which are read once for all of them.

    Raises:
        GateError: as `steadiness`, of any of them.
    """
    if replicates < 2:
        raise GateError(
            f"{replicates} replicates", expected="at least 2: a flip needs two gates", fix="raise --repeats"
        )
    kept = [_kept_rules(policy) for policy in policies]
    wanted = dict.fromkeys(rule.instance for policy, _ in kept for rule in policy.rules)
    drawn, said = _drawable(run, list(wanted))
    verdicts = [
        _once(run, [policy for policy, _ in kept], drawn, seed=seed, replicate=i)
        for i in progress(range(replicates), replicates, "gates on resampled rows")
    ]
    out = []
    for column, (policy, left_out) in zip(zip(*verdicts, strict=True), kept, strict=True):
        own = {rule.instance for rule in policy.rules}
        out.append(_summed_up(column, (*left_out, *(m for instance, m in said.items() if instance in own))))
    return tuple(out)


def by_point(policy: Policy) -> Policy:
    """The same policy as a gate would have it that looks at the value alone: no interval, no minimum size."""
    rules = tuple(
        r.model_copy(update={} if policy.decision(r) == "exact" else {"decision": "point", "min_n": 1})
        for r in policy.rules
    )
    defaults = policy.defaults.model_copy(update={"decision": "point", "min_n": 1})
    return policy.model_copy(update={"rules": rules, "defaults": defaults})


def draw_rows(table: pa.Table, rng_key: str) -> pa.Table | None:
    """As many units as ``table`` has, drawn with replacement; None where its rows name no unit.

    A unit that is drawn again is another unit: its cluster and row ids get a mark, so that copies are not taken for one
    cluster, nor for two units of one input. Where a whole number in ``text`` numbers the rows, those without a ``row_id``
    are about the row of their number: they are drawn with it, and the copies are numbered anew.

    Args:
        table: rows with a column ``cluster`` or ``row_id``.
        rng_key: what the draw depends on, beside the units themselves.
    """
    import pyarrow as pa

    unit = next((n for n in _UNITS if n in table.column_names and table[n].null_count < len(table)), None)
    if unit is None or not len(table):
        return None
    names = table[unit].cast(pa.string()).to_pylist()
    about = _about(table)
    own = [f"\0row {i}" if names[i] is None else names[i] for i in about.tolist()]
    units, codes = np.unique(np.array(own, dtype=object).astype(str), return_inverse=True)
    picks = _generator(rng_key, units.tolist()).integers(0, len(units), len(units))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(units) + 1))
    index, copies = _expanded(picks, order, starts)
    out = table.take(pa.array(index))
    for name in _UNITS:
        if name in table.column_names:
            at = out.schema.get_field_index(name)
            old = out[name].cast(pa.string()).to_pylist()
            marked = [None if v is None else f"{v}\0{c}" for v, c in zip(old, copies.tolist(), strict=True)]
            out = out.set_column(at, out.schema.field(at).with_type(pa.string()), pa.array(marked, pa.string()))
    if _numbered(table):
        # A row and those about it have the same place of origin and the same copy, and no others do.
        pairs = np.column_stack([about[index], copies])
        numbers = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
        at = out.schema.get_field_index(_NUMBER)
        out = out.set_column(at, out.schema.field(at), pa.array(numbers, out.schema.field(at).type))
    return out.replace_schema_metadata(table.schema.metadata)


def _numbered(table: pa.Table) -> bool:
    """Whether the rows are numbered, and some of them about others."""
    import pyarrow as pa

    names = table.column_names
    if _NUMBER not in names or "row_id" not in names or not table["row_id"].null_count:
        return False
    return bool(pa.types.is_integer(table.schema.field(_NUMBER).type))


def _about(table: pa.Table) -> Int:
    """The position of the row that each row is about: its own, but for numbered rows without an id."""
    own = np.arange(len(table), dtype=np.int64)
    if not _numbered(table):
        return own
    ids, numbers = table["row_id"].to_pylist(), table[_NUMBER].to_pylist()
    first = {number: i for i, (name, number) in enumerate(zip(ids, numbers, strict=True)) if name is not None}
    return np.array(
        [i if ids[i] is not None else first.get(numbers[i], i) for i in own.tolist()], dtype=np.int64
    )  # fmt: skip


def _expanded(picks: Int, order: Int, starts: Int) -> tuple[Int, Int]:
    """Row positions of every picked unit, and which copy of its unit each row belongs to."""
    seen: dict[int, int] = {}
    index, copies = [], []
    for unit in np.sort(picks).tolist():
        copy = seen[unit] = seen.get(unit, -1) + 1
        rows = order[starts[unit] : starts[unit + 1]]
        index.append(rows)
        copies.append(np.full(len(rows), copy, dtype=np.int64))
    return np.concatenate(index), np.concatenate(copies)


def _generator(key: str, units: Sequence[str]) -> np.random.Generator:
    digest = hashlib.sha256("\0".join([key, *units]).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _kept_rules(policy: Policy) -> tuple[Policy, list[Message]]:
    dropped = [r.id for r in policy.rules if r.max_drop is not None]
    rules = tuple(r for r in policy.rules if r.max_drop is None)
    if not rules:
        raise GateError(
            f"policy {policy.name} has no rule that speaks of this run alone",
            expected="a rule with max or min",
            fix="rules with max_drop compare with a baseline, whose rows would have to be drawn too",
        )
    said = [message("{rule} compares with a baseline and was left out.", rule=r) for r in dropped]
    return policy.model_copy(update={"rules": rules}), said


def _drawable(run: Run, wanted: Sequence[str]) -> tuple[frozenset[str], dict[str, Message]]:
    """Instances whose rows can be drawn anew and read again; and what is said of each of the others."""
    drawn, said = set(), {}
    for name in wanted:
        finding = run.record.finding(name)
        if finding is None or finding.status != "measured":
            continue
        why = _why_not(run, finding)
        if why is None:
            drawn.add(name)
        else:
            said[name] = message("{instance} keeps its figures in every replicate: {why}", instance=name, why=why)
    return frozenset(drawn), said


def _why_not(run: Run, finding: Finding) -> Message | None:
    if finding.rows is None:
        return message("it keeps no rows.")
    table = draw_rows(run.rows_of(finding.rows), "trial")
    if table is None:
        return message("its rows name neither cluster nor input.")
    try:
        reread(finding, table, run.record.level)
    except Exception as error:
        return message("its rows cannot be read again once drawn ({error}).", error=f"{type(error).__name__}: {error}")
    return None


def _once(
    run: Run, policies: Sequence[Policy], drawn: frozenset[str], *, seed: int, replicate: int
) -> tuple[Verdict, ...]:
    tables: dict[str, pa.Table] = {}
    wanted = {rule.instance for policy in policies for rule in policy.rules} - drawn
    fixed = {f.rows.path for f in run.record.findings if f.rows is not None and f.instance in wanted}

    def rows_of(ref: RowsRef) -> pa.Table:
        if ref.path not in tables:
            whole = run.rows_of(ref)
            fresh = None if ref.path in fixed else draw_rows(whole, f"{seed}\0{replicate}")
            tables[ref.path] = whole if fresh is None else fresh
        return tables[ref.path]

    again = Run(record=_reread_record(run.record, drawn, policies, rows_of), rows_of=rows_of)
    return tuple(decide_run(again, Demands(policy=policy, baselines={}, on=date.min)) for policy in policies)


def _reread_record(
    record: AuditRecord, drawn: frozenset[str], policies: Sequence[Policy], rows_of: RowsSource
) -> AuditRecord:
    at_level = {r.instance for policy in policies for r in policy.rules if policy.level(r) == record.level}
    findings = []
    for f in record.findings:
        if f.instance in drawn and f.instance in at_level and f.rows is not None:
            reading = reread(f, rows_of(f.rows), record.level)
            findings.append(f.model_copy(update={"reading": reading}))
        else:
            findings.append(f)
    return record.model_copy(update={"findings": tuple(findings)})


def _summed_up(verdicts: Sequence[Verdict], left_out: tuple[Message, ...]) -> Steadiness:
    names = dict.fromkeys(r.check.name for v in verdicts for r in v.rulings)
    signs = np.zeros((len(verdicts), len(names)), dtype=np.int64)
    outcomes: dict[str, dict[Outcome, int]] = {n: {} for n in names}
    column = {n: i for i, n in enumerate(names)}
    valued: set[str] = set()
    for i, verdict in enumerate(verdicts):
        for r in verdict.rulings:
            counted = outcomes[r.check.name]
            counted[r.outcome] = counted.get(r.outcome, 0) + 1
            signs[i, column[r.check.name]] = (r.outcome == "pass") - (r.outcome == "fail")
            if r.value is not None and (r.interval is None or r.decision != "interval"):
                valued.add(r.check.name)
    checks = [
        CheckFlips(name=n, outcomes=outcomes[n], flip_rate=_flips(signs[:, [i]]), by_value=n in valued)
        for i, n in enumerate(names)
    ]
    others = [i for i, n in enumerate(names) if n not in valued]
    whole = np.array([[(v.outcome == "pass") - (v.outcome == "fail")] for v in verdicts], dtype=np.int64)
    return Steadiness(
        replicates=len(verdicts),
        checks=tuple(sorted(checks, key=lambda c: -c.flip_rate)),
        flip_rate=_flips(signs),
        interval_flip_rate=_flips(signs[:, others]) if others else None,
        verdict_flip_rate=_flips(whole),
        left_out=left_out,
    )


def _flips(signs: Int) -> float:
    """Share of pairs of lines that have +1 and -1 in some column; ``signs`` is (replicates, checks) of -1, 0 and 1."""
    count = len(signs)
    opposed = ((signs > 0).astype(np.int64) @ (signs < 0).T.astype(np.int64)) > 0
    return float(np.count_nonzero(opposed | opposed.T)) / (count * (count - 1))
