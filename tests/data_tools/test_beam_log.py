"""Errors that a runner logs, and raises too, are shown once or not at all; warnings at once."""

import logging

from data_tools import beam_log


def test_held_errors_are_shown_or_forgotten(caplog):
  log = logging.getLogger("apache_beam.runners.common")
  held = beam_log.HeldErrors()
  before = len(logging.root.handlers)
  with held.hold():
    log.error("said thrice")
    log.warning("a disk is slow")
    assert caplog.messages == ["a disk is slow"]
  assert caplog.messages == ["a disk is slow", "said thrice"]
  caplog.clear()
  with held.hold():
    log.error("said thrice")
    held.forget()
  log.error("said by a thread that was still at work")
  assert caplog.messages == []
  assert len(logging.root.handlers) == before


def test_next_run_is_heard_again(caplog):
  log = logging.getLogger("apache_beam.runners.common")
  first, second = beam_log.HeldErrors(), beam_log.HeldErrors()
  with first.hold():
    first.forget()
  log.error("said by a thread of the first")
  with second.hold():
    log.error("said by the second")
  assert caplog.messages == ["said by the second"]
