"""Beam's worker process for --direct_running_mode=multi_processing, without what it says at start.

All that it logs goes through Beam to the main process, which decides what is shown.
"""

import logging
import sys

from data_tools import beam_log


def main():
  """Works until the main process is gone."""
  with beam_log.silence():
    from apache_beam.runners.worker import sdk_worker_main
  beam_log.print_nothing()
  logging.root.handlers.clear()
  # It warns that it found no folder for staged files; a local run stages none.
  logging.getLogger(sdk_worker_main.__name__).setLevel(logging.ERROR)
  sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
  main()
