"""How fast it is: each workload beside a peer that does the like, in one run, on one disk. `make bench` runs
it.

`workload` makes the documents, `peers/` holds what we are measured against, `load/` what runs in processes of
its own, `conftest` the size of the run; each `test_` file is one subject, and `results` writes down what it
found. `page_cache` brings the files of ours and of
each peer's into memory before its turn, and each then works for about a second that does not count.
"""
