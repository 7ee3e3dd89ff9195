"""A small ImageNet with the layouts and the oddities of the real one: archives, folders, Kaggle's.

The devkit's ILSVRC2012_IDs are in another order than the WNIDs, as in the real one.
"""

import dataclasses
import io
import pathlib
import tarfile

import numpy as np
from PIL import Image
from scipy import io as scipy_io

WORDS = {  # in another order than sorted
  "n02092002": "Scottish deerhound, deerhound",
  "n01440764": "tench, Tinca tinca",
  "n03126707": "crane",
  "n02012849": "crane, crane bird",
}
SYNSETS = tuple(sorted(WORDS))
TRAIN_PER_CLASS = 30
VALIDATION = 40
TRUTH = [1 + (7 * at + at // 4) % len(WORDS) for at in range(VALIDATION)]  # ILSVRC2012_IDs
DEVKIT = "ILSVRC2012_devkit_t12"
# What must come of the odd ones: the reason of an image or of a file of boxes, by id.
REJECTED = {
  "train/n01440764/n01440764_3.JPEG": "empty",
  "train/n01440764/n01440764_4.JPEG": "truncated",
  "validation/ILSVRC2012_val_00000005.JPEG": "truncated",
}
REPAIRED = {
  "train/n01440764/n01440764_0.JPEG": "from_png",
  "train/n02012849/n02012849_1.JPEG": "from_cmyk",
}
REFUSED_BOXES = {
  "train/n02092002/n02092002_0.JPEG": "box_malformed_xml",
  "train/n02092002/n02092002_1.JPEG": "box_dtd",
  "train/n02092002/n02092002_2.JPEG": "box_wrong_root",
  "train/n02092002/n02092002_3.JPEG": "box_no_object",
  "train/n02092002/n02092002_4.JPEG": "box_inverted",
  "train/n02092002/n02092002_5.JPEG": "box_outside",
  "train/n02092002/n02092002_6.JPEG": "box_empty",
  "train/n02092002/n02092002_7.JPEG": "box_of_another_class",
  "train/n02092002/n02092002_8.JPEG": "box_unknown_class",
  "train/n02092002/n02092002_9.JPEG": "box_no_size",
  "train/n02092002/n02092002_999.JPEG": "box_without_image",
  "validation/ILSVRC2012_val_00000007.JPEG": "box_of_another_class",
}
READABLE_NAME = "train/n02092002/n02092002_10.JPEG"  # its boxes say Scottish_deerhound
SHARED_NAME = "train/n03126707/n03126707_2.JPEG"  # its boxes say crane, as another class's could


@dataclasses.dataclass(frozen=True)
class Content:
  """What was made: images and XML by the names of their files, training ones by class."""

  train: dict[str, dict[str, bytes]]
  validation: dict[str, bytes]
  train_boxes: dict[str, dict[str, bytes]]
  validation_boxes: dict[str, bytes]


def make(train_per_class: int = TRAIN_PER_CLASS) -> Content:
  """Returns all images and boxes, the same at each call."""
  train = {
    synset: {f"{synset}_{at}.JPEG": paint(1000 * order + at) for at in range(train_per_class)}
    for order, synset in enumerate(SYNSETS)
  }
  validation = {name_validation(at): paint(9000 + at) for at in range(1, VALIDATION + 1)}
  tench, crane = train["n01440764"], train["n02012849"]
  tench["n01440764_0.JPEG"] = paint(0, "PNG")
  tench["n01440764_2.JPEG"] = tench["n01440764_1.JPEG"]
  tench["n01440764_3.JPEG"] = b""
  tench["n01440764_4.JPEG"] = tench["n01440764_5.JPEG"][:-300]
  crane["n02012849_0.JPEG"] = paint(1, mode="L")
  crane["n02012849_1.JPEG"] = paint(2, mode="CMYK")
  validation[name_validation(5)] = validation[name_validation(6)][:-300]

  boxes = {synset: {} for synset in SYNSETS}
  for synset in ("n02092002", "n03126707"):
    for name in list(train[synset])[: train_per_class // 2]:
      boxes[synset][name.replace(".JPEG", ".xml")] = write_xml(synset)
  odd = {
    0: write_xml("n02092002")[:-20],
    1: b'<!DOCTYPE a [<!ENTITY b "c">]>' + write_xml("n02092002"),
    2: b"<notes></notes>",
    3: write_xml("n02092002", corners=()),
    4: write_xml("n02092002", corners=((30, 5, 10, 20),)),
    5: write_xml("n02092002", corners=((1, 1, 20, 20), (5, 5, 20, 70))),
    6: write_xml("n02092002", corners=((10, 5, 10, 20),)),
    7: write_xml("n01440764"),
    8: write_xml("n99999999"),
    9: write_xml("n02092002").replace(b"<width>50</width>", b""),
    10: write_xml("Scottish_deerhound"),
    999: write_xml("n02092002"),
  }
  boxes["n02092002"] |= {f"n02092002_{at}.xml": data for at, data in odd.items()}
  boxes["n03126707"]["n03126707_2.xml"] = write_xml("crane")
  validation_boxes = {
    name_validation(at).replace(".JPEG", ".xml"): write_xml(synset_of(at)) for at in range(6, 20)
  }
  validation_boxes["ILSVRC2012_val_00000007.xml"] = write_xml("n03126707")
  return Content(train, validation, boxes, validation_boxes)


def name_validation(number: int) -> str:
  return f"ILSVRC2012_val_{number:08d}.JPEG"


def synset_of(number: int) -> str:
  return list(WORDS)[TRUTH[number - 1] - 1]


def paint(seed: int, format_: str = "JPEG", mode: str = "RGB") -> bytes:
  random = np.random.default_rng(seed)
  height, width = (int(side) for side in random.integers(24, 64, 2))
  coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
  buffer = io.BytesIO()
  coarse.resize((width, height)).convert(mode).save(buffer, format_)
  return buffer.getvalue()


def write_xml(name: str, corners=((5, 10, 45, 30), (0, 0, 50, 40))) -> bytes:
  """Returns an annotation as ImageNet's are, "%s" for the file's name included."""
  objects = "".join(
    f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{box[0]}</xmin>"
    f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
    for box in corners
  )
  return (
    "<annotation><folder>n</folder><filename>%s</filename><size><width>50</width>"
    f"<height>40</height><depth>3</depth></size><segmented>0</segmented>{objects}</annotation>"
  ).encode()


def write_tar(files: dict[str, bytes], mode: str = "w") -> bytes:
  """Returns a tar of files, and of the folders that hold them."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode=mode) as tar:
    for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
      entry = tarfile.TarInfo(folder)
      entry.type = tarfile.DIRTYPE
      tar.addfile(entry)
    for name, data in files.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(data)
      tar.addfile(entry, io.BytesIO(data))
  return buffer.getvalue()


def write_meta(words: dict[str, str], images: int) -> bytes:
  """Returns a meta.mat: `synsets`, a struct array of one column, groups of classes at its end."""
  fields = (
    "ILSVRC2012_ID",
    "WNID",
    "words",
    "gloss",
    "num_children",
    "children",
    "wordnet_height",
    "num_train_images",
  )
  synsets = np.zeros((len(words) + 2, 1), [(field, object) for field in fields])
  for at, (wnid, text) in enumerate(words.items()):
    synsets[at, 0] = (
      float(at + 1),
      wnid,
      text,
      "a gloss",
      0.0,
      np.zeros((1, 0)),
      0.0,
      float(images),
    )
  for at, wnid in ((len(words), "n00001740"), (len(words) + 1, "n00001930")):
    children = np.array([[1.0, 2.0]])
    synsets[at, 0] = (float(at + 1), wnid, "entity", "a group", 2.0, children, 1.0, 0.0)
  buffer = io.BytesIO()
  scipy_io.savemat(buffer, {"synsets": synsets})
  return buffer.getvalue()


def write_devkit(words=WORDS, images: int = TRAIN_PER_CLASS, truth=TRUTH) -> dict[str, bytes]:
  """Returns the files of a devkit by their paths in its archive."""
  return {
    f"{DEVKIT}/readme.txt": b"notes",
    f"{DEVKIT}/data/meta.mat": write_meta(words, images),
    f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt": "".join(
      f"{number}\n" for number in truth
    ).encode(),
  }


def lay_out_archives(content: Content) -> dict[str, bytes]:
  """Returns the official archives by their names."""
  inner = {f"{synset}.tar": write_tar(files) for synset, files in content.train.items()}
  boxes = {
    f"{synset}/{name}": data
    for synset, files in content.train_boxes.items()
    for name, data in files.items()
  }
  validation_boxes = {f"val/{name}": data for name, data in content.validation_boxes.items()}
  return {
    "ILSVRC2012_img_train.tar": write_tar(inner),
    "ILSVRC2012_img_val.tar": write_tar(content.validation),
    f"{DEVKIT}.tar.gz": write_tar(write_devkit(), "w:gz"),
    "ILSVRC2012_bbox_train_v2.tar.gz": write_tar(boxes, "w:gz"),
    "ILSVRC2012_bbox_val_v3.tgz": write_tar(validation_boxes, "w:gz"),
  }


def lay_out_folders(content: Content, class_folders: bool = False) -> dict[str, bytes]:
  """Returns extracted images, by path, beside an extracted devkit and the archives of boxes."""
  archives = lay_out_archives(content)
  return (
    {name: archives[name] for name in archives if "bbox" in name}
    | write_devkit()
    | _lay_out_images(content, "", class_folders)
  )


def lay_out_kaggle(content: Content) -> dict[str, bytes]:
  """Returns the files of Kaggle's archive, its test images left out."""
  boxes = "ILSVRC/Annotations/CLS-LOC"
  lines = [
    f"ILSVRC2012_val_{at:08d},{synset_of(at)} 85 1 499 272 {synset_of(at)} 1 2 3 4 \n"
    for at in np.random.default_rng(3).permutation(np.arange(1, VALIDATION + 1)).tolist()
  ]
  return {
    **_lay_out_images(content, "ILSVRC/Data/CLS-LOC/", False),
    **{
      f"{boxes}/train/{synset}/{name}": data
      for synset, files in content.train_boxes.items()
      for name, data in files.items()
    },
    **{f"{boxes}/val/{name}": data for name, data in content.validation_boxes.items()},
    "LOC_synset_mapping.txt": "".join(f"{key} {WORDS[key]}\n" for key in SYNSETS).encode(),
    "LOC_val_solution.csv": "".join(["ImageId,PredictionString\n", *lines]).encode(),
  }


LAYOUTS = {
  "archives": lay_out_archives,
  "folders": lay_out_folders,
  "class folders": lambda content: lay_out_folders(content, class_folders=True),
  "kaggle": lay_out_kaggle,
}


def _lay_out_images(content: Content, above: str, class_folders: bool) -> dict[str, bytes]:
  train = {
    f"{above}train/{synset}/{name}": data
    for synset, files in content.train.items()
    for name, data in files.items()
  }
  validation = {
    f"{above}val/{synset_of(number) + '/' if class_folders else ''}{name}": data
    for number, (name, data) in enumerate(content.validation.items(), 1)
  }
  return train | validation


def write(folder: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
  """Writes files below a folder; returns the folder."""
  for name, data in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return folder
