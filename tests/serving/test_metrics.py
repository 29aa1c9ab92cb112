"""Values that are counted together are counted as each alone."""

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from serving.metrics import SHARES, observe_all


def test_values_observed_together_are_in_the_buckets_of_each_alone() -> None:
    together, alone = CollectorRegistry(), CollectorRegistry()
    values = [0.0, 0.05, 0.1, 0.1000001, 0.5, 0.5, 0.9, 0.95, 1.0, 7.0]
    of_all, of_each = (Histogram("share", "a share", buckets=SHARES, registry=each) for each in (together, alone))

    observe_all(of_all, values)
    observe_all(of_all, [])
    for value in values:
        of_each.observe(value)

    def text(registry: CollectorRegistry) -> list[str]:
        return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]

    assert text(together) == text(alone)
    assert "share_count 10.0" in text(together)
