"""Who is at a folder: what a process leaves in the one that it fills, or trains in."""

import datetime
import json
import os
import socket

NAME = "owner.json"


def write() -> str:
  """Returns the file's text of this process."""
  start = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": start})


def read(text: str | bytes) -> str | None:
  """Returns who wrote the text, "pid 7 on host, since ..."; None if the text is none of ours."""
  try:
    owner = json.loads(text)
    return f"pid {owner['pid']} on {owner['host']}, since {owner['start']}"
  except (ValueError, KeyError, TypeError):
    return None
