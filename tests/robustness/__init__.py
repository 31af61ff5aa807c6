"""Tests of the entire program on damaged files, and on the situations of users' bug reports.

Other tests mirror one module each; these do not. `damages.py` has the types of damage, `material.py` the files,
`readers.py` the commands that read them, and `trials.py` runs the cases in a monitored process. `bench/damage.py` runs
many more.
"""
