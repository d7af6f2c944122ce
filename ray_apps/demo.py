"""`make demo`: a simulated shop, the whole pipeline, a server that answers, and a first recommendation.

Its files are below the var folder, and the next run reuses them. Its processes end with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from contracts.columns import USER_ID
from contracts.files import private_process, write_atomic
from ray_apps.cluster import only_server, serving_cluster
from ray_apps.console import EXIT_OK, configure_logging, report_error, say
from ray_apps.jobs import evaluate, preprocess
from ray_apps.jobs.config import JobConfig, load_job_config
from ray_apps.jobs.pipeline import JOBS, run_pipeline
from ray_apps.jobs.workspace import Workspace
from ray_apps.lock import JOBS_LOCK, folder_lock
from ray_apps.page import DemoPage, page_beside
from ray_apps.ports import port_block
from ray_apps.server import Server, stop_on_signals, wait_until_stopped
from recommender_api.operations import RECOMMEND
from recommender_api.requests import RecommendationRequest
from serving.gateway.http.routes import DOCS
from serving.placing.placement import PLACEMENTS, PlacementName
from training.evaluation import main_table
from training.features.online import final_profiles
from training.features.processed import open_processed

CONFIGS = Path(__file__).parents[1] / "configs" / "jobs"
TIMES = "demo.json"
_USERS_SHOWN = 12


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    placement: PlacementName = arguments.placement or ("fused" if arguments.size == "debug" else "staged")
    private_process()
    configure_logging()
    stop_on_signals()
    try:
        config = load_job_config(CONFIGS / f"{arguments.size}.yaml", arguments.overrides)
        with only_server(config.var_dir, arguments.port, "demo"):
            run_demo(config, placement, arguments.port)
    except KeyboardInterrupt:
        print(f"\nstopped; what was made is in {config.var_dir}")
    except Exception as error:
        return report_error(error)
    return EXIT_OK


def build_parser() -> argparse.ArgumentParser:
    """The arguments of the demo."""
    parser = argparse.ArgumentParser(prog="python -m ray_apps.demo", description=__doc__)
    parser.add_argument("--size", choices=("debug", "demo"), default="demo", help="debug: the one-minute tour")
    parser.add_argument("--port", type=int, default=8000, help="of the server, on 127.0.0.1")
    parser.add_argument("--placement", choices=tuple(PLACEMENTS), help="staged; fused for --size debug")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the config file's")
    return parser


def run_demo(config: JobConfig, placement: PlacementName, port: int) -> None:
    """Builds what is missing, serves it and waits for Ctrl-C."""
    started = time.perf_counter()
    workspace = Workspace(config)
    with ExitStack() as stack:
        jobs_lock = stack.enter_context(ExitStack())
        jobs_lock.enter_context(folder_lock(workspace.root / JOBS_LOCK, "demo"))
        ports = stack.enter_context(port_block())  # fails before the long work if ports are in use
        background = stack.enter_context(ThreadPoolExecutor(1))
        simulated = background.submit(run_pipeline, workspace, JOBS[:1])  # while Ray starts
        dashboard = stack.enter_context(serving_cluster(config.ray, workspace.root, ports))
        stop_on_signals()
        position = JOBS.index(evaluate.JOB)
        seconds = {**simulated.result(), **run_pipeline(workspace, JOBS[1:position])}
        judged = background.submit(run_pipeline, workspace, [evaluate.JOB])  # while the server starts
        seconds |= run_pipeline(workspace, JOBS[position + 1 :])
        users = some_users(workspace)
        page = stack.enter_context(page_beside(f"http://127.0.0.1:{port}", users))  # it starts while the server does
        server = Server.start(placement, port, workspace.root, beside=judged.result)
        say("serve", f"placement {placement}", server.seconds)
        seconds |= judged.result()
        jobs_lock.close()
        present(workspace, server, dashboard, page, users)
        times = {**seconds, "serve": server.seconds, "ready": time.perf_counter() - started}
        write_atomic(workspace.root / TIMES, json.dumps(times, indent=2))
        print(f"READY {server.url}", flush=True)
        wait_until_stopped()


def present(workspace: Workspace, server: Server, dashboard: str, page: DemoPage | None, users: Sequence[str]) -> None:
    """Prints the report's main table, a first recommendation and the addresses."""
    report = workspace.output(evaluate.JOB)
    user = users[0] if users else None
    if page is None:
        shown = "(it needs Streamlit: pip install multistage-recommender[demo])"
    else:
        shown = page.url if page.wait_until_up() else "(it did not start; see above, and `make page`)"
    print(f"\n{main_table(json.loads((report / 'report.json').read_text(encoding='utf-8')))}\n")
    print(recommendation_table(server, user))
    body = json.dumps({"user_id": user, "device_type": "mobile", "k": 5})
    print(
        f"""
recommendations  curl -s {server.url}{RECOMMEND.path} -H 'content-type: application/json' -d '{body}'
demo page        {shown}
documentation    {server.url}{DOCS}
Ray dashboard    {dashboard}  (asks for a token: .venv/bin/ray get-auth-token)
report           {(report / "report.html").as_uri()}
"""
    )


def recommendation_table(server: Server, user_id: str | None) -> str:
    """What the server recommends to a user on a phone, as a table."""
    answer = server.recommend(RecommendationRequest(user_id=user_id, device_type="mobile", k=5))
    lines = [f"For user {user_id} on a phone, by bundle {answer.bundle_version}:"]
    for item in answer.recommendations:
        price = "" if item.price is None else f"{item.price:.2f}"
        title = (item.title or "")[:44]
        lines.append(f"{item.rank:>3}  {item.item_id:<8} {title:<44} {item.category_l1 or '':<16} {price:>9}")
    return "\n".join(lines)


def some_users(workspace: Workspace) -> list[str]:
    """The first users of the tables, none for a shop of anonymous visitors."""
    users = final_profiles(open_processed(workspace.output(preprocess.JOB)))[USER_ID]
    return [str(user) for user in users[:_USERS_SHOWN]]


if __name__ == "__main__":
    sys.exit(main())
