"""Images that end the process by a crash or a hang, or want all memory: only they suffer."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from PIL import Image

from data_tools import pixels, renditions
from data_tools.decoder import Decoder
from vggtf import errors

WANTED = renditions.Wanted((24, 32), 95, 10**8, True, "keep")

# Wraps the real work: what an image says behind its last byte happens to the process.
HARMFUL = """
  import ctypes, os, signal, sys, time
  from data_tools import decoder_process, renditions

  def render(data, wanted, measure):
    if data.endswith(b"crash"):
      ctypes.string_at(0)
    if data.endswith(b"hang"):
      ctypes.CDLL(None).sleep(1000)  # in C, without Python's say
    if data.endswith(b"spin"):
      while True:
        pass
    if data.endswith(b"exit"):
      os._exit(3)
    if data.endswith(b"stop"):
      os.kill(os.getpid(), signal.SIGSTOP)
    if data.endswith(b"bug"):
      raise ZeroDivisionError("a bug")
    if data.endswith(b"once") and not os.path.exists(sys.argv[0] + ".seen"):
      open(sys.argv[0] + ".seen", "w").close()
      os.kill(os.getpid(), signal.SIGKILL)
    return renditions.render(data, wanted, measure)

  decoder_process.main(render)
"""


@pytest.fixture
def harmful(tmp_path):
  """Returns a command whose process suffers from some images."""
  script = tmp_path / "harmful.py"
  script.write_text(textwrap.dedent(HARMFUL))
  return (sys.executable, str(script))


@pytest.fixture
def photos(paint, save):
  return [save(paint(seed, 40, 60)) for seed in range(6)]


def test_what_pillow_says_of_transparent_palettes_is_not_shown(paint, save, capfd):
  """Its advice to keep the alpha is for others: alpha is dropped here."""
  image = Image.fromarray(paint(0, 40, 60)).quantize(16)
  image.info["transparency"] = bytes(range(16))
  with Decoder(WANTED) as decoder:
    rendered = decoder.render(save(image, "PNG"), measure=False)
  assert rendered.repairs == (("from_png", "PNG P"),)
  assert capfd.readouterr().err == ""


def find_children(pid: int) -> list[int]:
  found = []
  for name in filter(str.isdigit, os.listdir("/proc")):
    try:
      with open(f"/proc/{name}/stat") as file:
        state, parent = file.read().rpartition(")")[2].split()[:2]
    except OSError:
      continue
    if int(parent) == pid and state != "Z":
      found.append(int(name))
  return found


def is_running(pid: int) -> bool:
  try:
    with open(f"/proc/{pid}/stat") as file:
      return file.read().rpartition(")")[2].split()[0] != "Z"
  except OSError:
    return False


def wait_until(holds, seconds: float = 20) -> bool:
  deadline = time.monotonic() + seconds
  while not holds():
    if time.monotonic() > deadline:
      return False
    time.sleep(0.02)
  return True


def test_the_answer_is_that_of_the_plain_call(photos, paint, save, damage_scan):
  odd = [save(paint(1, 30, 30), "PNG"), damage_scan[0], save(paint(1, 900, 1400), quality=100)]
  with Decoder(WANTED) as decoder:
    for data in photos + odd:
      for measure in (False, True):
        assert decoder.render(data, measure) == renditions.render(data, WANTED, measure)


def test_refusals_come_back_as_they_are(paint, save):
  with Decoder(WANTED) as decoder:
    for data in (b"", b"hello", save(paint(1, 80, 80))[:-50]):
      with pytest.raises(pixels.Refused) as expected:
        renditions.render(data, WANTED, False)
      with pytest.raises(pixels.Refused) as found:
        decoder.render(data, False)
      assert (found.value.reason, found.value.detail) == (
        expected.value.reason,
        expected.value.detail,
      )


@pytest.mark.parametrize(
  ("harm", "refusal"),
  [
    ("crash", "decoder_crashed: ended by SIGSEGV"),
    ("exit", "decoder_crashed: ended with exit code 3"),
    ("hang", "decoder_timeout: more than 0.5 seconds"),
    ("spin", "decoder_timeout: more than 0.5 seconds"),
  ],
)
def test_only_the_harmful_image_is_refused(harmful, photos, harm, refusal):
  photos[2] += harm.encode()
  found = []
  with Decoder(WANTED, timeout=0.5, command=harmful) as decoder:
    for data in photos:
      try:
        found.append(decoder.render(data, True))
      except pixels.Refused as refused:
        found.append(str(refused))
  expected = [renditions.render(data, WANTED, True) for data in photos]
  assert found == [*expected[:2], refusal, *expected[3:]]


def test_a_process_that_is_stopped_counts_as_hung(harmful, photos, monkeypatch):
  monkeypatch.setattr("data_tools.decoder._GRACE", 2.0)
  with Decoder(WANTED, timeout=0.2, command=harmful) as decoder:
    with pytest.raises(pixels.Refused, match="decoder_timeout"):
      decoder.render(photos[0] + b"stop", False)
    assert decoder.render(photos[0], False) == renditions.render(photos[0], WANTED, False)


def test_an_image_is_not_blamed_for_one_killed_process(harmful, photos):
  with Decoder(WANTED, command=harmful) as decoder:
    data = photos[0] + b"once"
    assert decoder.render(data, True) == renditions.render(data, WANTED, True)


def test_a_process_killed_between_images_is_replaced(photos):
  with Decoder(WANTED) as decoder:
    for data in photos[:3]:
      assert decoder.render(data, True) == renditions.render(data, WANTED, True)
      (child,) = find_children(os.getpid())
      os.kill(child, signal.SIGKILL)
      assert wait_until(lambda child=child: not is_running(child))


def test_a_bug_is_raised_with_its_traceback(harmful, photos):
  with Decoder(WANTED, command=harmful) as decoder:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
      decoder.render(photos[0] + b"bug", False)
    assert decoder.render(photos[1], False) == renditions.render(photos[1], WANTED, False)


def test_memory_is_bounded(photos, save):
  wide = save(np.zeros((9_000, 9_000, 3), np.uint8))  # 243 MB of pixels, and as much to rescale
  with Decoder(WANTED, memory=400 << 20) as decoder:
    for _ in range(2):
      with pytest.raises(pixels.Refused, match="too_large: it takes more than 400 MiB of memory"):
        decoder.render(wide, True)
      assert decoder.render(photos[0], True) == renditions.render(photos[0], WANTED, True)


def test_nothing_runs_before_the_first_image_and_after_the_last(photos):
  decoder = Decoder(WANTED)
  assert not find_children(os.getpid())
  decoder.render(photos[0], False)
  (child,) = find_children(os.getpid())
  decoder.close()
  decoder.close()
  assert not is_running(child)
  decoder.render(photos[0], False)
  (child,) = find_children(os.getpid())
  del decoder
  gc.collect()
  assert not is_running(child)


def test_an_interrupted_call_does_not_shift_the_answers(harmful, photos):
  def interrupt(*_):
    raise KeyboardInterrupt

  before = signal.signal(signal.SIGALRM, interrupt)
  try:
    with Decoder(WANTED, command=harmful) as decoder:
      decoder.render(photos[0], False)
      signal.setitimer(signal.ITIMER_REAL, 0.3)
      with pytest.raises(KeyboardInterrupt):
        decoder.render(photos[1] + b"hang", False)
      assert decoder.render(photos[2], False) == renditions.render(photos[2], WANTED, False)
  finally:
    signal.signal(signal.SIGALRM, before)


def test_the_process_leaves_ctrl_c_to_its_parent(photos):
  with Decoder(WANTED) as decoder:
    decoder.render(photos[0], False)
    (child,) = find_children(os.getpid())
    os.kill(child, signal.SIGINT)
    assert decoder.render(photos[1], True) == renditions.render(photos[1], WANTED, True)
    assert find_children(os.getpid()) == [child]


def test_a_process_that_cannot_start_is_the_machines_fault(photos, capfd):
  with pytest.raises(errors.EnvironmentFault, match="did not start: ended with exit code 1"):
    Decoder(WANTED, command=(sys.executable, "-c", "import no_such_package")).render(b"", False)
  assert "no_such_package" in capfd.readouterr().err
  with pytest.raises(errors.EnvironmentFault, match=r"cannot start a decoder process: .*no_such"):
    Decoder(WANTED, command=("no_such_program",)).render(b"", False)
  assert not find_children(os.getpid())


PARENT = """
  import sys
  from data_tools import renditions
  from data_tools.decoder import Decoder

  decoder = Decoder(renditions.Wanted((24,), 95, 10**8, True, "keep"), 3.0, command=sys.argv[2:])
  with open(sys.argv[1], "rb") as file:
    data = file.read()
  decoder.render(data, True)
  print("ready", flush=True)
  decoder.render(data + b"hang", True)
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "hung"])
def test_no_orphan_outlives_a_killed_parent(harmful, photos, tmp_path, repository, busy):
  photo = tmp_path / "photo.jpg"
  photo.write_bytes(photos[0])
  command = harmful if busy else (sys.executable, "-m", "data_tools.decoder_process")
  script = textwrap.dedent(PARENT) + ("" if busy else "input()\n")
  parent = subprocess.Popen(
    [sys.executable, "-c", script, str(photo), *command],
    cwd=repository,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  with parent:
    assert parent.stdout.readline() == b"ready\n"
    (child,) = find_children(parent.pid)
    time.sleep(0.2)
    parent.kill()
  assert wait_until(lambda: not is_running(child), 10)


def test_it_works_from_any_folder(photos, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with Decoder(WANTED) as decoder:
    assert decoder.render(photos[0], False) == renditions.render(photos[0], WANTED, False)


def test_the_process_imports_neither_beam_nor_tensorflow(repository):
  script = "import sys; import data_tools.decoder_process; print(*sys.modules)"
  done = subprocess.run(
    [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True
  )
  assert not {"apache_beam", "tensorflow", "data_tools.decoder"} & set(done.stdout.split())
  assert "data_tools.renditions" in done.stdout.split()
