"""Clipping against PyTorch and by hand."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import updates
from tests.peers import needs_torch, torch
from vggtf import errors
from vggtf.optimizers import adamw, clip, sgd

PLAIN = functools.partial(sgd.SGD, momentum=0.0, bias_rate=1.0)


@pytest.mark.parametrize("form", updates.FORMS)
@pytest.mark.parametrize("norm", [0.5, 1e3])
def test_long_gradients_are_shortened_together(form, norm):
  (gradients,) = updates.draw()
  length = np.sqrt(sum((one**2).sum() for one in gradients))
  scale = 0.1 * min(1, norm / length)
  expected = [first - scale * one for first, one in zip(updates.draw()[0], gradients, strict=True)]
  constructor = functools.partial(clip.ByGlobalNorm, PLAIN, norm)
  updates.assert_close(updates.run(constructor, [gradients], [0.1], **form), expected)


@needs_torch
def test_updates_are_those_of_torch():
  gradients = [[one * scale for one in step] for scale, step in enumerate(updates.draw(10))]
  parameters = [torch.nn.Parameter(torch.tensor(value)) for value in updates.draw()[0]]
  optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
  for step in gradients:
    for parameter, gradient in zip(parameters, step, strict=True):
      parameter.grad = torch.tensor(gradient)
    torch.nn.utils.clip_grad_norm_(parameters, 15.0)
    optimizer.step()
  constructor = functools.partial(
    clip.ByGlobalNorm, functools.partial(sgd.SGD, bias_rate=1.0), 15.0
  )
  found = updates.run(constructor, gradients, [0.1] * 10)
  for ours, theirs in zip(found, parameters, strict=True):  # torch adds 1e-6 to the norm
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=2e-6)


def test_slots_of_the_wrapped_are_in_the_checkpoint(tmp_path):
  optimizer = clip.ByGlobalNorm(sgd.SGD, 1.0)
  optimizer.build([tf.Variable([1.0, 2.0])])
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "state"))
  assert sum(name.startswith("optimizer") for name, _ in tf.train.list_variables(path)) == 1


def test_whether_the_wrapped_decays_is_known():
  assert clip.ByGlobalNorm(adamw.AdamW, 1.0).decays_weights
  assert not clip.ByGlobalNorm(sgd.SGD, 1.0).decays_weights


@pytest.mark.parametrize("norm", [0, -1.0, float("nan")])
def test_impossible_norms_are_refused(norm):
  with pytest.raises(errors.UsageError, match="norm="):
    clip.ByGlobalNorm(sgd.SGD, norm)
