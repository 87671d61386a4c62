"""BFCL: does a model call the right functions with the right arguments?

Only what one turn can tell, by its syntax; nothing is executed. Reference: the Berkeley Function
Calling Leaderboard, gorilla.cs.berkeley.edu.
"""
