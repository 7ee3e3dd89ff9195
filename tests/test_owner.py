import datetime
import json
import os
import socket

import pytest

from vggtf import owner


def test_who_wrote_it_is_read_in_words():
  text = owner.write()
  start = datetime.datetime.fromisoformat(json.loads(text)["start"])
  assert abs((datetime.datetime.now(datetime.UTC) - start).total_seconds()) < 3600
  expected = f"pid {os.getpid()} on {socket.gethostname()}, since {json.loads(text)['start']}"
  assert owner.read(text) == owner.read(text.encode()) == expected


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": 7}', b"\xff", "7"])
def test_what_is_none_of_ours_has_no_owner(text):
  assert owner.read(text) is None
