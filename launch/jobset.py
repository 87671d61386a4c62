"""A job for Google Kubernetes Engine: a JobSet, which Kubernetes itself restarts.

There is one replicated job for the trainer's slice and one for those of the samplers. The first pod
of the trainer is the head of Ray and runs the training; all others are workers. If a pod is lost
the JobSet starts all of them again, and the same workdir goes on from the newest checkpoint.

It needs a cluster with JobSet installed, node pools of these topologies, an image that has
magistral_jax with the extras [tpu,cluster], and a service account that may use the bucket.
"""
from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import yaml

from launch.job import MOUNTS, STOP_S, Job
from launch.machine import MOUNT_OPTIONS, PORT, RESOURCES, auth, make_token
from launch.slices import GENERATIONS, Slice

RESTARTS = 100


def manifest(slices: Sequence[Slice], job: Job, *, image: str, tier: str, account: str) -> str:
  """The JobSet as YAML.

  Args:
    slices: the trainer's, then the samplers', which are all alike.
    account: a Kubernetes service account that may use the bucket.
  """
  common = dict(image=image, tier=tier, account=account, bucket=job.bucket,
                env=auth(job))
  trainer, *samplers = slices
  head = f'{job.name}-trainer-0-0.{job.name}'
  lead = (
      f'{make_token(job)} && ray start --head --port={PORT} --disable-usage-stats '
      f'--resources={_resources("trainer")} && exec {job.command}')
  first = f'if [ "$JOB_COMPLETION_INDEX" = 0 ]; then {lead}; else {_worker(head, "trainer")}; fi'
  sample = _worker(head, 'sampler')
  content = dict(
      apiVersion='jobset.x-k8s.io/v1alpha2', kind='JobSet',
      metadata=dict(name=job.name),
      spec=dict(
          suspend=False,   # Written out: `apply` does not change what a manifest does not name.
          network=dict(enableDNSHostnames=True, subdomain=job.name, publishNotReadyAddresses=True),
          failurePolicy=dict(maxRestarts=RESTARTS, rules=[
              dict(action='FailJobSet', onJobFailureReasons=['PodFailurePolicy'])]),
          successPolicy=dict(operator='All', targetReplicatedJobs=['trainer']),
          replicatedJobs=[
              _replicated('trainer', trainer, 1, first, **common),
              _replicated('sampler', samplers[0], len(samplers), sample, **common)]))
  return yaml.safe_dump(content, sort_keys=False, width=10_000)


def commands(action: str, name: str, file: str) -> list[str]:
  """The command of kubectl for an action of the launcher."""
  mine = f'jobset.sigs.k8s.io/jobset-name={name}'
  return {
      'run': ['kubectl', 'apply', f'--filename={file}'],
      'status': ['kubectl', 'get', 'pods', f'--selector={mine}'],
      'logs': ['kubectl', 'logs', '--follow', f'--selector={mine},'
               'jobset.sigs.k8s.io/replicatedjob-name=trainer,'
               'batch.kubernetes.io/job-completion-index=0'],
      # Suspended pods get SIGTERM and save; `run` again goes on.
      'stop': ['kubectl', 'patch', 'jobset', name, '--type=merge',
               '--patch={"spec": {"suspend": true}}'],
      'delete': ['kubectl', 'delete', 'jobset', name, '--ignore-not-found'],
  }[action]


def _resources(role: str) -> str:
  return shlex.quote(json.dumps(RESOURCES[role]))


def _worker(head: str, role: str) -> str:
  """Bash that joins the head once it is up, and succeeds if the head is gone at the end.

  The head ends with the job; a worker that ends before it has failed.
  """
  reach = f'python -c "import socket; socket.create_connection((\'{head}\', {PORT}), 5)"'
  return (f'until {reach}; do sleep 5; done; ray start --address={head}:{PORT} --block '
          f'--disable-usage-stats --resources={_resources(role)}; ! {reach}')


def _replicated(name: str, one: Slice, replicas: int, script: str, *, image: str, tier: str,
                account: str, bucket: str, env: dict[str, str]) -> dict:
  spot = {'cloud.google.com/gke-spot': 'true'} if tier == 'spot' else {}
  tolerations = [dict(key='google.com/tpu', operator='Exists', effect='NoSchedule')]
  if spot:
    tolerations.append(dict(key='cloud.google.com/gke-spot', operator='Equal', value='true',
                            effect='NoSchedule'))
  pod = dict(
      # Without hostNetwork, in which the bucket's driver cannot reach the account's token.
      restartPolicy='Never', serviceAccountName=account, terminationGracePeriodSeconds=STOP_S,
      nodeSelector={
          'cloud.google.com/gke-tpu-accelerator': GENERATIONS[one.generation].gke,
          'cloud.google.com/gke-tpu-topology': one.topology, **spot},
      tolerations=tolerations,
      containers=[dict(
          name='magistral', image=image, command=['bash', '-c', script],
          env=[dict(name=key, value=value) for key, value in env.items()],
          ports=[dict(containerPort=port) for port in (PORT, 8471, 8080)],
          securityContext=dict(privileged=True),
          resources=dict(limits={'google.com/tpu': one.machine_chips}),
          volumeMounts=[dict(name='memory', mountPath='/dev/shm'),
                        dict(name='bucket', mountPath=f'{MOUNTS}/{bucket}')])],
      volumes=[
          dict(name='memory', emptyDir=dict(medium='Memory')),
          dict(name='bucket', csi=dict(
              driver='gcsfuse.csi.storage.gke.io',
              volumeAttributes=dict(bucketName=bucket, mountOptions=','.join(MOUNT_OPTIONS))))])
  # A slice of several machines is one node pool, which its pods must have to themselves.
  alone = dict(metadata=dict(annotations={
      'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'}))
  whole = alone if one.machines > 1 else {}
  return dict(name=name, replicas=replicas, template=dict(whole, spec=dict(
      parallelism=one.machines, completions=one.machines, completionMode='Indexed', backoffLimit=0,
      # Status 2 is a mistake of the user, which a restart cannot correct.
      podFailurePolicy=dict(rules=[dict(action='FailJob', onExitCodes=dict(
          containerName='magistral', operator='In', values=[2]))]),
      template=dict(metadata=dict(annotations={'gke-gcsfuse/volumes': 'true'}), spec=pod))))
