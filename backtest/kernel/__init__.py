"""The compiled loops: one bar step for every kind of account, and the quiet bars between.

    layout    which column is what
    cash      ledger, fills: everything that moves the wallet
    ruin      liquidation: one leg alone, or the cross account
    orders    what fills at the open, what is refused
    extremes  stops, limits and liquidation inside a bar
    step      one slow bar, in the order of docs/engine.md
    quiet     bars in which nothing but `decide` happens: a loop made for each strategy
    drive     bars of one parameter set, parameter sets of one block of bars

No pandas, no I/O. Numbers lie in float arrays whose columns `layout` names.
"""
