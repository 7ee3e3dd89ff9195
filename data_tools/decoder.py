"""Images rendered in a process of their own: one that crashes or hangs a decoder is only refused.

Image decoders are C, and the images are strangers'. The process is started anew where an image has
ended it, so that the next one meets a sound decoder.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence

from data_tools import decoder_process, pixels, statistics
from data_tools.renditions import Rendered, Rendition, Wanted
from vggtf import errors

TIMEOUT = 60.0  # seconds for one image
# Bytes of address space. A progressive CMYK scan takes 35 for each of its pixels where its original
# size is stored and measured too, a photo at the usual scales 10; the libraries take 100 MiB.
MEMORY, MEMORY_PER_PIXEL = 512 << 20, 40
_COMMAND = (sys.executable, "-m", "data_tools.decoder_process")
_ATTEMPTS = 2  # a process can be killed, or its machine suspended, without any fault of the image
_GRACE = 30.0  # seconds beyond the time limit: to start, and to be killed by it
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1"}  # sums of three colours are no work for many


class Decoder:
  """`renditions.render` in a child process, which starts with the first image.

  For one thread at a time. The child ends with `close`, with this object, and with this process,
  however that ends.
  """

  def __init__(
    self,
    wanted: Wanted,
    timeout: float = TIMEOUT,
    memory: int | None = None,
    command: Sequence[str] = _COMMAND,
  ):
    """Keeps what the child is to be told.

    Args:
      wanted: what to make of every image.
      timeout: seconds for one image.
      memory: bytes of address space that the child may take; by default, what any image of
        `wanted.max_pixels` needs.
      command: starts the child.
    """
    self._command = command
    memory = memory or MEMORY + MEMORY_PER_PIXEL * wanted.max_pixels
    self._told = {"wanted": dataclasses.asdict(wanted), "timeout": timeout, "memory": memory}
    self._stop = None

  def __enter__(self) -> "Decoder":
    return self

  def __exit__(self, *_):
    self.close()

  def render(self, data: bytes, measure: bool) -> Rendered:
    """Returns what `renditions.render` does.

    Raises:
      pixels.Refused: as there; or "decoder_crashed" or "decoder_timeout": the image ended two
        processes in a row.
      EnvironmentFault: the process cannot be started.
    """
    for _ in range(_ATTEMPTS):
      if self._stop is None:
        self._start()
      try:
        header, blobs = self._ask(data, measure)
        break
      except (EOFError, OSError) as error:
        # Silent: it is stopped, or stuck in the kernel, where its own clock could not end it.
        silent = isinstance(error, TimeoutError)
    else:
      if silent or self._process.returncode == -signal.SIGALRM:
        raise pixels.Refused("decoder_timeout", f"more than {self._told['timeout']:g} seconds")
      raise pixels.Refused("decoder_crashed", _name(self._process.returncode))
    if "refused" in header:
      raise pixels.Refused(*header["refused"])
    if "bug" in header:
      raise RuntimeError(f"in the decoder process:\n{header['bug']}")
    pairs = zip(blobs, header["sizes"], strict=True)
    pixels_, sums, products = header["moments"]
    return Rendered(
      height=header["height"],
      width=header["width"],
      repairs=tuple((kind, detail) for kind, detail in header["repairs"]),
      renditions=tuple(Rendition(encoded, *size) for encoded, size in pairs),
      moments=statistics.Moments(pixels_, tuple(sums), tuple(products)),
    )

  def close(self):
    """Ends the process, if there is one; the next image would start another."""
    if self._stop:
      self._stop()
      self._stop = None

  def _start(self):
    ours, theirs = socket.socketpair()
    ours.settimeout(self._told["timeout"] + _GRACE)
    with theirs:
      try:
        self._process = subprocess.Popen(
          [*self._command, json.dumps(self._told | {"socket": theirs.fileno()})],
          stdin=subprocess.DEVNULL,
          pass_fds=[theirs.fileno()],
          env=_environment(),
          process_group=0,  # a terminal's Ctrl-C is not for it, not even while it starts
        )
      except OSError as error:
        ours.close()
        raise errors.EnvironmentFault(f"cannot start a decoder process: {error}") from error
    self._connection, self._incoming = ours, ours.makefile("rb")
    self._stop = weakref.finalize(self, _end, self._process, ours, self._incoming)
    try:
      decoder_process.receive(self._incoming)
    except (EOFError, OSError):
      self.close()
      raise errors.EnvironmentFault(
        f"the decoder process did not start: {_name(self._process.returncode)}; what it said is "
        "above; free memory, or mend the installation, and run again"
      ) from None

  def _ask(self, data: bytes, measure: bool) -> tuple[dict, list[bytes]]:
    try:
      decoder_process.send(self._connection, {"measure": measure}, [data])
      return decoder_process.receive(self._incoming)
    except BaseException:  # even for Ctrl-C: this answer must not be taken for that of the next one
      self.close()
      raise


def _environment() -> dict[str, str]:
  """The child finds what we found."""
  path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
  return os.environ | {"PYTHONPATH": path} | _SETTINGS


def _end(process: subprocess.Popen, *connections):
  for connection in connections:
    connection.close()
  process.kill()
  process.wait()


def _name(returncode: int) -> str:
  if returncode < 0:
    return f"ended by {signal.Signals(-returncode).name}"
  return f"ended with exit code {returncode}"
