"""What a SavedModel answers: a predictor with decoding, limits and labels in the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from vggtf import contracts, images
from vggtf.export.limits import Limits

TOP = 5
ENCODED_KEY = "image/encoded"  # of the Examples that `classify` takes: that of our records


class Served(tf.Module):
  """A predictor and all that its signatures need, for tf.saved_model.save."""

  def __init__(
    self,
    model: contracts.Model,
    predictor: contracts.Predictor,
    labels: Sequence[str],
    limits: Limits,
  ):
    """Takes the parts.

    Args:
      model: the net, whose features and score maps are served beside the predictor.
      predictor: what was measured, around that net or others.
      labels: class names in label order.
      limits: of a request.
    """
    super().__init__()
    self._model, self._predictor, self._limits = model, predictor, limits
    self._labels = tf.constant(labels)
    image = tf.TensorSpec([None, None, 3], tf.uint8)
    views = tf.function(predictor.prepare).get_concrete_function(image).structured_outputs
    self._views = tf.nest.map_structure(lambda view: tf.TensorSpec(view.shape, view.dtype), views)
    self._crop = tf.TensorSpec([model.input_size, model.input_size, 3], tf.uint8)
    # Once in the graph, however many signatures call them.
    self._predict = _share(predictor.__call__, self._views)
    self._extract = _share(lambda crops: model(crops).features, self._crop)
    self._score = _share(lambda whole: tf.nn.softmax(model.score_map(whole)), image)

  def signatures(self) -> Mapping[str, Callable]:
    """Returns the concrete functions by the names that clients ask for.

    serving_default: `images`, string [N], JPEG or PNG files -> `probabilities`, float32
      [N, classes]; `classes`, int32 [N, 5], the most probable ones; `labels`, their names.
    images: `images`, uint8 [N, H, W, 3] RGB -> the same.
    classify: `inputs`, string [N], Examples with `image/encoded` -> `classes`, string [N, 5], and
      `scores`, float32 [N, 5]: TensorFlow Serving's classification API.
    features: `images`, string [N] -> `features`, float32 [N, D], the last layer's input at the
      centre crop; where the net has such features.
    score_map: `images`, string [N], files of one size -> `posteriors`, float32 [N, h, w, classes],
      of every place of the rescaled images.
    """
    files = tf.TensorSpec([None], tf.string, "images")
    pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, "images")
    examples = tf.TensorSpec([None], tf.string, "inputs")
    found = {
      "serving_default": tf.function(self._answer_files).get_concrete_function(files),
      "images": tf.function(self._answer_pixels).get_concrete_function(pixels),
      "classify": tf.function(self._classify).get_concrete_function(examples),
      "score_map": tf.function(self._map_scores).get_concrete_function(files),
    }
    if self._extract.get_concrete_function().structured_outputs is not None:
      found["features"] = tf.function(self._extract_features).get_concrete_function(files)
    # A predictor of several nets holds them as it likes; what is saved must be in sight.
    self.weights = list({v.ref(): v for f in found.values() for v in f.variables}.values())
    return found

  def attach_vocabulary(self, path: Path) -> None:
    """Writes the labels to a file, a line each, which a SavedModel takes along as an asset."""
    path.write_bytes(b"".join(label + b"\n" for label in self._labels.numpy()))
    self._vocabulary = tf.saved_model.Asset(str(path))

  def _answer_files(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
    encoded, _ = self._limits.check_encoded(encoded)
    return self._answer(encoded, images.decode)

  def _answer_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
    return self._answer(self._limits.check_decoded(pixels), lambda image: image)

  def _classify(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
    features = {ENCODED_KEY: tf.io.FixedLenFeature([], tf.string)}
    encoded = tf.io.parse_example(examples, features)[ENCODED_KEY]
    reply = self._answer_files(encoded)
    scores = tf.gather(reply["probabilities"], reply["classes"], batch_dims=1)
    return {"classes": reply["labels"], "scores": scores}

  def _extract_features(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
    encoded, _ = self._limits.check_encoded(encoded)

    def crop(file: tf.Tensor) -> tf.Tensor:
      return images.crop_centre(self._rescale(file), self._model.input_size)

    return {"features": _in_passes(encoded, self._limits.together, crop, self._crop, self._extract)}

  def _map_scores(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
    encoded, sizes = self._limits.check_encoded(encoded)
    same = tf.reduce_all(tf.equal(sizes, sizes[:1]))
    text = tf.strings.format("images of one size expected, of {} given", [sizes])
    with tf.control_dependencies([tf.debugging.Assert(same, [text])]):
      encoded = tf.identity(encoded)
    image = tf.TensorSpec([None, None, 3], tf.uint8)
    return {"posteriors": _in_passes(encoded, 1, self._rescale, image, self._score)}

  def _rescale(self, file: tf.Tensor) -> tf.Tensor:
    return images.rescale(images.decode(file), self._predictor.scale)

  def _answer(self, sources: tf.Tensor, decode: Callable) -> dict[str, tf.Tensor]:
    together = self._count_together() if self._predictor.fixed_size else 1
    found = _in_passes(
      sources,
      together,
      lambda source: self._predictor.prepare(decode(source)),
      self._views,
      self._predict,
    )
    probabilities = tf.ensure_shape(found, [None, len(self._labels)])
    classes = tf.math.top_k(probabilities, min(TOP, len(self._labels))).indices
    labels = tf.gather(self._labels, classes)
    return {"probabilities": probabilities, "classes": classes, "labels": labels}

  def _count_together(self) -> int:
    """Returns how many images' views may share a pass."""
    values = sum(math.prod(view.shape) for view in tf.nest.flatten(self._views))
    return max(1, self._limits.together * math.prod(self._crop.shape) // values)


def _share(function: Callable, views):
  """Returns a tf.function of a batch of views, whose TensorSpecs are given."""
  batch = tf.nest.map_structure(lambda view: tf.TensorSpec([None, *view.shape], view.dtype), views)
  return tf.function(function, input_signature=[batch])


def _in_passes(
  sources: tf.Tensor, together: int, prepare: Callable, views, compute: Callable
) -> tf.Tensor:
  """Computes on a few images after another, so that memory is bounded by a pass.

  Args:
    sources: [N, ...], a file or an image each.
    together: images of a pass.
    prepare: turns one into a nest of views.
    views: its TensorSpecs.
    compute: of a batch of views, as `_share` made it; returns float32 [n, ...].

  Returns:
    float32 [N, ...].
  """
  shape = compute.get_concrete_function().structured_outputs.shape
  count = tf.shape(sources)[0]

  def advance(start: tf.Tensor, found: tf.TensorArray):
    part = sources[start : start + together]
    prepared = tf.map_fn(prepare, part, fn_output_signature=views)
    return start + together, found.write(start // together, compute(prepared))

  passes = (count + together - 1) // together
  found = tf.TensorArray(tf.float32, passes, infer_shape=False, element_shape=shape)
  _, found = tf.while_loop(
    lambda start, _: start < count,
    advance,
    (tf.constant(0), found),
    parallel_iterations=1,
  )
  return found.concat()
