"""Fetching: what is wanted, what of it is missing, the requests that bring it, and what the venue does not have.

asked.py    what the user asks for, made exact: contracts, feeds, times; what a venue cannot serve, said beforehand
missing.py  spans of time that the store lacks, and that the venue has not said to lack too
pages.py    spans cut into requests; one page asked for until it is whole, or the venue has no more
snapshots.py  what holds now: maintenance brackets and terms of contracts, stored when they changed
job.py      all of it together: plan, run, note the holes
"""
