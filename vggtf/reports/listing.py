"""Groups of names with a line each."""

from collections.abc import Mapping, Sequence

Row = tuple[str, str]  # a name, and what it is


def text(groups: Mapping[str, Sequence[Row]]) -> str:
  """Returns the groups one under the other, never wrapped; empty ones are left out."""
  width = max((len(name) for rows in groups.values() for name, _ in rows), default=0)
  return "\n\n".join(
    "\n".join([heading, *(f"  {name:<{width}}  {line}".rstrip() for name, line in rows)])
    for heading, rows in groups.items()
    if rows
  )
