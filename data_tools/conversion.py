"""Items of one shard to one finished file per scale. No Beam here, and no state between shards.

Each image is read, repaired, rescaled to every scale and encoded before the next one is read, so
memory holds one at a time, whatever the size of the shard.
"""

import contextlib
from collections import Counter

from data_tools import inputs, pixels, sharding, statistics
from data_tools.decoder import Decoder
from data_tools.job import Job
from data_tools.members import Members
from data_tools.parts import Note, ShardResult
from data_tools.progress import Tally
from data_tools.renditions import Rendered
from data_tools.shard_file import ShardFile
from data_tools.source import Annotation, Item
from vggtf import schema

STATISTICS_SPLIT = "train"


def convert_shard(
  split: str, index: int, members: Members, job: Job, decoder: Decoder, tally: Tally
) -> ShardResult:
  """Writes one shard at every scale.

  Args:
    split: its split.
    index: its number in the split.
    members: what belongs in it.
    job: of the whole conversion.
    decoder: renders the images.
    tally: is told of each image.

  Returns:
    What was written, refused and repaired.

  Raises:
    EnvironmentFault: reading or writing failed for a reason that is not one image's.
  """
  shards = dict(job.options.shards)[split]
  shard = _Shard(split, members)
  with contextlib.ExitStack() as stack:
    files = []
    for scale in job.options.scales:
      file = ShardFile(job.folder, sharding.shard_path(scale, split, index, shards))
      stack.callback(file.discard)
      files.append(file)
    for item in members.items:
      tally.count()
      annotation = shard.annotations.pop(item.id, None)
      if item.left_out:
        shard.note(item, "left_out", *item.left_out)
        continue
      try:
        data = inputs.read(item, job.source)
        content = shard.inputs.add(item, data)
        rendered = decoder.render(data, measure=split == STATISTICS_SPLIT)
      except pixels.Refused as refused:
        shard.note(item, "image", refused.reason, refused.detail)
        continue
      boxes = shard.use_boxes(annotation)
      stored = _make_records(item, rendered, boxes, job)
      for file, record in zip(files, stored, strict=True):
        file.write(schema.encode(record))
      shard.add_stored(item, content, rendered, stored[0])
    for annotation in shard.annotations.values():
      detail = "no image of that name was listed"
      shard.note(annotation, "boxes", "box_without_image", detail)
    return shard.finish(index, tuple(file.commit() for file in files))


class _Shard:
  """The sums over one shard while it is written; `annotations` are those not yet used."""

  def __init__(self, split: str, members: Members):
    self.annotations = dict(members.annotations)
    self.inputs = inputs.begin(members)
    self._split = split
    self._notes: list[Note] = []
    self._counts: Counter[int] = Counter()
    self._moments = statistics.Moments()
    self._boxed = self._boxes = 0
    self._contents: list[str] = []

  def note(self, of: Item | Annotation, kind: str, what: str, detail: str):
    self._notes.append(Note(of.id, self._split, of.origin, kind, what, detail))

  def use_boxes(self, annotation: Annotation | None) -> tuple[schema.Box, ...]:
    if annotation is None:
      return ()
    if annotation.refused:
      self.note(annotation, "boxes", *annotation.refused)
    return annotation.boxes

  def add_stored(self, item: Item, content: bytes, rendered: Rendered, record: schema.Record):
    for kind, detail in rendered.repairs:
      self.note(item, "repair", kind, detail)
    self._counts.update(record.classes)
    self._moments += rendered.moments
    self._contents.append(content[:8].hex())
    self._boxed += bool(record.boxes)
    self._boxes += len(record.boxes)

  def finish(self, index: int, files) -> ShardResult:
    return ShardResult(
      split=self._split,
      index=index,
      files=files,
      class_counts=tuple(sorted(self._counts.items())),
      moments=self._moments,
      notes=tuple(self._notes),
      inputs=self.inputs,
      contents="".join(self._contents),
      boxed=self._boxed,
      boxes=self._boxes,
    )


def _make_records(
  item: Item, rendered: Rendered, boxes: tuple[schema.Box, ...], job: Job
) -> list[schema.Record]:
  key, text = job.classes[item.label]
  return [
    schema.Record(
      id=item.id,
      encoded=rendition.encoded,
      height=rendition.height,
      width=rendition.width,
      label=item.label,
      synset=key,
      text=text,
      filename=item.id.rpartition("/")[2],
      scale=scale,
      original_height=rendered.height,
      original_width=rendered.width,
      boxes=boxes,
      labels=item.labels,
      uncertain=item.uncertain,
      repairs=tuple(kind for kind, _ in rendered.repairs),
    )
    for scale, rendition in zip(job.options.scales, rendered.renditions, strict=True)
  ]
