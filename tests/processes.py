"""The processes of a run, with a line between them, in threads of this one."""

import concurrent.futures
import contextlib
import socket
from collections.abc import Callable, Iterator

from vggtf.training import peers

NAMES = ("worker 0 (a:1)", "worker 1 (b:1)", "worker 2 (c:1)")


@contextlib.contextmanager
def joined(count: int) -> Iterator[Callable[..., list]]:
  """Yields a function that has each of `count` processes call another, and returns what they find.

  It calls call(peers, argument) with one argument for each process; an error that is raised stands
  for what is returned.
  """
  pairs = [socket.socketpair() for _ in range(count - 1)]
  ends = [peers.Peers(NAMES[:count], 0, {at: one for at, (one, _) in enumerate(pairs, 1)})]
  ends += [peers.Peers(NAMES[:count], at, {0: other}) for at, (_, other) in enumerate(pairs, 1)]

  def ask(call, *given) -> list:
    futures = [pool.submit(call, end, one) for end, one in zip(ends, given, strict=True)]
    return [future.exception(60) or future.result(60) for future in futures]

  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    yield ask
    list(pool.map(lambda end: end.__exit__(None, None, None), ends))
