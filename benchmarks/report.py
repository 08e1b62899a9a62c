"""One table of all results: medians over the rounds, and leveret's divided by RabbitMQ's."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from measure import Result


@dataclass(frozen=True, slots=True)
class Metric:
    title: str
    value: Callable[[Result], float | None]
    form: Callable[[float], str]


def scaled(value: float, units: Sequence[str], factor: float = 1000.0) -> str:
    """Three significant digits, in the largest unit that leaves at least 1 before the point."""
    unit = 0
    while abs(value) >= factor * 0.9995 and unit < len(units) - 1:
        value /= factor
        unit += 1
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f}{units[unit]}"


def rate(value: float) -> str:
    return scaled(value, ("", "k", "M"))


def time_us(value: float) -> str:
    return scaled(value, (" µs", " ms", " s"))


def memory(value: float) -> str:
    return scaled(value, (" B", " kB", " MB", " GB"))


NOTES = {
    "*": "the load generator was the limit, not the broker",
    "!": "the broker confirmed persistent messages that it had not written to a disk",
}

METRICS = (
    Metric("rate/s", lambda result: result.rate, rate),
    Metric("CPU per op", lambda result: result.broker_cpu_us, time_us),
    Metric("p50", lambda result: result.p50_us, time_us),
    Metric("p99", lambda result: result.p99_us, time_us),
    Metric("memory", lambda result: result.memory_bytes, memory),
)


def _median(results: Iterable[Result], metric: Metric) -> float | None:
    values = [value for each in results if (value := metric.value(each)) is not None]
    return median(values) if values else None


def _cells(metric: Metric, brokers: Sequence[Sequence[Result]]) -> list[str]:
    """The metric for each broker, and with two of them the ratio."""
    medians = [_median(results, metric) for results in brokers]
    cells = ["-" if value is None else metric.form(value) for value in medians]
    if metric.title == "rate/s":
        for number, results in enumerate(brokers):
            if any(each.generator_limited for each in results):
                cells[number] += "*"
            if any(each.unwritten for each in results):
                cells[number] += "!"
    if len(medians) == 2:
        mine, its = medians
        cells.append("-" if mine is None or not its else scaled(mine / its, ("",)))
    return cells


def notes(results: dict[str, dict[str, list[Result]]]) -> str:
    """What the marks behind rates mean, if there are any."""
    every = [each for runs in results.values() for column in runs.values() for each in column]
    marks = {"*": any(each.generator_limited for each in every)}
    marks["!"] = any(each.unwritten for each in every)
    return "\n".join(f"{mark} {NOTES[mark]}" for mark, found in marks.items() if found)


def table(
    results: dict[str, dict[str, list[Result]]], brokers: Sequence[str], *, markdown: bool
) -> str:
    """Of results by workload and broker. The first broker is divided by the second, if any."""
    subjects = [*brokers, "ratio"] if len(brokers) == 2 else list(brokers)
    rows: list[list[str]] = []
    for workload, by_broker in results.items():
        columns = [by_broker.get(broker, []) for broker in brokers]
        every = [each for column in columns for each in column]
        operation, memory_of = (every[0].operation, every[0].memory_of) if every else ("failed", "")
        cells = [cell for metric in METRICS for cell in _cells(metric, columns)]
        rows.append([workload, operation, *cells, memory_of])
    if markdown:
        titles = [f"{metric.title}, {subject}" for metric in METRICS for subject in subjects]
        head = ["workload", "op", *titles, "memory of"]
        rule = ["---", "---", *("--:" for _ in titles), "---"]
        return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
    head = ["workload", "op", *(subject for _ in METRICS for subject in subjects), "of one"]
    groups = ["", ""]
    for metric in METRICS:
        groups += [metric.title, *("" for _ in subjects[1:])]
    return _aligned([[*groups, ""], head, *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, 1, len(widths) - 1}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
