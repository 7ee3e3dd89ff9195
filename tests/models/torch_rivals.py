"""The nets of Krizhevsky, of Zeiler and Fergus, and of Szegedy in PyTorch, from their papers.

They share nothing with ours but the names of layers, those of Caffe. All is convolutional, so that
larger images give maps.
"""

import collections

import numpy as np

from tests.peers import torch


def norm(form):
  alpha, bias = {"alexnet": (5e-4, 2.0), "caffe": (1e-4, 1.0)}[form]  # PyTorch divides alpha by 5
  return torch.nn.LocalResponseNorm(5, alpha=alpha, beta=0.75, k=bias)


def alexnet(classes, width=1.0, last_side=6, lrn_form="alexnet", ceil_mode=False):
  """Returns Krizhevsky's net: convolution, ReLU, normalisation, pooling."""
  a, b, c = int(96 * width), int(256 * width), int(384 * width)
  conv, relu = torch.nn.Conv2d, torch.nn.ReLU()
  pool = torch.nn.MaxPool2d(3, 2, ceil_mode=ceil_mode)
  return _named(
    *(conv(3, a, 11, stride=4), relu, norm(lrn_form), pool),
    *(conv(a, b, 5, padding=2, groups=2), relu, norm(lrn_form), pool),
    *(conv(b, c, 3, padding=1), relu),
    *(conv(c, c, 3, padding=1, groups=2), relu),
    *(conv(c, b, 3, padding=1, groups=2), relu, pool),
    *_fully_connected(b, last_side, int(4096 * width), classes),
  )


def zfnet(classes, width=1.0, last_side=6, lrn_form="alexnet", ceil_mode=True):
  """Returns Zeiler and Fergus's net: convolution, ReLU, pooling, normalisation."""
  a, b, c = int(96 * width), int(256 * width), int(384 * width)
  conv, relu = torch.nn.Conv2d, torch.nn.ReLU()
  pool = torch.nn.MaxPool2d(3, 2, ceil_mode=ceil_mode)
  return _named(
    *(conv(3, a, 7, stride=2, padding=1), relu, pool, norm(lrn_form)),
    *(conv(a, b, 5, stride=2), relu, pool, norm(lrn_form)),
    *(conv(b, c, 3, padding=1), relu),
    *(conv(c, c, 3, padding=1), relu),
    *(conv(c, b, 3, padding=1), relu, pool),
    *_fully_connected(b, last_side, int(4096 * width), classes),
  )


def _fully_connected(inputs, side, hidden, classes):
  conv, relu = torch.nn.Conv2d, torch.nn.ReLU()
  return conv(inputs, hidden, side), relu, conv(hidden, hidden, 1), relu, conv(hidden, classes, 1)


def _named(*parts):
  names = iter(["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"])
  return torch.nn.Sequential(
    collections.OrderedDict(
      (next(names) if isinstance(part, torch.nn.Conv2d) else f"part {place}", part)
      for place, part in enumerate(parts)
    )
  )


# Table 1 of GoogLeNet's paper: 1x1, before 3x3, 3x3, before 5x5, 5x5, after the pooling.
TABLE = {
  "3a": (64, 96, 128, 16, 32, 32),
  "3b": (128, 128, 192, 32, 96, 64),
  "4a": (192, 96, 208, 16, 48, 64),
  "4b": (160, 112, 224, 24, 64, 64),
  "4c": (128, 128, 256, 24, 64, 64),
  "4d": (112, 144, 288, 32, 64, 64),
  "4e": (256, 160, 320, 32, 128, 128),
  "5a": (256, 160, 320, 32, 128, 128),
  "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(torch.nn.Module if torch else object):
  """Table 1 of the paper, and the auxiliary heads of its section 5."""

  def __init__(self, classes, side=7, early_side=4, width=1.0, naive=False, lrn_form="caffe"):
    """Takes the sides of the last map, and of that of an auxiliary head after its pooling."""
    super().__init__()
    self.layers, self.naive, self.side = torch.nn.ModuleDict(), naive, side
    self.norm = norm(lrn_form)
    self.pool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)

    def add(name, inputs, outputs, kernel, **options):
      self.layers[name] = torch.nn.Conv2d(inputs, outputs, kernel, **options)
      return outputs

    def widen(channels):
      return max(1, round(channels * width))

    channels = add("conv1/7x7_s2", 3, widen(64), 7, stride=2, padding=3)
    channels = add("conv2/3x3_reduce", channels, widen(64), 1)
    channels = add("conv2/3x3", channels, widen(192), 3, padding=1)
    for name, row in TABLE.items():
      one, before_3, three, before_5, five, after = map(widen, row)
      prefix, inputs = f"inception_{name}", channels
      add(f"{prefix}/1x1", inputs, one, 1)
      if naive:
        before_3 = before_5 = after = inputs
      else:
        add(f"{prefix}/3x3_reduce", inputs, before_3, 1)
        add(f"{prefix}/5x5_reduce", inputs, before_5, 1)
        add(f"{prefix}/pool_proj", inputs, after, 1)
      add(f"{prefix}/3x3", before_3, three, 3, padding=1)
      add(f"{prefix}/5x5", before_5, five, 5, padding=2)
      channels = one + three + five + after
      if name in ("4a", "4d"):
        head = {"4a": "loss1", "4d": "loss2"}[name]
        add(f"{head}/conv", channels, widen(128), 1)
        add(f"{head}/fc", widen(128), widen(1024), early_side)
        add(f"{head}/classifier", widen(1024), classes, 1)
    add("loss3/classifier", channels, classes, 1)

  def run(self, name, maps):
    return torch.relu(self.layers[name](maps))

  def inception(self, prefix, maps):
    pooled = torch.nn.functional.max_pool2d(maps, 3, stride=1, padding=1)
    three = five = maps
    if not self.naive:
      three = self.run(f"{prefix}/3x3_reduce", maps)
      five = self.run(f"{prefix}/5x5_reduce", maps)
      pooled = self.run(f"{prefix}/pool_proj", pooled)
    branches = [self.run(f"{prefix}/1x1", maps), self.run(f"{prefix}/3x3", three)]
    return torch.cat([*branches, self.run(f"{prefix}/5x5", five), pooled], 1)

  def forward(self, maps):
    """Returns the maps of logits: the last, and those of the auxiliary heads."""
    maps = self.norm(self.pool(self.run("conv1/7x7_s2", maps)))
    maps = self.norm(self.run("conv2/3x3", self.run("conv2/3x3_reduce", maps)))
    maps = self.pool(maps)
    early = []
    for name in TABLE:
      if name in ("4a", "5a"):
        maps = self.pool(maps)
      maps = self.inception(f"inception_{name}", maps)
      if name in ("4a", "4d"):
        head = f"loss{len(early) + 1}"
        pooled = torch.nn.functional.avg_pool2d(maps, 5, stride=3)
        hidden = self.run(f"{head}/fc", self.run(f"{head}/conv", pooled))
        early.append(self.layers[f"{head}/classifier"](hidden))
    maps = torch.nn.functional.avg_pool2d(maps, self.side, stride=1)
    return self.layers["loss3/classifier"](maps), *early


def copy_weights(model, net):
  """Copies our model's weights into PyTorch's net, whose layers have the same names."""
  theirs = layers(net)
  assert theirs.keys() == model.layers.keys()
  with torch.no_grad():
    for name, ours in model.layers.items():
      theirs[name].weight.copy_(torch.tensor(ours.weights.numpy().transpose(3, 2, 0, 1)))
      theirs[name].bias.copy_(torch.tensor(ours.biases.numpy()))


def layers(net):
  """Returns the convolutions by name."""
  found = dict(net.named_modules())
  return {
    name.removeprefix("layers."): layer
    for name, layer in found.items()
    if isinstance(layer, torch.nn.Conv2d)
  }


def assert_gradients(gradients, net):
  """Compares {name: (gradient of weights, of biases)} with what PyTorch's net has gathered."""
  theirs = layers(net)
  assert gradients.keys() == theirs.keys()
  for name, (weights, biases) in gradients.items():
    pairs = (
      (weights.numpy().transpose(3, 2, 0, 1), theirs[name].weight.grad.numpy()),
      (biases.numpy(), theirs[name].bias.grad.numpy()),
    )
    for ours, expected in pairs:
      assert np.abs(expected).max() > 0, name
      np.testing.assert_allclose(
        ours, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max(), err_msg=name
      )
