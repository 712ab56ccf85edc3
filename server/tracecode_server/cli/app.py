"""All commands of `tracecode`, in the groups in which its help shows them."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from tracecode_server.cli.backup import backup, restore
from tracecode_server.cli.case import case_app
from tracecode_server.cli.catalogue import import_app
from tracecode_server.cli.check import doctor, fsck, rebuild_views, version
from tracecode_server.cli.city import score, simulate
from tracecode_server.cli.exit_code import end_with_exit_code, list_meanings
from tracecode_server.cli.finding_queue import findings_app
from tracecode_server.cli.inspection import draw_app, inspect_app, self_check_app
from tracecode_server.cli.proof import audit, key_app, proof_app
from tracecode_server.cli.read import history, parse, verify
from tracecode_server.cli.record import record
from tracecode_server.cli.report import report
from tracecode_server.cli.rule_base import rule_base_app
from tracecode_server.cli.screening import screen, screen_score
from tracecode_server.cli.screenings import screening_app
from tracecode_server.cli.serve import demo, serve


class _Commands(TyperGroup):
    """All commands; whatever one of them raises ends here."""

    def invoke(self, ctx: Any) -> Any:
        with end_with_exit_code():
            return super().invoke(ctx)


app = typer.Typer(
    name="tracecode",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Judges scans of drug traceability codes 药品追溯码: sold twice, swapped, or never in stock.",
    epilog=list_meanings(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Run")(serve)
app.command(rich_help_panel="Run")(demo)
app.command(rich_help_panel="Write")(record)
app.add_typer(import_app, rich_help_panel="Write")
app.command(rich_help_panel="Ask")(verify)
app.command(rich_help_panel="Ask")(history)
app.command(rich_help_panel="Ask")(parse)
app.add_typer(rule_base_app, name="rule-base", rich_help_panel="Keep")
app.add_typer(findings_app, rich_help_panel="Desk")
app.add_typer(case_app, rich_help_panel="Desk")
app.add_typer(draw_app, rich_help_panel="Desk")
app.add_typer(self_check_app, rich_help_panel="Desk")
app.add_typer(inspect_app, rich_help_panel="Desk")
app.command(rich_help_panel="Keep")(backup)
app.command(rich_help_panel="Keep")(restore)
app.add_typer(key_app, name="proof-key", rich_help_panel="Keep")
app.add_typer(proof_app, name="proof", rich_help_panel="Ask")
app.command(rich_help_panel="Simulate")(simulate)
app.command(rich_help_panel="Simulate")(score)
app.command(name="screen-score", rich_help_panel="Simulate")(screen_score)
app.command(rich_help_panel="Supervise")(screen)
app.command(rich_help_panel="Supervise")(report)
app.add_typer(screening_app, rich_help_panel="Desk")
app.command(rich_help_panel="Check")(fsck)
app.command("rebuild-views", rich_help_panel="Check")(rebuild_views)
app.command(rich_help_panel="Check")(audit)
app.command(rich_help_panel="Check")(doctor)
app.command(rich_help_panel="Check")(version)
