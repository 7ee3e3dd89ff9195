"""The net of Krizhevsky, Sutskever and Hinton (2012), "AlexNet", one of those in table 7.

Layers carry the names of Caffe's: conv1 ... conv5, fc6, fc7 and fc8. Its convolutions see half of
their inputs where its authors had a GPU for each half (their section 3.5).
"""

from collections.abc import Sequence

from vggtf.nn import chain, initializers

# Section 3.5 of its paper, the first biases after section 5. A response normalisation follows the
# ReLU, and a pooling, whose windows overlap, follows that (sections 3.3 and 3.4).
STEPS = (
  chain.Convolve("conv1", 11, 96, stride=4, padding="VALID"),
  chain.Respond(),
  chain.Pool(3, 2),
  chain.Convolve("conv2", 5, 256, groups=2, bias=1.0),
  chain.Respond(),
  chain.Pool(3, 2),
  chain.Convolve("conv3", 3, 384),
  chain.Convolve("conv4", 3, 384, groups=2, bias=1.0),
  chain.Convolve("conv5", 3, 256, groups=2, bias=1.0),
  chain.Pool(3, 2),
)


class AlexNet(chain.Chain):
  """Krizhevsky's net; a `contracts.Model`."""

  def __init__(
    self,
    classes: int,
    mean_rgb: Sequence[float],
    input_size: int = 227,
    width: float = 1.0,
    dropout: float = 0.5,
    initializer: initializers.Initializer | None = None,
    lrn_form: str = "alexnet",
    pool_rounding: str = "floor",
    compute_dtype: str = "float32",
    seed: int = 0,
  ):
    """Builds the net and its variables.

    Args:
      classes: how many.
      mean_rgb: mean of the training set's pixels, in levels of 0..255. (Krizhevsky subtracts a mean
        image.)
      input_size: side in pixels. The paper says 224, but its maps of 55x55 take 227.
      width: multiplies the channels of every hidden layer, which stay even.
      dropout: probability, in [0, 1), that a unit of fc6 or fc7 is dropped.
      initializer: of all weights, Glorot's if None; the paper's is Gaussian(0.01).
      lrn_form: "alexnet", this paper's, or "caffe".
      pool_rounding: "floor" or "ceil" (Caffe); alike at 227.
      compute_dtype: "float32", "bfloat16" or "float16", see vggtf/precision.py.
      seed: of the first weights.

    Raises:
      UsageError: an option has no such value, or the poolings leave nothing of the input.
    """
    super().__init__(
      "alexnet",
      STEPS,
      classes=classes,
      mean_rgb=mean_rgb,
      input_size=input_size,
      width=width,
      dropout=dropout,
      initializer=initializer,
      lrn_form=lrn_form,
      pool_rounding=pool_rounding,
      compute_dtype=compute_dtype,
      seed=seed,
      hidden_bias=1.0,
    )
