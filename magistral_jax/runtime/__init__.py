"""Where the roles of a run live, and how they are started, restarted and reached.

  local.py             all roles in this process
  ray_cluster.py       roles in processes of their own; Ray begins here
  actor_handle.py      the Ray actor that holds a role, and the watchdog
  actors.py            what a role's own process runs
  sampler_proxy.py, verifier_proxy.py, trainer_proxy.py, checkpoint_proxy.py, weight_proxy.py
                       the roles of orchestration/roles.py, as the loop sees them from here
  ray_log.py           Ray's messages, kept in a file
"""
