"""The wires that join the stations into a run.

  roles.py        what each role promises: the first file to read
  loop.py         what happens at each arrow of the loop, one method each: the second
  in_flight.py    training prompts on their way, and which sampler has them
  run.py          one run in one workdir, from its start or newest checkpoint to its report
  base_run.py     what it has in common with a run that only imitates (supervised.py)
  threads.py      the roles on threads, no one waiting for another
  lockstep.py     the roles in turn, bit for bit reproducible
  ledger.py       the fate of every prompt; paces admission
  stages.py       when the stages of a run open, by plateaus.py; run_stages.py: what changes then
  journal.py      the run's files: metrics, rollouts, the totals of summary.json
  health.py       signs of life, the request to stop, the first failure
  cold_start.py   supervised learning on reasoning traces before the loop
  evaluations.py  held-out problems through the run's own samplers and verifier
  measurements.py when evaluations are due, and to which checkpoint their scores go
  display.py      progress in a terminal (redraw.py, panel.py, role_table.py) or a log file
  report.py       what a finished run leaves behind; curves.py: its image
"""
