"""The wires that join the stations.

  ledger.py    which prompt has which fate; paces admission
  journal.py   what a run writes down: metrics, rollouts, the totals of summary.json
  evaluations.py     held-out problems through the same sampler and verifiers, at one weight version
  loop.py      what happens at each arrow of the loop, one function each
  lockstep.py  the roles in turn, bit for bit reproducible
  threads.py   the roles on threads of one process, nobody waiting for another
  health.py    who was last seen doing what; the first failure
  display.py   progress in the terminal        roster.py  its table of roles
  report.py    what a finished run leaves behind
"""
