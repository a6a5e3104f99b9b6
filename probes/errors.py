"""The errors of the probes' room.

PlumblineError
  InputError                  exit 2
    ProbeError                         a probe is unknown, or its options are wrong
    SubjectError                       a subject cannot be opened or asked, or gave answers that cannot be used
      EndpointError                    an endpoint did not answer, or not in time, or the budget of requests is used up
  Unavailable                          a probe cannot run here: becomes `not_applicable`, never a pass
  TooAlike                             texts too alike to be compared pair by pair: the figure becomes Undefined
"""

from __future__ import annotations

from fine_tune.errors import InputError, PlumblineError


class ProbeError(InputError):
    """A probe is unknown, defined twice, or its options are wrong."""


class SubjectError(InputError):
    """A subject cannot be opened or asked, or it gave answers that cannot be used."""


class EndpointError(SubjectError):
    """An endpoint did not answer, or not in time, or the budget of requests is used up."""


class Unavailable(PlumblineError):
    """The probe cannot run here (a missing extra, a download that was not allowed); the runner records why."""


class TooAlike(PlumblineError):
    """So many texts are nearly near copies that comparing them pair by pair would take for ever; the figure is Undefined."""
