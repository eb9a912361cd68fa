"""How work reaches other processes and machines; `backtest.executor` is the door.

surviving   an Executor whose places of work may die: what was lost is done again, what kills is named
processes   places that are processes of this machine
cluster     places that are workers of a Dask cluster
lending     a market as memory-mapped files, written once and opened by every worker
sending     a strategy's class, also one from a notebook or a file
versions    what a worker must share with the driver for its numbers to be the same
tasks       what a worker does: a chunk of a sweep, a fold of a walk-forward
"""
