"""The process that `data_tools.decoder` starts: renders one image after another, and may die of it.

  python -m data_tools.decoder_process JSON

A message, either way, is the length of a header, the header as JSON and the blobs that it names.
Nothing that comes from this process is ever unpickled: a decoder that hostile bytes have taken over
can lie about an image to the converter, but not command it.
"""

import contextlib
import dataclasses
import json
import resource
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import BinaryIO

from PIL import Image

from data_tools import pixels, renditions
from vggtf import malloc

_LENGTH = struct.Struct("<I")


def main(render: Callable[..., renditions.Rendered] = renditions.render):
  """Answers until the other side is gone; Ctrl-C is the parent's business.

  Args:
    render: what to call for each image.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we have a limit of our own
  warnings.filterwarnings("ignore", "Palette images with Transparency")  # alpha is dropped
  told = json.loads(sys.argv[1])
  told["wanted"]["scales"] = tuple(told["wanted"]["scales"])
  wanted = renditions.Wanted(**told["wanted"])
  _limit_memory(told["memory"])
  malloc.keep_freed_memory()
  with (
    socket.socket(fileno=told["socket"]) as connection,
    connection.makefile("rb") as incoming,
    contextlib.suppress(EOFError, ConnectionError),
  ):
    send(connection, {"ready": True})
    while True:
      header, (data,) = receive(incoming)
      # Its default action ends the process, wherever in C it hangs and even if nobody waits.
      signal.setitimer(signal.ITIMER_REAL, told["timeout"])
      answer, blobs = _answer(render, data, wanted, header["measure"], told["memory"])
      signal.setitimer(signal.ITIMER_REAL, 0)
      send(connection, answer, blobs)


def send(connection: socket.socket, header: dict, blobs: Sequence[bytes] = ()):
  """Sends a header of JSON values, and blobs."""
  text = json.dumps(header | {"blobs": [len(blob) for blob in blobs]}).encode()
  connection.sendall(_LENGTH.pack(len(text)) + text)
  for blob in blobs:
    connection.sendall(blob)


def receive(incoming: BinaryIO) -> tuple[dict, list[bytes]]:
  """Returns the header and the blobs of the next message.

  Raises:
    EOFError: the other side is gone.
  """
  (length,) = _LENGTH.unpack(_read(incoming, _LENGTH.size))
  header = json.loads(_read(incoming, length))
  return header, [_read(incoming, size) for size in header["blobs"]]


def _read(incoming: BinaryIO, size: int) -> bytes:
  data = incoming.read(size)
  if len(data) < size:
    raise EOFError
  return data


def _answer(render, data: bytes, wanted, measure: bool, memory: int) -> tuple[dict, list[bytes]]:
  try:
    rendered = render(data, wanted, measure)
  except pixels.Refused as refused:
    return {"refused": (refused.reason, refused.detail)}, []
  except MemoryError:
    return {"refused": ("too_large", f"it takes more than {memory >> 20} MiB of memory")}, []
  except Exception:  # a bug: it is the parent's to raise
    return {"bug": traceback.format_exc()}, []
  answer = {
    "height": rendered.height,
    "width": rendered.width,
    "repairs": rendered.repairs,
    "sizes": [(one.height, one.width) for one in rendered.renditions],
    "moments": dataclasses.astuple(rendered.moments),
  }
  return answer, [one.encoded for one in rendered.renditions]


def _limit_memory(memory: int):
  _, most = resource.getrlimit(resource.RLIMIT_AS)
  limit = memory if most == resource.RLIM_INFINITY else min(memory, most)
  resource.setrlimit(resource.RLIMIT_AS, (limit, most))


if __name__ == "__main__":
  main()
