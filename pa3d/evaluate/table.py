"""table.txt of an evaluation, and how numbers are written there and in report.html."""

from __future__ import annotations

from typing import Any

METRIC_NAMES = {
    "miou": "mIoU",
    "ciou": "cIoU",
    "part_miou": "mIoU by part",
    "accuracy": "accuracy",
    "boundary_iou": "boundary IoU",
}


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def interval_text(metric: dict[str, Any]) -> str:
    """The interval of a metric in percent, "" if it has none."""
    interval = metric.get("interval")
    return f"{percent(interval[0])} to {percent(interval[1])}" if interval else ""


def method_text(method: dict[str, Any]) -> str:
    """The name of a method, and of one from a paper its form and its networks."""
    if "form" not in method:
        return str(method["name"])
    networks = "".join(f", {role}: {what}" for role, what in method.get("networks", {}).items())
    return f"{method['name']} ({method['form']}{networks})"


def table_text(results: dict[str, Any]) -> str:
    """The summary of a results.json as text, in percent."""
    summary, head = results["summary"], results["dataset"]
    lines = [
        f"{method_text(results['method'])} on {head['name']} ({head['split']}), protocol "
        f"{results['protocol']['name']}: {summary['shapes']} shapes, {len(results['failed'])} left out",
        "",
    ]
    for key, label in METRIC_NAMES.items():
        interval = interval_text(summary[key])
        mark = "  headline" if key == summary["headline"]["name"] else ""
        line = f"{label:<24}{percent(summary[key]['value']):>6}"
        lines.append(line + (f"  ({interval})" if interval else "") + mark)
    lines.append(f"{'calibration error':<24}{percent(summary['calibration_error']):>6}")
    if "rotations" in summary:
        rotated = summary["rotations"]
        worst = percent(rotated["worst"])
        lines.append(f"{'mIoU over rotations':<24}{percent(rotated['mean']):>6}  (worst {worst})")
    lines += ["", f"{'':<24}{'mIoU':>6}{'cIoU':>8}"]
    for key, means in summary["baselines"].items():
        name = "ceiling" if key == "oracle" else key
        lines.append(f"{name:<24}{percent(means['miou']):>6}{percent(means['ciou']):>8}")
    lines += ["", f"{'category':<24}{'mIoU':>6}{'ceiling':>8}{'shapes':>8}"]
    for name, row in results["categories"].items():
        ceiling = percent(row["baselines"]["oracle"])
        lines.append(f"{name:<24}{percent(row['miou']):>6}{ceiling:>8}{row['shapes']:>8}")
    return "\n".join(lines) + "\n"
