"""The errors of the probes' room.

PlumblineError
  InputError                  exit 2
    ProbeError                         a probe is unknown, or its options are wrong
  Unavailable                          a probe cannot run here: becomes `not_applicable`, never a pass
"""

from __future__ import annotations

from fine_tune.errors import InputError, PlumblineError


class ProbeError(InputError):
    """A probe is unknown, defined twice, or its options are wrong."""


class Unavailable(PlumblineError):
    """The probe cannot run here (a missing extra, a download that was not allowed); the runner records why."""
