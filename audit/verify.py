"""Is a bundle what it says it is? Hashes, signatures, schema, every number, the verdict and the page, all done again.

Verification trusts nothing but the rows and the code: readings are summarised again from the stored rows, the verdict is
decided again as of its own day, and the renderings are made again and compared byte by byte. It repairs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit.cards import environment, recount
from audit.decide import not_enforced
from audit.demands import Demands, decide_run, embedded_baselines, embedded_lock, open_run
from audit.on_trust import on_trust
from audit.restate import reread
from audit.signing.trusted import NOBODY, Trusted, check_signatures
from audit.verify_model import verify_model
from audit.verify_probes import verify_probes
from audit.verify_provenance import verify_provenance
from fine_tune.errors import PlumblineError
from probes.errors import ProbeError
from probes.evidence import AnyMeasurement, Measurement, Reading
from reports.bundle import RESULTS, VERDICT, Bundle, page_name
from reports.errors import RecordError
from reports.files import REVIEWS
from reports.record import AuditRecord, Finding, Verdict
from reports.reviews import kept_words, reviews_of

EXACT = 1e-12
MONTE_CARLO_ERRORS = 6.0


@dataclass
class VerificationReport:
    """What verification found.

    Attributes:
        signatures: what lies beside the bundle, a sentence each, and whether it was checked.
        problems: what is wrong, naming the file; empty for a bundle that verifies.
        recomputed: what was computed again and agreed.
        not_recomputed: what could only be checked by hash, and why.
        reviews: what people decided about it, and whether they speak of this very bundle; they make nothing true or false.
    """

    signatures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    recomputed: list[str] = field(default_factory=list)
    not_recomputed: list[str] = field(default_factory=list)
    reviews: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(folder: Path, trusted: Trusted = NOBODY, model: Path | None = None) -> VerificationReport:
    """Check a bundle through and through.

    Args:
        folder: the bundle.
        trusted: whose signatures on it are asked for.
        model: the folder of a checkpoint, to see whether it is the one that was audited.

    Raises:
        RecordError: the folder is no bundle at all.
        SigningError: a key of ``trusted`` cannot be used.
        CheckpointError: ``model`` cannot be looked into.
    """
    bundle = Bundle.open(folder)
    found = check_signatures(bundle, trusted)
    report = VerificationReport(signatures=[str(said) for said in found.said], reviews=list(_reviews(bundle)))
    report.problems += [*bundle.check(), *found.problems]
    try:
        record, verdict = bundle.record(), bundle.verdict()
    except RecordError as error:
        report.problems.append(str(error))
        return report
    if bundle.read_bytes(RESULTS) != record.to_json().encode():
        report.problems.append(f"{RESULTS}: is not written the way Plumbline writes it")
    if verdict.record_sha256 != sha256(record.to_json().encode()).hexdigest():
        report.problems.append(f"{VERDICT}: was decided on another {RESULTS}")
    verify_probes(record, report)
    for finding in record.findings:
        _verify_finding(bundle, record, finding, report)
    _verify_card(bundle, record, report)
    verify_provenance(bundle, record, verdict, report)
    if model is not None:
        verify_model(bundle, record, model, report)
    _verify_verdict(bundle, verdict, report)
    _verify_pages(bundle, record, verdict, report)
    report.not_recomputed += [
        f"{entry.path}: checked by hash alone" for entry in _manifest(bundle) if entry.path.endswith("traceback.txt")
    ]
    report.not_recomputed += on_trust(bundle, record, found.signers)
    return report


def _manifest(bundle: Bundle) -> tuple[Any, ...]:
    try:
        return bundle.manifest().files
    except PlumblineError:
        return ()


def _reviews(bundle: Bundle) -> Iterator[str]:
    """A line a review; one of another bundle is no fault of this one, and is told."""
    found = reviews_of(bundle.folder)
    for kept in found.every:
        binds = "binds to this bundle" if kept.binds else "does not bind"
        yield f"{REVIEWS}/{kept.name}: {binds}: {kept_words(kept)}"
    yield from (str(problem) for problem in found.problems)


def _verify_finding(bundle: Bundle, record: AuditRecord, finding: Finding, report: VerificationReport) -> None:
    name = finding.instance
    if finding.status != "measured" or finding.reading is None:
        report.not_recomputed.append(f"{name}: {finding.status}, so there is nothing to recompute")
        return
    if finding.rows is None:
        report.not_recomputed.append(f"{name}: keeps no rows")
        return
    try:
        again = reread(finding, bundle.rows(finding.rows), record.level)
    except ProbeError as error:
        report.problems.append(f"{name}: cannot be recomputed here: {error}")
        return
    except PlumblineError as error:
        report.problems.append(str(error))
        return
    except Exception as error:
        report.problems.append(f"{finding.rows.path}: {name} cannot be summarised from it: {error}")
        return
    same_numpy = record.environment.get("numpy") == environment().get("numpy")
    differences = list(_differences(finding.reading, again, same_numpy=same_numpy))
    if differences:
        report.problems += [f"{RESULTS}: {name}: {d}" for d in differences[:5]]
    else:
        report.recomputed.append(f"{name}: {len(again.measurements)} figures from {finding.rows.path}")


def _differences(stored: Reading, again: Reading, *, same_numpy: bool) -> Iterator[str]:
    if len(stored.measurements) != len(again.measurements):
        yield f"{len(stored.measurements)} measurements are stored, {len(again.measurements)} come of the rows"
        return
    for a, b in zip(stored.measurements, again.measurements, strict=True):
        tolerance = EXACT if same_numpy else max(EXACT, MONTE_CARLO_ERRORS * _monte_carlo_error(b))
        yield from _unlike(a.model_dump(), b.model_dump(), f"{a.name}", tolerance)
    drawn_otherwise = not same_numpy and any(_monte_carlo_error(m) for m in again.measurements)
    if not drawn_otherwise:
        yield from _unlike(
            [e.model_dump() for e in stored.evidence], [e.model_dump() for e in again.evidence], "evidence", EXACT
        )
        yield from _unlike(
            [m.model_dump() for m in stored.remarks], [m.model_dump() for m in again.remarks], "remarks", EXACT
        )


def _monte_carlo_error(m: AnyMeasurement) -> float:
    if not isinstance(m, Measurement):
        return 0.0
    of_interval = m.interval.monte_carlo_error if m.interval is not None else None
    return max(m.monte_carlo_error or 0.0, of_interval or 0.0)


def _unlike(a: Any, b: Any, name: str, tolerance: float) -> Iterator[str]:
    """Where two dumps differ: text and structure exactly, numbers to a relative or absolute ``tolerance``."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from _unlike(a[key], b[key], f"{name}.{key}", tolerance)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _unlike(x, y, f"{name}[{i}]", tolerance)
    elif isinstance(a, float) and isinstance(b, float | int):
        if not math.isclose(a, b, rel_tol=min(tolerance, EXACT), abs_tol=tolerance):
            yield f"{name} is stored as {a!r}, the rows give {b!r}"
    elif a != b:
        yield f"{name} is stored as {_short(a)}, the rows give {_short(b)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "…"


def _verify_card(bundle: Bundle, record: AuditRecord, report: VerificationReport) -> None:
    if record.predictions is None:
        report.not_recomputed.append("the data's counts: no predictions are kept")
        return
    try:
        again = recount(record.data, bundle.rows(record.predictions))
    except (PlumblineError, KeyError) as error:
        report.problems.append(str(error))
        return
    differences = list(_unlike(record.data.model_dump(), again.model_dump(), "data", 0.0))
    report.problems += [f"{RESULTS}: {d}" for d in differences[:5]]
    if not differences:
        report.recomputed.append(f"data: row, label and group counts from {record.predictions.path}")


def _verify_verdict(bundle: Bundle, verdict: Verdict, report: VerificationReport) -> None:
    try:
        run = open_run(bundle)
        demands = Demands(
            policy=verdict.policy,
            waivers=verdict.waivers,
            baselines=embedded_baselines(bundle, verdict.policy),
            on=verdict.decided_on,
            lock=embedded_lock(bundle),
        )
        again = decide_run(run, demands)
    except Exception as error:
        report.problems.append(f"{VERDICT}: cannot be decided again: {error}")
        return
    if not verdict.enforced:
        again = not_enforced(again)
    # Rulings at the record's level copy its figures; only restated and compared ones are computed anew.
    computed = bool(verdict.comparisons) or any(r.level != run.record.level for r in verdict.rulings)
    tolerance = EXACT if computed else 0.0
    differences = list(_unlike(verdict.model_dump(mode="json"), again.model_dump(mode="json"), "verdict", tolerance))
    report.problems += [f"{VERDICT}: {d}" for d in differences[:5]]
    if bundle.read_bytes(VERDICT) != verdict.to_json().encode():
        report.problems.append(f"{VERDICT}: is not written the way Plumbline writes it")
    if not differences:
        report.recomputed.append(f"verdict: {len(again.rulings)} rulings as of {verdict.decided_on}")


def _verify_pages(bundle: Bundle, record: AuditRecord, verdict: Verdict, report: VerificationReport) -> None:
    from reports.junit import junit
    from reports.language import languages
    from reports.page import render
    from reports.showing import Showing
    from reports.summary import summary

    renderings = [(page_name(lang), lang) for lang in languages() if (bundle.folder / page_name(lang)).is_file()]
    if not any(name == page_name("en") for name, _ in renderings):
        report.problems.append(f"{page_name('en')}: missing")
    made = {name: render(record, verdict, Showing(language=lang)) for name, lang in renderings}
    made |= {"summary.md": summary(record, verdict), "junit.xml": junit(record, verdict)}
    for name, text in made.items():
        try:
            same = bundle.read_bytes(name) == text.encode()
        except PlumblineError as error:
            report.problems.append(str(error))
            continue
        if same:
            report.recomputed.append(f"{name}: rendered again, same bytes")
        else:
            report.problems.append(f"{name}: is not what this record and verdict render to")
