"""What finished runs, checkpoints and simulations show: commands that leave a table and a chart.

Each command has a question and how it is answered in its docstring, and writes NAME.md, NAME.png
and NAME.json into its output (written.py). Those of a report are parts of that command.
"""
