"""What a run hands back in Python: record, verdict and the bundle they lie in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import GateError
from probes.evidence import Measurement, slice_name
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from reports.origin import Origin


@dataclass(frozen=True, kw_only=True)
class Result:
    """An audit: ``record`` is what was measured, ``verdict`` what was decided, ``path`` the bundle on disk.

    ``origin`` is the file that the policy was read from, with its rules' lines; None where it came from nowhere else.
    """

    record: AuditRecord
    verdict: Verdict
    path: Path
    origin: Origin | None = None

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    def to_frame(self) -> pd.DataFrame:
        """Every measurement, one a row: instance, measure, slice, value, low, high, level, n, denominator, smallest, reason.

        Undefined ones have a missing value and a reason.
        """
        import pandas as pd

        rows = []
        for finding in self.record.findings:
            for m in finding.reading.measurements if finding.reading else ():
                measured = m if isinstance(m, Measurement) else None
                interval = measured.interval if measured else None
                rows.append(
                    {
                        "instance": finding.instance,
                        "measure": m.name,
                        "slice": slice_name(m.slice),
                        "value": measured.value if measured else float("nan"),
                        "low": interval.low if interval else None,
                        "high": interval.high if interval else None,
                        "level": interval.level if interval else None,
                        "n": m.counts.n,
                        "denominator": m.counts.denominator,
                        "smallest": m.counts.smallest,
                        "reason": "" if isinstance(m, Measurement) else str(m.reason),
                    }
                )
        return pd.DataFrame(rows)

    def checks(self) -> pd.DataFrame:
        """Every ruling, one a row: rule, slice, outcome, value, low, high, limit, reason."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "rule": r.check.rule.id,
                    "slice": slice_name(r.check.slice),
                    "outcome": r.outcome,
                    "value": r.value,
                    "low": r.interval.low if r.interval else None,
                    "high": r.interval.high if r.interval else None,
                    "limit": r.limit,
                    "reason": str(r.reason),
                }
                for r in self.verdict.rulings
            ]
        )

    def save(self, out: Path | str) -> Result:
        """Copy the bundle to ``out`` and return the result that lies there.

        Raises:
            GateError: the folder exists and is not empty.
        """
        target = Path(out)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise GateError(f"{target} exists and is not empty", expected="a new folder", fix="choose another one")
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        return replace(self, path=target)

    def __repr__(self) -> str:
        from reports.cell import line

        return line(self.record, self.verdict)

    def _repr_html_(self) -> str:
        """The first screen and the table of checks, for a notebook's cell."""
        from reports.cell import render_cell

        return render_cell(self.record, self.verdict)
