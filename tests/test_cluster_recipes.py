"""deploy/cluster: what the scripts start, with stand-ins for python, scontrol and srun on PATH."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from vggtf import errors
from vggtf.training import cluster

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "cluster"
PYTHON = 'echo "$TF_CONFIG"\necho "$@"\nexit ${CODE:-0}\n'
MENDED = [errors.PeerError.exit_code, errors.Preempted.exit_code, 137, 143]


@pytest.fixture
def run(tmp_path):
  """Returns a function that runs a script with these programs first on PATH."""

  def run(command, programs, **environment):
    for name, text in programs.items():
      (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
      (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
      ["bash", *command],
      cwd=ROOT,
      env={"PATH": path, **environment},
      capture_output=True,
      text=True,
      check=False,
    )

  return run


def manifest(name):
  yaml = pytest.importorskip("yaml")
  return yaml.safe_load((FOLDER / name).read_text())


def test_the_configurations_that_recipes_name_exist():
  named = {
    found
    for path in (*FOLDER.iterdir(), ROOT / "docs" / "distributed.md")
    for found in re.findall(r"--gin_file=(\S+)", path.read_text())
  }
  assert named
  assert not [name for name in sorted(named) if not (ROOT / name).is_file()]


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("*.s*")))
def test_scripts_are_bash(script, run):
  assert run(["-n", FOLDER / script], {}).stderr == ""


def test_a_slurm_task_finds_its_place_in_the_cluster(run):
  done = run(
    [FOLDER / "slurm_worker.sh", "--data_dir=d", "--job=train"],
    {
      "python": PYTHON,
      "scontrol": '[ "$*" = "show hostnames n[1-3]" ] && printf "n1\\nn2\\nn3\\n"',
    },
    SLURM_JOB_ID="1234567",
    SLURM_JOB_NODELIST="n[1-3]",
    SLURM_NODEID="2",
    RUN="/runs/a",
  )
  config, flags = done.stdout.splitlines()
  found = cluster.parse(config)
  assert [str(task) for task in found.tasks] == [f"worker {i} (n{i + 1}:24567)" for i in range(3)]
  assert found.own.name == "worker 2"
  assert flags == "-m vggtf.main --data_dir=d --job=train --workdir=/runs/a/worker-2"


@pytest.mark.parametrize(
  ("codes", "code", "requeued"),
  [([0], 0, False), ([7, 143, 0], 0, False), ([7] * 4, 7, False), ([42], 0, True), ([4], 4, False)],
)
def test_a_slurm_job_starts_again_what_a_restart_mends(run, tmp_path, codes, code, requeued):
  srun = f"""
echo "$@" >> {tmp_path}/started
codes=({" ".join(map(str, codes))})
exit ${{codes[$(wc -l < {tmp_path}/started) - 1]}}
"""
  done = run(
    [FOLDER / "slurm.sbatch", "--data_dir=d"],
    {"srun": srun, "scontrol": f'echo "$@" > {tmp_path}/control'},
    SLURM_JOB_ID="5",
    RUN="r",
  )
  assert done.returncode == code
  worker = "--kill-on-bad-exit=0 bash deploy/cluster/slurm_worker.sh --data_dir=d"
  assert (tmp_path / "started").read_text().splitlines() == [worker] * min(len(codes), 3)
  assert (tmp_path / "control").exists() == requeued


def test_a_slurm_job_wants_to_know_its_folder(run):
  done = run([FOLDER / "slurm.sbatch"], {}, SLURM_JOB_ID="5")
  assert done.returncode != 0
  assert "RUN: is the folder of the run" in done.stderr


def test_the_pods_of_a_jobset_find_their_places_in_the_cluster(run):
  found = manifest("jobset.yaml")
  name, (job,) = found["metadata"]["name"], found["spec"]["replicatedJobs"]
  job, pods = job["template"]["spec"], job["name"]
  (container,) = job["template"]["spec"]["containers"]
  given = {one["name"]: one["value"] for one in container["env"]}
  assert job["completions"] == job["parallelism"] == int(given["WORKERS"])
  done = run(container["command"][1:], {"python": PYTHON}, JOB_COMPLETION_INDEX="3", **given)
  config, flags = done.stdout.splitlines()
  cluster_ = cluster.parse(config)
  assert [task.host for task in cluster_.tasks] == [f"{name}-{pods}-0-{i}.{name}" for i in range(4)]
  assert cluster_.own.name == "worker 3"
  assert flags.endswith(" --workdir=/runs/vgg16/worker-3")
  (rule,) = job["podFailurePolicy"]["rules"]
  assert rule["action"] == "FailJob"
  assert rule["onExitCodes"] == {"operator": "NotIn", "values": MENDED}
  assert job["template"]["spec"]["restartPolicy"] == "Never"  # else there is no such policy


@pytest.mark.parametrize("code", [0, 4, *MENDED])
def test_a_tfjob_starts_again_what_a_restart_mends(run, code):
  """It does so for codes from 128, and sets TF_CONFIG itself."""
  worker = manifest("tfjob.yaml")["spec"]["tfReplicaSpecs"]["Worker"]
  assert worker["restartPolicy"] == "ExitCode"
  (container,) = worker["template"]["spec"]["containers"]
  done = run(
    container["command"][1:], {"python": PYTHON}, HOSTNAME="vgg16-worker-2", CODE=str(code)
  )
  assert (done.returncode >= 128) == (code in MENDED)
  assert done.returncode in (code, 128 + code)
  assert done.stdout.splitlines()[-1].endswith(" --workdir=/runs/vgg16/vgg16-worker-2")


def test_sigterm_reaches_the_training_in_a_tfjob_and_its_code_comes_back(run):
  (container,) = manifest("tfjob.yaml")["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"][
    "containers"
  ]
  training = "trap 'exit 42' TERM\nkill -TERM $PPID\nfor i in {1..60}; do sleep 1; done\n"
  done = run(container["command"][1:], {"python": training}, HOSTNAME="a")
  assert done.returncode == 128 + 42


@pytest.mark.parametrize("name", ["jobset.yaml", "tfjob.yaml"])
def test_pods_have_time_to_save_and_a_place_that_outlives_them(name):
  text = json.dumps(manifest(name))
  assert '"terminationGracePeriodSeconds": 300' in text
  assert re.search(r'"mountPath": "/runs"', text)


def test_a_tpu_vm_that_was_preempted_is_made_again(run, tmp_path):
  gcloud = f"""
echo "$4" >> {tmp_path}/done
case "$4 $*" in
  describe*) [ -e {tmp_path}/lives ] && echo READY ;;
  create*) touch {tmp_path}/lives ;;
  ssh*vggtf.main*)
    [ $(grep -c create {tmp_path}/done) = 2 ] || {{ rm {tmp_path}/lives; exit 255; }} ;;
esac
"""
  names = {"NAME": "n", "ZONE": "z", "TYPE": "v4-8", "RUN": "/r", "DISK": "d"}
  done = run([FOLDER / "tpu_vm.sh", "--gin_file=a b.gin"], {"gcloud": gcloud}, **names)
  assert done.returncode == 0, done.stderr
  one_life = ["describe", "delete", "create", "ssh", "ssh"]  # the second trains
  assert (tmp_path / "done").read_text().split() == one_life * 2
