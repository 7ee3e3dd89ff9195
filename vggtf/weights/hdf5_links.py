"""HDF5 can point into other files, which what strangers sent must not."""

from __future__ import annotations


def check(h5py, file) -> None:
  """Looks at every link of an opened file, before one is followed.

  Raises:
    ValueError: one leads into another file, which was not even opened.
  """
  groups, seen = [file.id], set()
  while groups:
    group = groups.pop()
    for name in group:
      kind = group.links.get_info(name).type
      if kind == h5py.h5l.TYPE_HARD:
        one = h5py.h5o.get_info(group, name)
        if one.type == h5py.h5o.TYPE_GROUP and one.addr not in seen:  # links can go round
          seen.add(one.addr)
          groups.append(h5py.h5g.open(group, name))
      elif kind != h5py.h5l.TYPE_SOFT:  # a soft link ends at an object that hard ones lead to
        raise ValueError(f"{name.decode(errors='replace')} lies in another file")
