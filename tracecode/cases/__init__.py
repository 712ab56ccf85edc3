"""The regulator's desk as values and rules: what may be done with a case, and what it is then.

Pure: no clock, no disk, no journal. The engine asks before it keeps an event (case.check_event) and folds the
event into the case's record (case.fold); whoever reads the journal alone can do the same.
"""
