"""What holds for every venue that is registered."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import re
from pathlib import Path

import pytest

from backtest import margin, profiles
from backtest.venue import Tier, Venue, venue
from backtest.worked import as_rows

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "venues.md").read_text(encoding="utf-8")

ALL = profiles.ALL
CONTRACTS = [v for v in ALL if v.contract != "spot"]
TABLES = [
    pytest.param(v, name, tiers, id=f"{v.name} {v.contract} {name}")
    for v in CONTRACTS
    for name, tiers in (("others", v.tiers), *((t.symbols[0], t.tiers) for t in v.tables))
]


def label(v: Venue) -> str:
    return f"{v.name} {v.contract}"


def constant(v: Venue) -> str:
    return next(name for name, value in vars(profiles).items() if value is v and name.isupper())


@pytest.mark.parametrize("v", ALL, ids=label)
def test_it_is_found_by_name_and_contract(v: Venue) -> None:
    assert venue(v.name, v.contract) is v
    assert venue(v.name.upper(), v.contract) is v


def test_none_is_left_out_and_none_is_twice() -> None:
    every = {id(v) for v in vars(profiles).values() if isinstance(v, Venue)}
    assert every == {id(v) for v in ALL}
    assert len({(v.name, v.contract) for v in ALL}) == len(ALL)
    for name, contract in profiles.ALIASES.values():
        assert contract in profiles.PROFILES[name]


@pytest.mark.parametrize("v", ALL, ids=label)
def test_it_is_frozen_and_can_be_sent_and_kept(v: Venue) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        v.name = "other"  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(v))
    assert again == v
    assert hash(again) == hash(v)
    assert dataclasses.replace(v) == v  # and so is checked once more


@pytest.mark.parametrize("v", ALL, ids=label)
def test_what_is_not_known_is_said_and_what_is_has_a_source(v: Venue) -> None:
    assert v.assumptions or v.contract == "spot"
    assert v.sources or v.assumptions
    for text in (*v.assumptions, *v.sources):
        assert text == text.strip()
        assert len(text) > 15
        assert not text.endswith(".")
    assert len(set(v.assumptions)) == len(v.assumptions)


@pytest.mark.parametrize("v", CONTRACTS, ids=label)
def test_its_tiers_have_a_date_and_every_symbol_has_some(v: Venue) -> None:
    assert re.fullmatch(r"20\d\d(-[01]\d(-[0-3]\d)?)?", v.tiers_as_of)
    assert v.tiers
    assert v.tiers_for("NEVER/HEARD:OF") == v.tiers
    assert v.sources


@pytest.mark.parametrize("v", CONTRACTS, ids=label)
def test_symbols_without_a_table_are_an_assumption(v: Venue) -> None:
    said = " ".join(v.assumptions)
    assert re.search(r"(symbol|coin|others|other coins)", said)


@pytest.mark.parametrize("v", CONTRACTS, ids=label)
def test_no_symbol_is_in_two_tables(v: Venue) -> None:
    names = [s.upper() for table in v.tables for s in table.symbols]
    assert len(set(names)) == len(names)
    assert all(v.knows(name) for name in names)


@pytest.mark.parametrize(("v", "name", "tiers"), TABLES)
def test_a_position_at_the_highest_leverage_is_not_liquidated_where_it_opens(
    v: Venue, name: str, tiers: tuple[Tier, ...]
) -> None:
    for tier in tiers:
        size = tier.cap if math.isfinite(tier.cap) else 2.0 * tier.floor + 1.0
        kept = size * (tier.mmr + v.closing_fee) - tier.cum
        assert 0.0 < kept < size / tier.max_leverage, tier


@pytest.mark.kernel
@pytest.mark.parametrize(("v", "name", "tiers"), TABLES)
def test_its_liquidation_comes_after_the_entry_and_before_bankruptcy(
    v: Venue, name: str, tiers: tuple[Tier, ...]
) -> None:
    rows = as_rows(tiers, v.tier_rule == "whole")
    for tier in tiers:
        size = tier.cap if math.isfinite(tier.cap) else 2.0 * tier.floor + 1.0
        for s in (size / 100.0, -size / 100.0):  # at a size of 100 a unit
            posted = size / tier.max_leverage
            level = margin.liquidation_size(s, 100.0, posted, rows, 0, len(rows), v.closing_fee, 100.0)
            bust = margin.bankruptcy_size(s, 100.0, posted)
            inside = bust - 1e-9 <= level < 100.0 if s > 0.0 else 100.0 < level <= bust * (1.0 + 1e-9)
            # A whole rate jumps right above the cap: there a short that fills its tier stands at the edge.
            edge = s < 0.0 and v.tier_rule == "whole" and level == pytest.approx(100.0, rel=1e-9)
            assert inside or edge, (tier, s, level, bust)


@pytest.mark.kernel
@pytest.mark.parametrize(("v", "name", "tiers"), TABLES)
def test_maintenance_never_falls_with_size(v: Venue, name: str, tiers: tuple[Tier, ...]) -> None:
    rows = as_rows(tiers, v.tier_rule == "whole")
    top = max((t.cap for t in tiers if math.isfinite(t.cap)), default=1e6) * 2.0
    sizes = [top * part / 400.0 for part in range(1, 401)]
    kept = [margin.maintenance(rows, 0, len(rows), v.closing_fee, size) for size in sizes]
    assert kept == sorted(kept)
    if v.tier_rule == "marginal":  # and does not jump
        steepest = max(t.mmr for t in tiers) + v.closing_fee
        widest = max(high - low for low, high in itertools.pairwise(kept))
        assert widest <= steepest * (sizes[1] - sizes[0]) * (1.0 + 1e-9)


@pytest.mark.parametrize("v", ALL, ids=label)
def test_the_docs_say_the_same(v: Venue) -> None:
    row = next((line for line in DOCS.splitlines() if line.startswith(f"| `{constant(v)}` |")), "")
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert len(cells) == 9, f"docs/venues.md has no row of {constant(v)}"
    assert [float(cell) for cell in cells[1:3]] == pytest.approx([100.0 * v.fees.maker, 100.0 * v.fees.taker])
    if v.contract == "spot":
        return
    assert float(cells[3]) == pytest.approx(100.0 * v.fees.liquidation)
    assert v.tier_rule in cells[4]
    assert v.tiers_as_of in cells[4]
    assert ("taker fee inside" in cells[4]) == v.closing_fee_in_maintenance
    assert cells[6].startswith(v.liquidation.reduction)
    assert v.liquidation.residual in cells[6]
    assert cells[7].startswith({"mark": "mark", "index": "oracle"}[v.funding.price])
    assert cells[8] == v.adl.price.replace("_", " ")
