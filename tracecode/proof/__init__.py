"""Proof that no entry was altered: a Merkle log over the journal, which anyone can check.

Reading order: tree.py (RFC 6962), note.py and key.py (signed notes), checkpoint.py (a signed tree head),
tiles.py (the log in plain files), receipt.py (what a pharmacy keeps), integrator.py (follows the journal
and writes the log), verify.py (the auditor; stands alone, so that nobody has to trust the rest), replay.py
(judges the journal again).

Index and sequence: the journal's entry with sequence s is the leaf with index s - 1.
"""
