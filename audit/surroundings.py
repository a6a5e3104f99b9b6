"""Whether a figure of a finished run has to come out here to the last digit, or how far it may differ, and why. It compares no figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.cards import environment
from audit.machine import determinism, hardware
from probes.evidence import Message, Scalar, message
from reports.errors import RecordError, VerificationError
from reports.manifests import ENVIRONMENT, EnvironmentLock
from reports.reading import parse
from reports.record import AuditRecord

if TYPE_CHECKING:
    from probes.subject import Subject
    from reports.bundle import Bundle

EXACT = 1e-12
FLOATING = 1e-5
MONTE_CARLO_ERRORS = 6.0

_HARDWARE = ("system", "machine", "processor")
# What decides on the order of a sum; PYTHONHASHSEED and the like change no figure.
_SWITCHES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "torch_threads", "torch_deterministic_algorithms", "torch_float32_matmul_precision",
    "torch_default_dtype",
)  # fmt: skip


def tolerance_here(
    bundle: Bundle, record: AuditRecord, subject: Subject, device: str
) -> tuple[bool, tuple[Message, ...]]:
    """Whether figures have to agree to the last digit, and why."""
    differing = _surroundings(bundle, record)
    if device.partition(":")[0] != "cpu":
        differing.append(message("It ran on {device}, which may add in another order each time.", device=device))
    if subject.kind == "endpoint":
        differing.append(message("The model answers elsewhere, on a machine that nothing is known of."))
    if not differing:
        return True, (message("Same machine and libraries: every figure has to agree to {e}.", e=EXACT),)
    said = message(
        "So values and interval ends may differ by {floating}, absolute or relative, for sums in another order, or by {times} Monte Carlo standard "
        "errors where they were simulated; counts may not differ.",
        floating=FLOATING,
        times=MONTE_CARLO_ERRORS,
    )
    return False, (*differing, said)


def _surroundings(bundle: Bundle, record: AuditRecord) -> list[Message]:
    """What differs between the run's surroundings and these."""
    out = []
    here: dict[str, str] = environment()
    for name in sorted({*record.environment, *here}):
        if record.environment.get(name) != here.get(name):
            out.append(_differs(name, record.environment.get(name), here.get(name)))
    lock = _lock(bundle)
    if lock is None:
        return [*out, message("The run does not say which machine it was made on.")]
    sides: tuple[tuple[tuple[str, ...], dict[str, Scalar], dict[str, Scalar]], ...] = (
        (_HARDWARE, lock.hardware, hardware()),
        (_SWITCHES, lock.determinism, determinism()),
    )
    for names, then, now in sides:
        out += [_differs(n, then.get(n), now.get(n)) for n in names if then.get(n) != now.get(n)]
    if "accelerators" in lock.hardware:
        out.append(message("The run was made where there is an accelerator, and does not say whether it was used."))
    return out


def _differs(name: str, then: Scalar | None, now: Scalar | None) -> Message:
    none = "-"
    return message("{name} was {then} and is {now}.", name=name, then=none if then is None else then,
                   now=none if now is None else now)  # fmt: skip


def _lock(bundle: Bundle) -> EnvironmentLock | None:
    try:
        return parse(bundle.read_bytes(ENVIRONMENT), EnvironmentLock, where=ENVIRONMENT)
    except (RecordError, VerificationError):
        return None
