/* The yardstick of bench_engine.py: one case of docs/engine.md as a loop written and tuned by hand.
 *
 *   gcc -O3 -march=native -shared -fPIC -o engine_loop.so engine_loop.c -lm
 *
 * The case: one linear contract, isolated, marginal tiers that change on dates, settlements at opens, liquidation on
 * the mark with takeover, stop-loss and take-profit on the trade price, taker fee, half spread plus impact. A rule
 * opens from flat and closes, so there are no reversals, no limits and no orders that wait.
 *
 *   1. sets are walked in blocks of bars, so that a block's rows stay in the cache while every set passes over them
 *   2. a bar is one cache line
 *   3. quiet bars (no order due, no settlement, no new table, no end of a day, no level reached) run in a loop of their
 *      own, one for flat, long and short; anything else is a slow bar, which goes through all the steps
 *   4. the worst drawdown is kept as an equity below which it would be worse, and the nearest liquidation as the
 *      nearest mark since its level last moved: no division a bar; bars under water and in the market are counted by
 *      runs
 *
 * `decide` is called through a pointer; with -DINLINE_DECIDE the rule is compiled into the quiet loops instead.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define HOLD 1e300
#define RUINED 1e-9 /* of the starting equity */

typedef double (*decide_fn)(double position, double z, double build, double entry_z, double exit_z, double leverage);

typedef struct {
    double open, high, low, close, mark_open, mark_high, mark_low, mark_close;
} Row;

typedef struct {
    double floor, cap, mmr, max_leverage, cum;
} Tier;

typedef struct {
    int64_t bars;
    const Row *rows;
    const double *half_spread, *a, *b; /* of taking, a bar */
    double delta;
    int64_t stops; /* bars that are always slow: settlements, new tables, ends of days, the last; one past the end */
    const int64_t *stop;
    int64_t settlements;
    const int64_t *settlement_bar;
    const double *settlement_rate, *settlement_price; /* NaN: the mark open */
    int64_t tables;
    const int64_t *table_bar, *table_first, *table_count;
    const Tier *tiers;
    const uint8_t *day_end;
    double taker, liquidation_fee, equity, leverage, lot;
    int64_t block;
    decide_fn decide;
} Case;

typedef struct { /* a parameter set: what goes in, the state between blocks, what comes out */
    const double *z, *build;
    double entry_z, exit_z, leverage, stop_loss, take_profit;
    int64_t warmup;
    double *daily; /* equity at the ends of days */
    /* state */
    double wallet, quantity, entry, margin, before; /* before: the wallet when the trade began */
    double stop_level, profit_level, liquidation_level, nearest_mark;
    double target, target_quantity; /* of the order due at the next bar; HOLD: none */
    double peak, worse_below, now;
    int64_t next_stop, next_settlement, table, days, ruined, peak_bar, opened;
    /* results */
    double drawdown, distance, fees, funding, slippage, turnover, liquidation_loss, bad_debt, gained, lost, exposure;
    int64_t trades, wins, liquidations, fills, refused, scaled, held, in_market, at_peak, longest_drawdown;
} Set;

static double rule(double position, double z, double build, double entry_z, double exit_z, double leverage) {
    if (position == 0.0) {
        if (build > 1.0) {
            if (z > entry_z) return -leverage;
            if (z < -entry_z) return leverage;
        }
        return HOLD;
    }
    return fabs(z) < exit_z ? 0.0 : HOLD;
}

decide_fn the_rule(void) { return rule; }

#ifdef INLINE_DECIDE
#define DECIDE(c, ...) rule(__VA_ARGS__)
#else
#define DECIDE(c, ...) (c)->decide(__VA_ARGS__)
#endif

static inline double whole_lots(const Case *c, double quantity) {
    if (c->lot == 0.0) return quantity;
    return copysign(floor(fabs(quantity) / c->lot + 1e-9) * c->lot, quantity);
}

static inline double cost_of_taking(const Case *c, int64_t i, double notional) {
    double impact = fmax(c->a[i] * (c->delta == 0.5 ? sqrt(notional) : pow(notional, c->delta)), c->b[i] * notional);
    return fmin(c->half_spread[i] + impact, 0.99);
}

static inline double filled_at(const Case *c, int64_t i, double quantity, double price) {
    double cost = cost_of_taking(c, i, fabs(quantity) * price);
    return quantity > 0.0 ? price * (1.0 + cost) : price * (1.0 - cost);
}

static const Tier *tier_of(const Case *c, const Set *s, double notional) {
    const Tier *tier = c->tiers + c->table_first[s->table];
    const Tier *last = tier + c->table_count[s->table] - 1;
    while (tier < last && notional > tier->cap) tier++;
    return tier;
}

static inline int breached(const Case *c, const Set *s, double quantity, double entry, double margin, double mark) {
    double notional = fabs(quantity) * mark;
    const Tier *tier = tier_of(c, s, notional);
    return margin + quantity * (mark - entry) <= fmax(0.0, notional * tier->mmr - tier->cum);
}

/* The mark at which balance = maintenance: of the tiers' answers, the one that lies in its own tier. */
static double liquidation_mark(const Case *c, const Set *s) {
    const Tier *tiers = c->tiers + c->table_first[s->table];
    int64_t last = c->table_count[s->table] - 1;
    double q = fabs(s->quantity), side = s->quantity > 0.0 ? 1.0 : -1.0, mark = 0.0;
    for (int64_t t = 0; t <= last; t++) {
        mark = (q * s->entry - side * (s->margin + tiers[t].cum)) / (q * (1.0 - side * tiers[t].mmr));
        if (t == last || mark * q <= tiers[t].cap) break;
    }
    return fmax(mark, 0.0);
}

/* The level is about to move or to go: how near the mark came to it. */
static void note_distance(Set *s) {
    if (s->quantity == 0.0) return;
    double ratio = s->liquidation_level / s->nearest_mark, near = s->quantity > 0.0 ? 1.0 - ratio : ratio - 1.0;
    s->distance = fmin(s->distance, near);
    s->nearest_mark = s->quantity > 0.0 ? INFINITY : 0.0;
}

static void move_liquidation(const Case *c, Set *s) {
    note_distance(s);
    if (s->quantity != 0.0) s->liquidation_level = liquidation_mark(c, s);
}

static void traded(Set *s, double quantity, double price, double reference, double fee) {
    s->fees += fee;
    s->turnover += fabs(quantity) * price;
    s->slippage += fabs(quantity * (price - reference));
    s->fills++;
}

static void trade_over(Set *s, int64_t i) {
    double profit = s->wallet - s->before;
    s->trades++;
    s->held += i - s->opened;
    if (profit > 0.0) {
        s->wins++;
        s->gained += profit;
    } else s->lost -= profit;
    s->quantity = s->entry = s->margin = 0.0;
}

static void close_all(const Case *c, Set *s, int64_t i, double reference) {
    double price = filled_at(c, i, -s->quantity, reference);
    double profit = s->quantity * (price - s->entry), missing = fmax(0.0, -(s->margin + profit));
    s->wallet += profit + missing; /* what the margin cannot pay, the insurance fund does */
    s->bad_debt += missing;
    double fee = fmin(fabs(s->quantity) * price * c->taker, fmax(0.0, s->wallet));
    s->wallet -= fee;
    traded(s, s->quantity, price, reference, fee);
    note_distance(s);
    trade_over(s, i);
}

static void liquidate(const Case *c, Set *s, int64_t i, double mark) {
    double price = filled_at(c, i, -s->quantity, mark);
    double left = s->margin + s->quantity * (price - s->entry);
    double fee = fmin(c->liquidation_fee * fabs(s->quantity) * price, fmax(0.0, left));
    s->wallet -= s->margin; /* the venue keeps what is left, or its fund pays what is missing */
    s->liquidation_loss += s->margin;
    s->bad_debt += fmax(0.0, -(left - fee));
    s->liquidations++;
    s->refused += s->target != HOLD;
    s->target = HOLD;
    s->distance = 0.0;
    traded(s, s->quantity, price, mark, fee);
    trade_over(s, i);
}

/* From flat. Returns 0 where the order is refused. */
static int open_position(const Case *c, Set *s, int64_t i) {
    double reference = c->rows[i].open;
    double leverage = c->leverage > 0.0 ? c->leverage : fmax(1.0, fabs(s->target));
    double quantity = whole_lots(c, s->target_quantity);
    if (quantity == 0.0 || fabs(s->target) / leverage > 1.0 + 1e-9) return 0;
    double price = filled_at(c, i, quantity, reference);
    if (leverage > tier_of(c, s, fabs(quantity) * price)->max_leverage) return 0;
    double need = fabs(quantity) * price * (1.0 / leverage + c->taker);
    if (need > s->wallet) {
        s->scaled++;
        quantity = whole_lots(c, quantity * fmax(0.0, s->wallet / need));
        if (quantity == 0.0) return 0;
        price = filled_at(c, i, quantity, reference);
    }
    double notional = fabs(quantity) * price, fee = notional * c->taker;
    if (breached(c, s, quantity, price, notional / leverage, c->rows[i].mark_open)) return 0;
    s->before = s->wallet;
    s->wallet -= fee;
    s->quantity = quantity;
    s->entry = price;
    s->margin = notional / leverage;
    s->opened = i;
    traded(s, quantity, price, reference, fee);
    double side = quantity > 0.0 ? 1.0 : -1.0;
    s->nearest_mark = quantity > 0.0 ? INFINITY : 0.0;
    s->liquidation_level = liquidation_mark(c, s);
    s->stop_level = s->stop_loss > 0.0 ? price * (1.0 - side * s->stop_loss) : -side * INFINITY;
    s->profit_level = s->take_profit > 0.0 ? price * (1.0 + side * s->take_profit) : side * INFINITY;
    return 1;
}

static void settle(const Case *c, Set *s, int64_t i) {
    while (s->next_settlement < c->settlements && c->settlement_bar[s->next_settlement] == i) {
        int64_t e = s->next_settlement++;
        if (s->quantity == 0.0) continue;
        double own = c->settlement_price[e];
        double paid = s->quantity * (isnan(own) ? c->rows[i].mark_open : own) * c->settlement_rate[e];
        s->wallet -= paid;
        s->margin -= paid;
        s->funding -= paid;
        move_liquidation(c, s);
    }
}

/* The adverse side, the nearer of liquidation and stop first; then the other side. */
static void extremes(const Case *c, Set *s, int64_t i) {
    const Row *r = c->rows + i;
    double side = s->quantity > 0.0 ? 1.0 : -1.0;
    s->nearest_mark = side > 0.0 ? fmin(s->nearest_mark, r->mark_low) : fmax(s->nearest_mark, r->mark_high);
    double adverse = side > 0.0 ? r->low : r->high, good = side > 0.0 ? r->high : r->low;
    double mark_adverse = side > 0.0 ? r->mark_low : r->mark_high;
    int stopped = side * adverse <= side * s->stop_level;
    int liquidated = side * mark_adverse <= side * s->liquidation_level;
    if (stopped && liquidated) {
        double to_stop = fmax(0.0, side * (r->open - s->stop_level) / r->open);
        double to_liquidation = fmax(0.0, side * (r->mark_open - s->liquidation_level) / r->mark_open);
        if (to_liquidation <= to_stop) stopped = 0;
        else liquidated = 0;
    }
    if (liquidated) liquidate(c, s, i, side * fmin(side * s->liquidation_level, side * r->mark_open));
    else if (stopped) close_all(c, s, i, side * fmin(side * s->stop_level, side * r->open));
    else if (side * good >= side * s->profit_level)
        close_all(c, s, i, side * fmax(side * s->profit_level, side * r->open));
}

static inline void measure(Set *s, int64_t i, double equity) {
    s->now = equity;
    if (equity >= s->peak) {
        if (s->peak_bar < i - 1 && i - s->peak_bar > s->longest_drawdown) s->longest_drawdown = i - s->peak_bar;
        s->peak = equity;
        s->peak_bar = i;
        s->at_peak++;
        s->worse_below = equity * (1.0 - s->drawdown);
    } else if (equity < s->worse_below) {
        s->drawdown = 1.0 - equity / s->peak;
        s->worse_below = equity;
    }
}

static inline void order(Set *s, double target, double mark) {
    if (target == 0.0 && s->quantity == 0.0) return;
    s->target = target;
    s->target_quantity = target * s->now / mark;
}

static void slow_bar(const Case *c, Set *s, int64_t i) {
    const Row *r = c->rows + i;
    if (c->stop[s->next_stop] == i) {
        s->next_stop++;
        while (s->table + 1 < c->tables && c->table_bar[s->table + 1] <= i) s->table++;
        settle(c, s, i);
        move_liquidation(c, s);
    }
    if (s->quantity != 0.0 && breached(c, s, s->quantity, s->entry, s->margin, r->mark_open))
        liquidate(c, s, i, r->mark_open);
    if (s->target != HOLD) {
        if (s->target == 0.0 && s->quantity != 0.0) close_all(c, s, i, r->open);
        else if (s->target != 0.0) s->refused += !open_position(c, s, i);
        s->target = HOLD;
    }
    if (s->quantity != 0.0) extremes(c, s, i);
    measure(s, i, s->wallet + s->quantity * (r->mark_close - s->entry));
    s->in_market += s->quantity != 0.0;
    if (c->day_end[i] || i == c->bars - 1) {
        s->daily[s->days++] = s->now;
        s->exposure += fabs(s->quantity) * r->mark_close / s->now;
    }
    if (s->now <= RUINED * c->equity) s->ruined = 1;
    if (s->ruined || i < s->warmup || i == c->bars - 1) return;
    double position = s->quantity * r->mark_close / s->now;
    double target = DECIDE(c, position, s->z[i], s->build[i], s->entry_z, s->exit_z, s->leverage);
    if (target != HOLD) order(s, target, r->mark_close);
}

/* Quiet bars from i on. Returns the first bar that is not quiet, or the bar after a decision. */
static int64_t quiet_flat(const Case *c, Set *s, const int64_t first, int64_t end) {
    const double *z = s->z, *build = s->build, entry_z = s->entry_z, exit_z = s->exit_z, leverage = s->leverage;
    int64_t i = first;
    for (; i < end; i++) {
        double target = DECIDE(c, 0.0, z[i], build[i], entry_z, exit_z, leverage);
        if (target != HOLD && target != 0.0) {
            order(s, target, c->rows[i].mark_close);
            end = i + 1;
        }
    }
    if (s->now >= s->peak && i > first) {
        measure(s, first, s->now);
        s->at_peak += i - first - 1;
        s->peak_bar = i - 1;
    }
    return i;
}

static inline __attribute__((always_inline)) int64_t quiet_open(const Case *c, Set *s, const int64_t first, int64_t end,
                                                                int is_long) {
    const double *z = s->z, *build = s->build, entry_z = s->entry_z, exit_z = s->exit_z, leverage = s->leverage;
    const double quantity = s->quantity, base = s->wallet - quantity * s->entry;
    const double stop = s->stop_level, profit = s->profit_level, liquidation = s->liquidation_level;
    const double ruined = RUINED * c->equity;
    double nearest = s->nearest_mark;
    const Row *rows = c->rows;
    int64_t i = first;
    for (; i < end; i++) {
        const Row *r = rows + i;
        if (is_long ? (r->low <= stop || r->mark_low <= liquidation || r->high >= profit)
                    : (r->high >= stop || r->mark_high >= liquidation || r->low <= profit))
            break;
        double equity = base + quantity * r->mark_close;
        if (equity <= ruined) break;
        double mark = is_long ? r->mark_low : r->mark_high;
        if (is_long ? mark < nearest : mark > nearest) nearest = mark;
        measure(s, i, equity);
        double target = DECIDE(c, quantity * r->mark_close / equity, z[i], build[i], entry_z, exit_z, leverage);
        if (target != HOLD) {
            order(s, target, r->mark_close);
            end = i + 1;
        }
    }
    s->nearest_mark = nearest;
    s->in_market += i - first;
    return i;
}

static int64_t quiet_long(const Case *c, Set *s, int64_t i, int64_t end) { return quiet_open(c, s, i, end, 1); }
static int64_t quiet_short(const Case *c, Set *s, int64_t i, int64_t end) { return quiet_open(c, s, i, end, 0); }

static int64_t quiet(const Case *c, Set *s, int64_t i, int64_t end) {
    if (i < s->warmup || s->ruined) return i;
    if (s->quantity == 0.0) return quiet_flat(c, s, i, end);
    return s->quantity > 0.0 ? quiet_long(c, s, i, end) : quiet_short(c, s, i, end);
}

static void walk(const Case *c, Set *s, int64_t first, int64_t end) {
    for (int64_t i = first; i < end;) {
        int64_t stop = c->stop[s->next_stop];
        if (s->target == HOLD && i < stop) {
            int64_t reached = quiet(c, s, i, stop < end ? stop : end);
            if (reached != i) {
                i = reached;
                continue;
            }
        }
        slow_bar(c, s, i++);
    }
}

static void begin(const Case *c, Set *s) {
    s->wallet = s->peak = s->worse_below = s->now = c->equity;
    s->quantity = s->entry = s->margin = 0.0;
    s->target = HOLD;
    s->next_stop = s->next_settlement = s->table = s->days = s->ruined = 0;
    s->peak_bar = -1;
    s->drawdown = s->fees = s->funding = s->slippage = s->turnover = s->liquidation_loss = s->bad_debt = 0.0;
    s->gained = s->lost = s->exposure = 0.0;
    s->distance = INFINITY;
    s->trades = s->wins = s->liquidations = s->fills = s->refused = s->scaled = s->held = s->in_market = 0;
    s->at_peak = s->longest_drawdown = 0;
}

static void finish(const Case *c, Set *s) {
    note_distance(s);
    int64_t under = c->bars - 1 - s->peak_bar;
    if (under > s->longest_drawdown) s->longest_drawdown = under;
}

void run_sets(const Case *c, Set *sets, int64_t count) {
    for (int64_t k = 0; k < count; k++) begin(c, sets + k);
    for (int64_t first = 0; first < c->bars; first += c->block) {
        int64_t end = first + c->block < c->bars ? first + c->block : c->bars;
        for (int64_t k = 0; k < count; k++) walk(c, sets + k, first, end);
    }
    for (int64_t k = 0; k < count; k++) finish(c, sets + k);
}
