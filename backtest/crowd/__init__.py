"""The deleveraging machine: a simulated venue with a crowd of leveraged traders. docs/crowd.md says what it models.

world, seeding, machine    what a venue is made of; its first accounts; the venue, run minute by minute
kernel/                    the compiled minute: book, traders, liquidation engine, deleveraging, index
market, parts, as_market   the coins of the simulated market; truth of a run in parts; a history as a `Market`
truth, facts, giveaway     cascades and phases; is it like a real market; is it a gift
shock, stress, montecarlo, inside, figures     stress tests; many futures; a strategy as one more account
ladder, ladder_errors, estimate                the liquidation map, how wrong it is; a crowd estimated from data
funds, formulas            a published experiment; published formulas of liquidation, deleveraging and insurance
"""
