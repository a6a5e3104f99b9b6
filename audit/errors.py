"""The errors of the audit's room.

PlumblineError
  InputError                  exit 2
    PlanError                          a plan or a fine-tuning file cannot be used
    PolicyError                        a policy cannot be used
      UnknownMeasure                   a rule names a probe instance or a measure that the plan does not have
    WaiverError                        a waiver file cannot be used
    GateError                          a run cannot be decided as asked
    HardenError                        a run has nothing to harden with, or the plan is not the run's
    SigningError                       a key cannot be used, or a run cannot be signed as asked
    StoreError                         the cache folder cannot be used
    TrackerError                       a tracking server cannot be used
"""

from __future__ import annotations

from fine_tune.errors import InputError


class PlanError(InputError):
    """A plan, or a file that says how to fine-tune, cannot be used."""


class PolicyError(InputError):
    """A policy cannot be used."""


class UnknownMeasure(PolicyError):
    """A rule names a probe instance that is not planned, or a measure that its probe does not define."""


class WaiverError(InputError):
    """A waiver file cannot be used: a field is missing, it approves itself, it lasts too long."""


class GateError(InputError):
    """A run cannot be decided as asked."""


class HardenError(InputError):
    """A run cannot be hardened: it has nothing to harden with, or the plan is not the run's."""


class SigningError(InputError):
    """A key or an identity cannot be used, or what signing needs is not installed."""


class StoreError(InputError):
    """The cache folder cannot be read or written."""


class TrackerError(InputError):
    """A tracking server cannot be used: its client is not installed, it is not there, or it refuses."""
