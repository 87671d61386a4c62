"""IFEval: does a response follow instructions that a program can check?

541 prompts carry 834 instructions of 25 kinds. Reference: arXiv:2311.07911.
"""
