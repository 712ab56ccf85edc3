"""Faults and attacks on the real service, each beside a sabotaged control that must be found out."""
