"""Packaging of vggtf. The exact tested set of versions is constraints.txt."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent

# Read, not imported: a build environment has none of the packages below.
VERSION = re.search(
  r'^__version__ = "(.+)"$', (ROOT / "vggtf" / "__init__.py").read_text(encoding="utf-8"), re.M
).group(1)

# What the core imports, and nothing else (tests/test_packaging.py compares).
CORE = [
  "tensorflow~=2.21.0",  # training, evaluation, export
  # Reads curves; tf.summary raises without it, and TensorFlow 2.21 no longer brings it.
  "tensorboard~=2.21.0",
  "tensorflow-serving-api~=2.21.0",  # exports keep requests for servers; it brings no other package
  "apache-beam~=2.77.0",  # conversion
  "gin-config==0.5.0",  # configuration; frozen upstream, and its quirks are worked around by name
  "absl-py",  # flags of vggtf.main
  "google-crc32c",  # TFRecord checksums without importing TensorFlow in Beam workers
  "protobuf",  # the Example message in Beam workers; TensorFlow and Beam bound its version
  "simplejpeg",  # the one JPEG decoder with a strict mode: others pass damaged scans
  "pillow",  # rescaling in conversion, and the formats that are not JPEG
  "defusedxml",  # bounding boxes come as XML from strangers: no DTDs, no entities
  "beartype",  # is a value of the annotated type? Beam brings it too
  "numpy",
  "rich",  # tables and progress on a terminal
]

EXTRAS = {
  # The hand-written digits that scikit-learn brings along: a data set without a download.
  "demo": ["scikit-learn"],
  # Optimizers and losses of TensorFlow Addons; it ended with 0.23 and needs Keras 2.
  "addons": ["tensorflow-addons==0.23.0", "tf-keras~=2.21.0"],
  # ImageNet's devkit keeps its classes in a MATLAB file.
  "imagenet": ["scipy"],
  # Conversion on Dataflow and gs:// paths in Beam.
  "gcp": ["apache-beam[gcp]~=2.77.0"],
  # CUDA libraries as wheels; the driver is the machine's.
  "gpu": ["tensorflow[and-cuda]~=2.21.0"],
  # No "tpu": the tensorflow-tpu wheel ends at 2.20. TPU VMs bring a TensorFlow of their own.
  # What a TPU's compiler makes of a step, without a TPU: --job=plan. Its calls are not public, so
  # nothing but these versions is known to have them.
  "tpu-plan": ["jax==0.10.2", "libtpu==0.0.42.1"],
  # Weights from and to Keras's files; TensorFlow brings both.
  "keras": ["h5py", "keras"],
  "onnx": ["onnx"],
  # Torch weights without torch: files of plain tensors, no pickle.
  "torch-weights": ["safetensors"],
  # The page of --job=report: a template that escapes what data and configurations say.
  "report": ["jinja2"],
}
# The tools, and every extra that the tests exercise.
EXTRAS["dev"] = [
  "pytest",
  "pytest-timeout",
  "pytest-xdist",  # `make test` on all cores
  "hypothesis",
  "ruff",
  "setuptools>=77",  # tests build the wheel without a network
  "tfrecord",  # a reader of our shards that is not TensorFlow
  "onnxruntime",  # runs the ONNX files that we write
  "opencv-python-headless<5",  # reads our Caffe files; OpenCV 5 has dropped Caffe
  "matplotlib",  # docs/curves.py
  *EXTRAS["demo"],
  *EXTRAS["imagenet"],
  *EXTRAS["addons"],
  *EXTRAS["keras"],
  *EXTRAS["onnx"],
  *EXTRAS["torch-weights"],
  *EXTRAS["report"],
]

setuptools.setup(
  name="vggtf",
  version=VERSION,
  description="The VGG paper (Simonyan & Zisserman, ICLR 2015) as a working TensorFlow system",
  long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  license_files=["LICENSE"],
  # TensorFlow Addons has no wheel for 3.12, and the set is tested on 3.11 alone.
  python_requires=">=3.11,<3.12",
  # Folder gin/ is data inside the package: at the top of site-packages it would shadow gin-config.
  packages=[
    *setuptools.find_packages(include=["vggtf", "vggtf.*", "data_tools", "data_tools.*"]),
    "vggtf.gin",
  ],
  package_dir={"vggtf.gin": "gin"},
  package_data={"vggtf.gin": ["**/*.gin"], "vggtf.reports": ["*.html"]},
  include_package_data=False,
  install_requires=CORE,
  extras_require=EXTRAS,
  entry_points={
    "console_scripts": [
      "vggtf=vggtf.main:cli",
      "vggtf-convert=data_tools.convert:cli",
      "vggtf-verify=data_tools.verify:cli",
      "vggtf-show=data_tools.show:cli",
      "vggtf-digits=data_tools.digits:cli",
    ]
  },
)
