"""The errors of the reports' room.

PlumblineError
  InputError                  exit 2
    RecordError                        a record, verdict or bundle cannot be read
  VerificationError           exit 13  a bundle is not what it claims to be
"""

from __future__ import annotations

from fine_tune.errors import InputError, PlumblineError


class RecordError(InputError):
    """A record, verdict or bundle cannot be read."""


class VerificationError(PlumblineError):
    """A bundle is not what it claims to be: a file is missing, altered or added, or a number does not recompute."""

    exit_code = 13
