"""Fusion of answers that were kept, against numpy's mean (E5)."""

import numpy as np
import pytest

from tests.reports import kept as made
from vggtf import errors, workdir
from vggtf.jobs import fuse
from vggtf.reports import answers, fusion

FILES = ("a.npz", "b.npz", "c.npz")


@pytest.fixture
def run(tmp_path):
  """Returns the folder of a run without measurements, which is `tmp_path`."""
  run = workdir.Workdir(str(tmp_path))
  run.write_facts(workdir.RunFacts(("a",), (1.0, 2.0, 3.0), "data", "0", {}, {}))
  return run


def test_the_mean_is_numpys():
  kept = [made.make(seed) for seed in range(3)]
  fused = fusion.fuse(kept, FILES)
  posteriors = np.mean([one.answers.posteriors.astype(np.float64) for one in kept], axis=0)
  np.testing.assert_allclose(fused.answers.posteriors, posteriors, rtol=0, atol=1e-7)
  order = np.argsort(-posteriors, axis=1)
  label = fused.answers.label[:, np.newaxis]
  for k, name in ((1, "top1_error"), (5, "top5_error")):
    expected = 1 - (order[:, :k] == label).any(axis=1).mean()
    assert fusion.means(fused)[name].value == pytest.approx(expected)
    assert fusion.means(fused)[name].weight == 40
  assert fusion.means(fused)["top1_error"].value < fusion.means(kept[0])["top1_error"].value


def test_it_tells_which_nets_were_averaged_and_how():
  views = [("dense", 256), ("dense", 384)]
  crops = [("multi_crop", 256), ("multi_crop", 384)]
  of_d = made.make(0, nets=[made.net("D", "d", views=views)], protocol="dense")
  of_d_crops = made.make(1, nets=[made.net("D", "d", views=crops)], protocol="crops")
  of_e = made.make(2, nets=[made.net("E", "e", views=views)], protocol="dense")
  two_nets = fusion.fuse([of_d, of_e], FILES[:2]).line
  assert two_nets["protocol"] == "2 nets: dense (d and e)"
  assert [net["run"] for net in two_nets["nets"]] == ["d", "e"]
  two_ways = fusion.fuse([of_d, of_d_crops], FILES[:2]).line
  assert two_ways["protocol"] == "dense and crops"
  assert two_ways["nets"][0]["views"] == [
    ["dense", 256, "dense Q=256, mean of scores, flip", "1/4"],
    ["dense", 384, "dense Q=384, mean of scores, flip", "1/4"],
    ["multi_crop", 256, "multi_crop Q=256, 5x5, flip", "1/4"],
    ["multi_crop", 384, "multi_crop Q=384, 5x5, flip", "1/4"],
  ]
  assert two_nets["details"] != two_ways["details"]


@pytest.mark.parametrize("again", [0, 1, 2])
def test_what_would_count_twice_is_refused(again):
  of_d = made.make(0, nets=[made.net("D", "d")])
  both = made.make(1, nets=[made.net("D", "d", views=[("dense", 384), ("multi_crop", 384)])])
  old = of_d._replace(line=made.forget(of_d.line))
  of_e = made.make(2, nets=[made.net("E", "e")])
  message = "a.npz and c.npz both have what d says by dense at 384, which would count twice"
  with pytest.raises(errors.UsageError, match=message):
    fusion.fuse([of_d, of_e, (of_d, both, old)[again]], FILES)


def test_one_net_by_other_options_is_fused():
  kept = [
    made.make(seed, nets=[made.net("D", "d", views=[("dense", 384, options)])])
    for seed, options in enumerate(("mean of scores, flip", "mean of posteriors, flip"))
  ]
  (net,) = fusion.fuse(kept, FILES[:2]).line["nets"]
  assert [view[2:] for view in net["views"]] == [
    ["dense Q=384, mean of posteriors, flip", "1/2"],
    ["dense Q=384, mean of scores, flip", "1/2"],
  ]


def test_files_of_earlier_versions_are_fused():
  d, e = (made.make(seed, nets=[made.net(name, name)]) for seed, name in enumerate("DE"))
  old = [one._replace(line=made.forget(one.line)) for one in (d, e)]
  fused, expected = fusion.fuse(old, FILES[:2]), fusion.fuse([d, e], FILES[:2])
  np.testing.assert_array_equal(fused.answers.posteriors, expected.answers.posteriors)
  assert [net["views"] for net in fused.line["nets"]] == [[["dense", 384, "", ""]]] * 2
  assert fusion.are_one([old[0], old[0]])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"count": 39}, "b.npz has other images: 1 are missing, 0 are new than a.npz"),
    ({"label": np.zeros(40, np.int32)}, "b.npz has other labels of the same images"),
  ],
)
def test_answers_to_other_images_are_not_fused(change, message):
  with pytest.raises(errors.IntegrityError, match=message):
    fusion.fuse([made.make(0), made.make(1, **change)], FILES[:2])


def test_answers_of_other_classes_are_not_fused():
  other = made.make(1)._replace(labels=made.LABELS[::-1])
  with pytest.raises(errors.IntegrityError, match="other classes, or in another order"):
    fusion.fuse([made.make(0), other], FILES[:2])


def test_posteriors_are_needed():
  with pytest.raises(errors.UsageError, match=r"b\.npz has no posteriors; evaluate with"):
    fusion.fuse([made.make(0), made.make(1, posteriors=None)], FILES[:2])
  with pytest.raises(errors.UsageError, match="1 file of answers given"):
    fusion.fuse([made.make(0)], FILES[:1])


def test_agreement_is_told():
  one, other = made.make(0), made.make(1)
  (text,) = fusion.agreement([one, other])
  a, b = one.answers.posteriors, other.answers.posteriors
  apart = np.abs(a - b)
  label = one.answers.label
  assert text == (
    f"1 and 2: the same first class for {(a.argmax(1) == b.argmax(1)).mean():.2%}; the label's "
    f"posterior differs by {apart[np.arange(40), label].mean():.4f} on average, any by "
    f"{apart.max():.4f} at most"
  )


def test_answers_of_one_protocol_are_compared_alone(run, tmp_path, capsys):
  kept = [made.make(seed, nets=[made.net()], protocol=f"from {seed}") for seed in range(2)]
  for one in kept:
    answers.save(tmp_path, one)
  paths = [tmp_path / answers.FOLDER / one.line["details"] / answers.NAME for one in kept]
  fuse.run(str(tmp_path), [str(path) for path in paths])
  assert run.read_results() == []
  assert "1 and 2: the same first class" in capsys.readouterr().out


def test_the_job_keeps_no_mean_that_weighs_a_net_twice(run, tmp_path):
  kept = [made.make(seed) for seed in range(2)]
  for one in kept:
    answers.save(tmp_path, one)
  d, e = (str(tmp_path / answers.FOLDER / one.line["details"] / answers.NAME) for one in kept)
  fuse.run(str(tmp_path), [d, e])
  before = run.read_results(), sorted((tmp_path / answers.FOLDER).iterdir())
  with pytest.raises(errors.UsageError, match="leave one of the two out"):
    fuse.run(str(tmp_path), [d, d, d, e])
  assert (run.read_results(), sorted((tmp_path / answers.FOLDER).iterdir())) == before


def test_the_job_needs_a_run_and_files(run, tmp_path):
  nowhere = tmp_path / "nowhere"
  with pytest.raises(errors.UsageError, match="nowhere holds no run"):
    fuse.run(str(nowhere), [])
  assert not nowhere.exists()
  with pytest.raises(errors.UsageError, match="there is no file"):
    fuse.run(str(tmp_path), [str(tmp_path)])


def test_the_job_prints_and_keeps_the_mean(run, tmp_path, capsys):
  kept = [made.make(seed) for seed in range(2)]
  for one in kept:
    answers.save(tmp_path, one)
  places = [tmp_path / answers.FOLDER / one.line["details"] / answers.NAME for one in kept]
  fuse.run(str(tmp_path), [str(path) for path in places])
  fused = fusion.fuse(kept, FILES[:2])
  lines = run.read_results()
  assert [line["metric"] for line in lines] == ["top1_error", "top5_error"]
  assert lines[0]["value"] == fusion.means(fused)["top1_error"].value
  assert lines[0]["nets"] == fused.line["nets"]
  again = answers.load(tmp_path / answers.FOLDER / fused.line["details"] / answers.NAME)
  np.testing.assert_array_equal(again.answers.posteriors, fused.answers.posteriors)
  printed = capsys.readouterr().out
  for one in (*kept, fused):
    assert f"{fusion.means(one)['top1_error'].value:.2%} ± " in printed
  assert "1 and 2: the same first class" in printed
