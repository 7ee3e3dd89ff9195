"""Dataflow's own translation of the real pipeline, without credentials and without a network.

`make test-dataflow` runs it, in an environment of its own: apache-beam[gcp] is 157 packages.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tarfile

import pytest

pytest.importorskip("apitools", reason="apache-beam[gcp] is not installed: make test-dataflow")

import apache_beam as beam
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api

from data_tools import pipeline, runner
from data_tools.job import Job
from data_tools.options import Options
from data_tools.sources import folder, imagenet
from tests.data_tools import synthetic_ilsvrc
from vggtf import errors

IMAGE = "europe-docker.pkg.dev/project/vggtf/worker:1"
FLAGS = (
  "--runner=DataflowRunner",
  "--dry_run=True",
  "--no_auth",
  "--project=project",
  "--region=europe-west4",
  "--temp_location=gs://bucket/temp",
  "--staging_location=gs://bucket/staging",
  "--job_name=vggtf",
)
# Loads every function of the graph as a worker does, and says what else that has imported.
LOAD = """
import json, sys
from apache_beam.internal import pickler
for line in sys.stdin:
  pickler.loads(line.strip().encode())
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)))
"""


@pytest.fixture(scope="module")
def sources(pictures, tmp_path_factory):
  """Returns {name: source} with its input in a bucket; listed here, where there is no bucket."""
  tree = synthetic_ilsvrc.LAYOUTS["archives"](synthetic_ilsvrc.make())
  archives = synthetic_ilsvrc.write(tmp_path_factory.mktemp("ilsvrc"), tree)
  pictured = _open(folder, f"--input={pictures}")
  official = _open(imagenet, f"--input={archives}", "--partial")
  layout = dataclasses.replace(official.layout, root="gs://bucket/ilsvrc")
  return {
    "folder": dataclasses.replace(pictured, root="gs://bucket/pictures"),
    "imagenet": dataclasses.replace(official, layout=layout),
  }


@pytest.fixture(scope="module")
def translate(sources):
  """Returns a function (source's name, more flags) to the pipeline that Dataflow would be sent."""

  def translate(name: str, *more: str) -> api.Pipeline:
    source = sources[name]
    shards = tuple((split, 4) for split in source.splits())
    job = Job(source, tuple(source.classes()), Options((256,), shards), "gs://bucket/out")
    options = runner.parse_options([*FLAGS, *more], ())
    assert runner.is_dry_run(options)
    built = beam.Pipeline(options=options)
    pipeline.build(built, job)
    built.run().wait_until_finish()
    return built.runner.proto_pipeline

  return translate


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_all_stages_are_there(translate, name):
  components = translate(name).components
  stages = {t.unique_name.partition("/")[0] for t in components.transforms.values()}
  assert stages >= {"List", "Check", "Shard", "Write", "Together", "Gather", "Manifest"}
  kinds = {t.unique_name: t.spec.urn for t in components.transforms.values()}
  assert kinds["Shard/Group"] == common_urns.primitives.GROUP_BY_KEY.urn
  assert kinds["Write"] == common_urns.primitives.PAR_DO.urn


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_only_keyed_items_are_grouped(translate, name):
  components = translate(name).components
  (group,) = (t for t in components.transforms.values() if t.unique_name == "Shard/Group")
  (grouped,) = group.inputs.values()
  coder = components.coders[components.pcollections[grouped].coder_id]
  assert coder.spec.urn == common_urns.coders.KV.urn
  key = components.coders[coder.component_coder_ids[0]]
  text, number = (components.coders[id_].spec.urn for id_ in key.component_coder_ids)
  assert (text, number) == (common_urns.coders.STRING_UTF8.urn, common_urns.coders.VARINT.urn)


def test_workers_run_the_given_image(translate):
  environments = translate("imagenet", f"--sdk_container_image={IMAGE}").components.environments
  payloads = [
    api.DockerPayload.FromString(environment.payload)
    for environment in environments.values()
    if environment.urn == common_urns.environments.DOCKER.urn
  ]
  assert [payload.container_image for payload in payloads] == [IMAGE]


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_workers_need_no_tensorflow(translate, name, repository):
  functions = []
  for transform in translate(name).components.transforms.values():
    if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
      payload = api.ParDoPayload.FromString(transform.spec.payload)
      if payload.do_fn.urn == python_urns.PICKLED_DOFN_INFO:
        functions.append(payload.do_fn.payload)
  assert len(functions) > 5
  loaded = subprocess.run(
    [sys.executable, "-c", LOAD],
    cwd=repository,
    input=b"\n".join(functions),
    capture_output=True,
  )
  assert not loaded.returncode, loaded.stderr.decode()
  modules = set(json.loads(loaded.stdout))
  assert "data_tools" in modules
  assert not modules & {"tensorflow", "gin", "absl", "rich", "tests"}


def test_setup_file_packs_what_workers_import(translate, repository):
  environments = translate("folder", f"--setup_file={repository / 'setup.py'}").components
  packed = [
    api.ArtifactFilePayload.FromString(dependency.type_payload).path
    for environment in environments.environments.values()
    for dependency in environment.dependencies
    if api.ArtifactStagingToRolePayload.FromString(dependency.role_payload).staged_name
    == "workflow.tar.gz"
  ]
  with tarfile.open(packed[0]) as archive:
    members = {name.partition("/")[2] for name in archive.getnames()}
  sent = [*(repository / "data_tools").rglob("*.py"), *(repository / "vggtf").rglob("*.py")]
  assert {str(path.relative_to(repository)) for path in sent} <= members


@pytest.mark.parametrize("flag", ["--input", "--output"])
def test_local_paths_are_refused(flag):
  options = runner.parse_options(FLAGS, ())
  with pytest.raises(errors.UsageError, match=rf"{flag}=/data: Dataflow's workers cannot reach it"):
    runner.refuse_local_paths(options, {flag: "/data"})
  runner.refuse_local_paths(options, {flag: "gs://bucket/data"})


def _open(module, *flags):
  parser = argparse.ArgumentParser()
  module.add_flags(parser)
  return module.open_source(parser.parse_args(flags))
