"""Measures serving: our placements beside their peers, on one bundle and one store, each started in turn.

Before timing, every system must answer the same requests like the pipeline itself. Then, in each round, every system is
started, warmed up, loaded by one client, by more and more clients in a closed loop, and by Poisson arrivals of 500 and
100 requests per second, and stopped. The load generator shares the machine's cores with the measured system.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.common import Figure, parser, report, spread
from benchmarks.direct import expected_answers, limit_rps, one_request_ms
from benchmarks.items import FeastItems, comparison, feast_ms, gather_ms
from benchmarks.load import Outcome, Target, closed_loop, open_loop, poisson_arrivals
from benchmarks.replicas import memory_figures
from benchmarks.scoring import scoring_figures
from benchmarks.shop import ROOT, Shop, open_shop, with_reference_ranker
from benchmarks.systems import System, ask, differences, per_model, placement, running, triton_variants, uvicorn
from ray_apps.server import stop_on_signals
from serving.placing.placement import PLACEMENTS

SPARE = 1.1


@dataclass(frozen=True)
class Plan:
    """Durations and repetitions.

    Attributes:
        rounds: number of rounds.
        seconds: of each load.
        warm_up_s: seconds of the load before.
        clients: numbers of clients; the best throughput counts.
        num_checked: requests whose answers are compared.
        rates: requests per second of the Poisson arrivals; skipped if the best throughput is below `SPARE` times as
            high.
    """

    rounds: int = 3
    seconds: float = 5.0
    warm_up_s: float = 4.0
    clients: tuple[int, ...] = (16, 32, 64)
    num_checked: int = 100
    rates: tuple[int, ...] = (500, 100)


QUICK = Plan(rounds=1, seconds=1.0, warm_up_s=1.0, clients=(8,), num_checked=20)


@dataclass
class Samples:
    """Results of one system.

    Attributes:
        rps: best throughput of each round.
        p50_ms: with one client, of each round.
        outcomes: with Poisson arrivals, by rate.
    """

    rps: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    outcomes: dict[int, list[Outcome]] = field(default_factory=lambda: defaultdict(list))


def all_systems(variants: Sequence[str]) -> dict[str, list[System]]:
    """The measured systems by name; of several variants the fastest counts.

    Args:
        variants: names of the tried variants of Triton.
    """
    cores = os.cpu_count() or 1
    found = [placement(name, cores if name == "fused" else 1) for name in PLACEMENTS]
    found += [per_model(), uvicorn("fastapi", 1), uvicorn("fastapi", 2), uvicorn("asgi", 2)]
    systems = {system.name: [system] for system in found}
    if (ROOT / "var" / "peers" / "triton").is_dir():
        systems["triton"] = [system for system in triton_variants() if system.name in variants]
    return systems


SERVE_DEFAULTS = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
MISSING = "no environment under var/peers; run `make bench-peers`"
PARTS = ("direct", "systems", "steps", "items", "memory")
NAMES = ("fused", "tiered", "staged", "per_model", "fastapi_1", "fastapi_2", "asgi_2", "triton")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("serving", __doc__ or "")
    variants = [system.name for system in triton_variants()]
    options.add_argument("--systems", nargs="+", choices=NAMES, default=NAMES, help="what is measured")
    options.add_argument("--rounds", type=int, help="turns of every system")
    options.add_argument("--seconds", type=float, help="of each load")
    options.add_argument("--triton", nargs="+", choices=variants, default=variants, help="which of Triton's variants")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which figures")
    arguments = options.parse_args(argv)
    stop_on_signals()
    plan = QUICK if arguments.quick else Plan()
    if arguments.rounds:
        plan = replace(plan, rounds=arguments.rounds)
    if arguments.seconds:
        plan = replace(plan, seconds=arguments.seconds, warm_up_s=arguments.seconds)
    figures: dict[str, Figure] = {}
    try:
        with open_shop(quick=arguments.quick, num_requests=2_000) as shop:
            if "direct" in arguments.parts:
                figures |= direct_figures(shop, plan)
            if "systems" in arguments.parts:
                there = all_systems(arguments.triton)
                measure({name: there[name] for name in arguments.systems if name in there}, shop, plan, figures)
                for name in NAMES:
                    if name not in arguments.systems:
                        figures |= not_measured(name, "not asked for")
                    elif name not in there:
                        figures |= not_measured(name, MISSING)
            if "steps" in arguments.parts:
                step_figures(shop, plan, figures)
            if "items" in arguments.parts:
                figures |= item_figures(shop, plan)
            if "memory" in arguments.parts:
                figures |= memory_figures(shop, plan.seconds)
    finally:  # keeps what was measured before an error
        report(figures | comparisons(figures), arguments.json)


def direct_figures(shop: Shop, plan: Plan) -> dict[str, Figure]:
    """The pipeline called directly."""
    cores = os.cpu_count() or 1
    limits = [limit_rps(shop.values, shop.asked, plan.seconds, cores) for _ in range(plan.rounds)]
    asked = shop.asked[: plan.num_checked]
    reference = shop.serving(with_reference_ranker(shop.bundle))
    figures = {"limit_rps": spread(limits, "requests/s")}
    for suffix, values in (("", reference), ("_own_ranker", shop.values)):
        for name, with_stores in (("1_request", False), ("1_request_with_stores", True)):
            figure = one_request_ms(values, asked, 10 * len(asked), with_stores=with_stores)
            figures[f"pipeline_ms_{name}{suffix}"] = figure
    return figures


def step_figures(shop: Shop, plan: Plan, figures: dict[str, Figure]) -> None:
    """Gain of each optimization: `fused`, and `fused` without one of them at a time; the ranker plain and factored."""
    whole = placement("fused", os.cpu_count() or 1)
    without = {
        "step_all": whole,
        "step_no_haproxy": replace(whole, environment=SERVE_DEFAULTS),
        "step_no_batching": replace(whole, settings={"service": {"batch": {"max_batch_size": 1}}}),
        "step_one_replica": placement("fused", 1),
    }
    systems = {name: [replace(system, name=name)] for name, system in without.items()}
    figures |= scoring_figures(shop.bundle, plan.num_checked)
    measure(systems, shop, plan, figures)


def item_figures(shop: Shop, plan: Plan) -> dict[str, Figure]:
    """Items in memory against items in Feast: the lookup, and requests through one uvicorn process each."""
    items = FeastItems(shop.config, shop.bundle)
    items.fill(shop.bundle)
    gathered = gather_ms(shop.bundle, 10 * plan.num_checked)
    looked_up = feast_ms(items, shop.bundle.num_items, plan.num_checked)
    assert gathered.value is not None
    assert looked_up.value is not None
    sides = {"memory": {"lookup": gathered.value}, "feast": {"lookup": looked_up.value}}
    patient = {"service": {"budget_ms": 60_000}}
    for items_in, found in sides.items():
        with running(replace(uvicorn("asgi", 1, items=items_in), settings=patient), shop) as target:
            closed_loop(target, plan.clients[0], plan.warm_up_s)
            found["latency"] = closed_loop(target, 1, plan.seconds).percentile_ms(50)
            found["rps"] = closed_loop(target, plan.clients[0], plan.seconds).rps
    print(f"items in memory {sides['memory']}, in Feast {sides['feast']}", flush=True)
    figures = {"item_features_300_ms": gathered, "feast_items_300_ms": looked_up}
    return figures | comparison(sides["memory"], sides["feast"])


def measure(wanted: Mapping[str, list[System]], shop: Shop, plan: Plan, figures: dict[str, Figure]) -> None:
    """Figures of every system, by turns.

    Args:
        wanted: variants of each system, by name.
        shop: the served shop.
        plan: durations and repetitions.
        figures: filled, so that they are kept after an error.

    Raises:
        ValueError: a system's answers differ from the pipeline's.
    """
    expected = expected_answers(shop.values, shop.asked[: plan.num_checked])
    systems = []
    for name, variants in wanted.items():
        best, rates = fastest(variants, shop, plan)
        systems.append(replace(best, name=name))
        figures |= rates
    samples = {system.name: Samples() for system in systems}
    try:
        for number in range(plan.rounds):
            for system in systems:
                with running(system, shop) as target:
                    if number == 0:
                        check_answers(system, target, expected)
                    load(target, plan, samples[system.name], seed=number)
                print(f"round {number + 1}, {system.name}: {samples[system.name].rps[-1]:,.0f} requests/s", flush=True)
    finally:
        for name, found in samples.items():
            if found.rps:
                figures |= figures_of(name, found, plan.rates)


def fastest(variants: Sequence[System], shop: Shop, plan: Plan) -> tuple[System, dict[str, Figure]]:
    """The variant of the highest throughput; if there are several, also throughput and latency of each."""
    if len(variants) == 1:
        return variants[0], {}
    rates: dict[str, float] = {}
    figures: dict[str, Figure] = {}
    for variant in variants:
        samples = Samples()
        with running(variant, shop) as target:
            load(target, replace(plan, rates=()), samples, seed=0)
        rates[variant.name] = samples.rps[0]
        figures |= figures_of(variant.name, samples, ())
        print(f"{variant.name}: {rates[variant.name]:,.0f} requests/s", flush=True)
    return max(variants, key=lambda variant: rates[variant.name]), figures


def not_measured(name: str, reason: str) -> dict[str, Figure]:
    """A system's figures without values."""
    figures = {f"{name}_rps": Figure(None, "requests/s", reason=reason)}
    keys = ["p50_ms_1_client", *(f"p99_ms_at_{rate}_rps" for rate in Plan.rates)]
    return figures | {f"{name}_{key}": Figure(None, "ms", reason=reason) for key in keys}


def check_answers(system: System, target: Target, expected: Sequence[list[tuple[str, float]]]) -> None:
    """Raises ValueError if a system's answers differ from the pipeline's."""
    got = [system.ranked(ask(target, number)) for number in range(len(expected))]
    found = differences(got, expected)
    if found:
        raise ValueError(f"{system.name} answers otherwise than the pipeline, {len(found)} differences: {found[:5]}")


def load(target: Target, plan: Plan, samples: Samples, seed: int) -> None:
    """Measures one system in one round."""
    closed_loop(target, max(plan.clients), plan.warm_up_s)
    samples.p50_ms.append(closed_loop(target, 1, plan.seconds).percentile_ms(50))
    samples.rps.append(max(closed_loop(target, count, plan.seconds).rps for count in plan.clients))
    for rate in plan.rates:
        if samples.rps[-1] >= SPARE * rate:
            samples.outcomes[rate].append(open_loop(target, poisson_arrivals(rate, plan.seconds, seed)))


def figures_of(name: str, samples: Samples, rates: Sequence[int]) -> dict[str, Figure]:
    """A system's figures under the names of the report."""
    figures = {
        f"{name}_rps": spread(samples.rps, "requests/s"),
        f"{name}_p50_ms_1_client": spread(samples.p50_ms, "ms"),
    }
    for rate in rates:
        outcomes = samples.outcomes[rate]
        key = f"{name}_p99_ms_at_{rate}_rps"
        if len(outcomes) < len(samples.rps):
            best = min(samples.rps)
            figures[key] = Figure(None, "ms", reason=f"its best throughput, {best:,.0f}, is below {SPARE} x {rate}")
            continue
        figures[key] = spread([outcome.percentile_ms(99) for outcome in outcomes], "ms")
        figures[f"{name}_errors_at_{rate}_rps"] = Figure(sum(one.num_errors for one in outcomes), "requests")
        figures[f"{name}_shed_at_{rate}_rps"] = Figure(sum(one.num_shed for one in outcomes), "requests")
    return figures


def comparisons(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Ratios with targets, if both sides were measured."""
    pairs = {
        "fused_rps_vs_triton": ("fused_rps", "triton_rps"),
        "fused_rps_vs_asgi_2": ("fused_rps", "asgi_2_rps"),
        "fused_rps_vs_limit": ("fused_rps", "limit_rps"),
        "fused_p50_vs_triton": ("fused_p50_ms_1_client", "triton_p50_ms_1_client"),
        "fused_p50_vs_triton_without_batching": ("fused_p50_ms_1_client", "triton_plain_1_p50_ms_1_client"),
        "staged_rps_vs_triton": ("staged_rps", "triton_rps"),
    }
    values = {name: figure.value for name, figure in figures.items() if figure.value is not None}
    found = {
        name: Figure(values[ours] / values[theirs], "times")
        for name, (ours, theirs) in pairs.items()
        if ours in values and theirs in values
    }
    if {"fused_rps", "limit_rps"} <= set(values):
        cores = os.cpu_count() or 1
        overhead = 1000 * cores * (1 / values["fused_rps"] - 1 / values["limit_rps"])
        found["overhead_core_ms"] = Figure(overhead, "core-ms/request")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
