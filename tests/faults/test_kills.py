"""Any process may be killed at any moment: the next key is answered, nothing written is lost."""

import json
from collections import Counter

from tests.faults.product import VICTIMS, make_home, product
from tests.faults.soak import lost, soak

KILLS = 12  # two of each kind


async def test_kills_at_random_moments_lose_nothing(tmp_path):
    rows = [row async for row in soak(make_home(tmp_path), range(KILLS), seed=1)]
    print("\n".join(map(json.dumps, rows)))  # noqa: T201 - what a failure is told by
    assert len(rows) == KILLS
    assert not [row for row in rows if lost(row)]
    struck = Counter(row["victim"] for row in rows if row["there"])
    assert set(struck) == set(VICTIMS) and sum(struck.values()) >= 0.8 * KILLS
    assert sum(row["items"] for row in rows) >= KILLS / 2  # and suggestions come again


async def test_what_was_shown_is_on_record_once_whatever_died_meanwhile(tmp_path):
    async with product(make_home(tmp_path), completion={"verify": False}) as window:
        await window.begin("def add(first, second):\n    return first")
        for victim in ("worker", "host", "worker"):
            window.type(" +")
            assert await window.suggestion()
            assert window.kill(victim)
            window.type(" second\n    return first")
        await window.editor.end()
        shown = set(window.shown)
        assert len(shown) == 3 and shown <= window.recorded()
        assert not window.ledger_fault()
