"""Builders: commands that prepare or generate a data set once."""
