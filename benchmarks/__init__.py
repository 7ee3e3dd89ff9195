"""Our parts beside their peers, or beside a limit of the machine, in one run. No timed tests."""
