"""Cache of facets' sets: bounded by bytes, and dependent on the versions of the chunks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.local.sealing.set_cache import SetCache

LARGE = 1 << 80_000  # 10 kB


def test_a_set_is_known_only_for_its_versions() -> None:
    """A set with other versions, or fewer of them, is another set."""
    cache = SetCache(1 << 20)
    cache.put({1: 5, 2: 0}, (7, 8))

    assert cache.get([1, 2, 3], (7, 8)) == {1: 5, 2: 0}
    assert cache.get([1], (7, 9)) == cache.get([1], (7,)) == {}


def test_the_least_recently_used_sets_are_dropped() -> None:
    """Beyond the bound, sets that were not used for the longest time make room."""
    cache = SetCache(35_000)
    for facet in range(3):
        cache.put({facet: LARGE}, (1,))
    assert cache.get([0], (1,)) == {0: LARGE}
    cache.put({3: LARGE}, (1,))

    assert cache.get(range(4), (1,)).keys() == {0, 2, 3}


def test_long_queries_count() -> None:
    """The bound holds for queries that are longer than their sets, and for parts with many chunks."""
    cache = SetCache(100_000)
    for number in range(10):
        cache.put({f"{number}" + "x" * 30_000: 1}, (1,))
    assert len(cache._sets) == 3
    for number in range(10):
        cache.put({number: 1}, tuple(range(1_000)))

    assert len(cache._sets) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 40_000)), max_size=60))
def test_the_cache_returns_only_the_last_value_put(steps: list[tuple[int, int, int]]) -> None:
    """Whatever is put, the cache stays below its bound and returns only what was put last for the same versions."""
    cache, put = SetCache(20_000), dict[tuple[int, int], int]()
    for facet, version, bits in steps:
        value = put.setdefault((facet, version), 1 << bits)
        cache.put({facet: value}, (version,))
        for (each, other), bits in put.items():
            assert cache.get([each], (other,)).get(each, bits) == bits
        assert cache._bytes <= 20_000
