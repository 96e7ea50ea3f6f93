"""`recsmith doctor`: what is installed, what is missing, and what to do."""

from __future__ import annotations

from typing import Any

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def doctor(as_json: options.Json = False) -> None:
    """What is installed, what is missing, what to do.

    Example: recsmith doctor
    """
    from recsmith.cli.diagnosis import diagnose

    found = diagnose()
    if as_json:
        display.print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    machine, torch = found["machine"], found["torch"]
    rows = [
        ["recsmith", f"{found['recsmith']} in {found['location']}"],
        ["python", f"{found['python']}, {found['executable']}"],
        ["machine", f"{machine['system']}, {machine['cores']} cores for us, {_gigabytes(machine['memory_bytes'])} memory"],
        ["memory free now", _gigabytes(machine["memory_free_bytes"])],
        ["disk free here", _gigabytes(machine["disk_free_bytes"])],
        ["torch", _torch(torch)],
        ["data folder", found["folders"]["data"] or "RECSMITH_DATA is not set; only tests on real data need it"],
        ["cache", found["folders"]["cache"]],
    ]
    display.print_table(["what", "found"], rows)
    display.print_table(
        ["extra", "installed", "what it enables", "packages"],
        [[name, extra["installed"], extra["enables"], _versions(extra["packages"])] for name, extra in found["extras"].items()],
    )
    packages = [[row["name"], row["version"] or "missing", row["needs"]] for row in found["packages"]]
    display.print_table(["package", "version", "needed"], packages)
    for warning in found["warnings"]:
        display.say(f"warning: {warning}")
    for step in found["what_to_do"]:
        display.say(f"to do: {step}")
    if not found["warnings"]:
        display.say("everything that is needed is there")


def _torch(torch: dict[str, Any]) -> str:
    if not torch["installed"]:
        return "missing"
    gpu = f"CUDA: {torch['gpu']}" if torch["cuda"] else "no CUDA"
    products = "bf16 products" if torch["bf16"] else "fp32 products (this processor gains nothing by bf16)"
    return f"{torch['version']}, {torch['threads']} threads, {gpu}, {products}"


def _versions(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())


def _gigabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
