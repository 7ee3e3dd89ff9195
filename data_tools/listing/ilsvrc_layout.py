"""Where the parts of ImageNet lie: as its archives, extracted, or as Kaggle lays them out.

Each part is looked for by itself, so that extracted images go with archived boxes.
"""

import dataclasses

from data_tools import storage
from vggtf import errors

# A name that ends in "/" is a folder's. Kaggle's folders are found from above ILSVRC/ and in it.
_CANDIDATES = {
  "train": (
    "ILSVRC2012_img_train.tar",
    "train/",
    "ILSVRC/Data/CLS-LOC/train/",
    "Data/CLS-LOC/train/",
  ),
  "validation": (
    "ILSVRC2012_img_val.tar",
    "val/",
    "validation/",
    "ILSVRC/Data/CLS-LOC/val/",
    "Data/CLS-LOC/val/",
  ),
  "devkit": ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12/"),
  "synsets": ("LOC_synset_mapping.txt",),
  "solution": ("LOC_val_solution.csv",),
  "train_boxes": (
    "ILSVRC2012_bbox_train_v2.tar.gz",
    "ILSVRC/Annotations/CLS-LOC/train/",
    "Annotations/CLS-LOC/train/",
  ),
  "validation_boxes": (
    "ILSVRC2012_bbox_val_v3.tgz",
    "ILSVRC/Annotations/CLS-LOC/val/",
    "Annotations/CLS-LOC/val/",
  ),
}


@dataclasses.dataclass(frozen=True)
class Layout:
  """Names of the parts below `root`, "" for what there is not; a folder's ends in "/"."""

  root: str
  train: str = ""
  validation: str = ""
  devkit: str = ""
  synsets: str = ""
  solution: str = ""
  train_boxes: str = ""
  validation_boxes: str = ""

  def path(self, name: str) -> str:
    """Returns the path of a part."""
    return storage.join(self.root, name.rstrip("/"))

  def parts(self) -> dict[str, str]:
    """Returns the parts that there are, by the names of their fields."""
    return {part: getattr(self, part) for part in _CANDIDATES if getattr(self, part)}

  def archives(self) -> tuple[str, ...]:
    """Returns the names of the parts that are archives."""
    return tuple(name for name in self.parts().values() if name.endswith(("tar", "gz")))


def find(root: str) -> Layout:
  """Returns what lies in a folder, here or in a bucket.

  Raises:
    UsageError: there are no images in any known layout, or one part is there twice.
  """
  if not storage.is_folder(root):
    raise errors.UsageError(f"--input={root}: no such folder")
  found = {}
  for part, names in _CANDIDATES.items():
    here = [name for name in names if _exists(root, name)]
    if len(here) > 1:
      raise errors.UsageError(
        f"--input={root} has both {here[0]} and {here[1]}; move one of them away"
      )
    if here:
      found[part] = here[0]
  if not {"train", "validation"} & set(found):
    looked = "; ".join(" or ".join(_CANDIDATES[part]) for part in ("train", "validation"))
    raise errors.UsageError(f"--input={root} holds no images of ImageNet; looked for {looked}")
  return Layout(root, **found)


def _exists(root: str, name: str) -> bool:
  path = storage.join(root, name.rstrip("/"))
  return storage.is_folder(path) if name.endswith("/") else storage.is_file(path)
