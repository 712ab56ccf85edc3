"""A city of pharmacies that lives in a seed: documents to run the ledger on, and what must come of them.

simulate.py writes the city's files, score.py records them and compares verdicts with labels. The rest
is the city itself: what it sells (products.py), who sells it (institutions.py), how an event becomes a
document (documents.py, city.py), ordinary days (days.py), and what stands out in them, honest (honest.py)
or not (frauds.py). It knows no rule: labels say what was done, and which finding should say so.
"""
