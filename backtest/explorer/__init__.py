"""Sweeps by hand: `sweep.explore()` is a widget whose sliders walk one parameter set after the other while you watch.

    sliders     where each parameter may be moved: to the values that were tried, or between them
    live        one set walked in full on a market that is ready, its features kept for the next move
    tally       what is looked at counts: each new set is a trial, noted and reckoned into what luck would show
    drawn       series as few bytes, thinned for the eye
    widget      the widget itself, the only module here that needs anywidget; explorer.js and .css are its page

All but `widget` work without a notebook.
"""
