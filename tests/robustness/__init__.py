"""Damage to any file that a command reads, and the short recipes of people's reports, tried on the whole program.

Other tests mirror one module each; these mirror none. `damages.py` has the kinds of damage, `material.py` the files,
`readers.py` what reads them, `trials.py` runs cases in a process that is watched. `bench/damage.py` tries many more.
"""
