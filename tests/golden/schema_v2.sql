-- The tables as schema version 2 makes them. Never edited: a change of a table is a new version with a migration.
CREATE TABLE "instruments" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "valid_from" TIMESTAMP NOT NULL,
    "venue_symbol" VARCHAR,
    "base" VARCHAR,
    "quote" VARCHAR,
    "settle" VARCHAR,
    "contract" VARCHAR,
    "contract_size" DOUBLE,
    "tick_size" DOUBLE,
    "lot_size" DOUBLE,
    "min_notional" DOUBLE,
    "listed" TIMESTAMP,
    "delisted" TIMESTAMP,
    "renamed_to" VARCHAR,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "candles" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "price" VARCHAR NOT NULL,
    "interval_s" BIGINT NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "open" DOUBLE NOT NULL,
    "high" DOUBLE NOT NULL,
    "low" DOUBLE NOT NULL,
    "close" DOUBLE NOT NULL,
    "volume" DOUBLE,
    "quote_volume" DOUBLE,
    "trades" BIGINT,
    "taker_buy_volume" DOUBLE,
    "taker_buy_quote_volume" DOUBLE
);
CREATE TABLE "funding" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "raw_ts" TIMESTAMP,
    "rate" DOUBLE NOT NULL,
    "interval_hours" DOUBLE,
    "price" DOUBLE,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "open_interest" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "interval_s" BIGINT NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "quantity" DOUBLE,
    "value" DOUBLE,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "marks" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "mark" DOUBLE,
    "index" DOUBLE,
    "funding_rate" DOUBLE,
    "funding_at" TIMESTAMP,
    "interval_s" BIGINT,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "liquidations" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "position" VARCHAR NOT NULL,
    "price" DOUBLE NOT NULL,
    "price_kind" VARCHAR NOT NULL,
    "quantity" DOUBLE NOT NULL,
    "notional" DOUBLE,
    "feed" VARCHAR NOT NULL,
    "event_id" VARCHAR NOT NULL,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "liquidation_bars" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "interval_s" BIGINT NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "long_notional" DOUBLE,
    "short_notional" DOUBLE,
    "long_count" BIGINT,
    "short_count" BIGINT,
    "feed" VARCHAR NOT NULL,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "ratios" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "kind" VARCHAR NOT NULL,
    "interval_s" BIGINT NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "ratio" DOUBLE,
    "long" DOUBLE,
    "short" DOUBLE,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "depth" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "percent" DOUBLE NOT NULL,
    "quantity" DOUBLE,
    "notional" DOUBLE,
    "interval_s" BIGINT,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "tiers" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "valid_from" TIMESTAMP NOT NULL,
    "tier" BIGINT NOT NULL,
    "floor" DOUBLE NOT NULL,
    "cap" DOUBLE,
    "mmr" DOUBLE NOT NULL,
    "max_leverage" DOUBLE,
    "cum" DOUBLE NOT NULL,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "adl" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "event_id" VARCHAR NOT NULL,
    "ended" TIMESTAMP,
    "position" VARCHAR,
    "price" DOUBLE,
    "quantity" DOUBLE,
    "notional" DOUBLE,
    "deficit" DOUBLE,
    "capacity" DOUBLE,
    "overshoot" DOUBLE,
    "residual" DOUBLE,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "insurance" (
    "venue" VARCHAR NOT NULL,
    "fund" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "balance" DOUBLE NOT NULL,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "truth" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "kind" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "until" TIMESTAMP,
    "label" VARCHAR,
    "value" DOUBLE
);
CREATE TABLE "gaps" (
    "venue" VARCHAR NOT NULL,
    "symbol" VARCHAR NOT NULL,
    "feed_table" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "until" TIMESTAMP NOT NULL,
    "reason" VARCHAR,
    "known_at" TIMESTAMP NOT NULL
);
CREATE TABLE "raw" (
    "venue" VARCHAR NOT NULL,
    "stream" VARCHAR NOT NULL,
    "ts" TIMESTAMP NOT NULL,
    "event_id" VARCHAR NOT NULL,
    "payload" VARCHAR
);
CREATE TABLE "ingests" (
    "id" BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL,
    "table_name" VARCHAR NOT NULL,
    "venue" VARCHAR,
    "symbols" VARCHAR[],
    "source" VARCHAR NOT NULL,
    "origin" VARCHAR NOT NULL,
    "sha256" VARCHAR,
    "recipe" VARCHAR,
    "rows" BIGINT,
    "inserted" BIGINT,
    "changed" BIGINT,
    "unchanged" BIGINT,
    "covers_from" TIMESTAMP,
    "covers_to" TIMESTAMP,
    "run" VARCHAR,
    "version" VARCHAR
);
CREATE TABLE "trials" (
    "market" VARCHAR NOT NULL,
    "strategy" VARCHAR NOT NULL,
    "source_hash" VARCHAR NOT NULL,
    "params" VARCHAR NOT NULL,
    "at" TIMESTAMP NOT NULL,
    "symbols" VARCHAR[],
    "first" TIMESTAMP,
    "last" TIMESTAMP,
    "days" BIGINT,
    "sharpe" DOUBLE,
    "skew" DOUBLE,
    "kurtosis" DOUBLE
);
