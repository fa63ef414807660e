"""The fault matrix: everything that may die, hang or lie is made to, and afterwards every event must be where it belongs.

docs/faults.md says what is tried and what is promised. `oracle.py` is the judge of every test, and of `make soak`.
"""
