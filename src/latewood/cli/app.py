"""The commands, gathered."""

from __future__ import annotations

import typer

from latewood.cli import (
    ask,
    audit,
    backup,
    build,
    compact,
    compare,
    demo,
    exchange,
    index,
    inspect,
    judge,
    migrate,
    models,
    plan,
    reindex,
    search,
    serve,
    sidecar,
)

__all__ = ["app"]

app = typer.Typer(
    help="Late-interaction retrieval: index, search, rerank, and measure whether it helps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.command)
app.command("index")(index.command)
app.command("reindex")(reindex.command)
app.command("build")(build.build)
app.command("certify")(build.certify)
app.command("compact")(compact.command)
app.command("search")(search.command)
app.command("ask")(ask.command)
app.command("compare")(compare.command)
app.command("judge")(judge.command)
app.command("audit")(audit.command)
app.command("sidecar")(sidecar.make)
app.command("sync")(sidecar.sync)
app.command("migrate")(migrate.command)
app.command("plan")(plan.command)
app.command("serve")(serve.command)
app.command("models")(models.command)
app.command("snapshot")(backup.snapshot)
app.command("restore")(backup.restore)
app.command("import")(exchange.bring)
app.command("export")(exchange.export)
app.command("stats")(inspect.stats)
app.command("check")(inspect.check)
