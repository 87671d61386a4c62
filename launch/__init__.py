"""magistral_jax on rented TPUs: what `python launch/tpu.py` does. README.md walks through it.

  command.py    the actions: create, run, status, logs, stop, delete
  arguments.py  a command line as a config and a job
  paths.py      the files of a config, in the bucket and on the machines
  slices.py     the slices that a config asks for
  clouds.py     slices -> commands of gcloud
  fleet.py      the rented slices: states, requests, waiting, deletion
  cluster.py    one Ray cluster on their machines
  launcher.py   the life of a job on them
  job.py        the job
  claim.py      which window is in charge of it
  package.py    its code, packed
  machine.py    bash for the machines
  jobset.py     the same job for Kubernetes
  shell.py      commands with deadlines
"""
