"""`loratory serve`: runs and artifacts to one process that answers for all of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory import __version__
from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import PREDICTOR_FILE, Artifact, digest_of, hash_file, open_artifact, read_manifest
from loratory.errors import ArtifactError, LoratoryError, SpecError, is_own_module
from loratory.experiment.artifact_lookup import (
    LADDER_FILE,
    find_fit_folder,
    name_artifact,
    open_run,
    read_ladder,
    read_ladder_of,
    read_predictor,
)
from loratory.experiment.spec_loading import make_parser
from loratory.predictors.constant import Constant
from loratory.protocols import BackbonePool, Labelled, Predictor
from loratory.serving.engine.capabilities import network_of, unwrap_predictor
from loratory.serving.engine.predictor_process import PredictorProcess, PredictorSource
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.serving.engine.thread_isolation import run_in_new_thread
from loratory.serving.http.auth.api_keys import ApiKeys
from loratory.serving.http.public_names import public_base_name
from loratory.specs.overrides import apply_overrides
from loratory.specs.serve import ServedTaskSpec, ServerSpec
from loratory.specs.spec import NAME_PATTERN, NAME_RULE
from loratory.specs.yaml_files import load_yaml
from loratory.threads import set_torch_threads

if TYPE_CHECKING:
    from loratory.serving.http.server import Server

ROLE_BY_ROUTER_TASK = {
    "intent": "intent",
    "pii": "pii",
    "jailbreak": "security",
}  # the router's folders -> its interface
THREAD_SWITCH_SECONDS = (
    0.0005  # seconds: predictors in pure Python hold up the threads that read and answer requests no longer
)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


def load_server_spec(
    config: Path | None, paths: Sequence[str], overrides: Sequence[str], contender: str | None = None
) -> ServerSpec:
    """The server's YAML, with what the command line says. Raises SpecError.

    `paths` are runs and artifacts, each with NAME= before it where it should be called otherwise. Without any, and
    without a configuration that names tasks, the environment's MODEL_DIR is served. `contender` is that of the only
    path.
    """
    values, lines = load_yaml(config) if config else ({}, {})
    values, changed = apply_overrides(values, overrides)
    parser = make_parser(config or Path("server"), lines, changed)
    spec: ServerSpec = parser.validate_model(ServerSpec, values, ())
    if config:  # a path of a task starts from the file that names it
        home = config.parent
        tasks = {n: one.model_copy(update={"path": home / one.path.expanduser()}) for n, one in spec.tasks.items()}
        spec = spec.model_copy(update={"tasks": tasks})
    if not paths and not spec.tasks and not spec.discover and (folder := os.environ.get("MODEL_DIR")):
        paths = [folder]
    named = {**spec.tasks}
    _check_contender(contender, paths)
    for path in paths:
        name, task = _parse_named_path(path)
        if contender is not None:
            task = ServedTaskSpec(path=task.path, contender=contender)
        if name in named:
            raise SpecError(
                f"two tasks are called {name!r}", where=path, remedy=f"name one of them: loratory serve {name}-2={path}"
            )
        named[name] = task
    for name in named:
        if not NAME_PATTERN.fullmatch(name):
            raise SpecError(f"{name!r} is no name", where="tasks", allowed=NAME_RULE)
    spec = spec.model_copy(update={"tasks": named})
    if not named and not spec.discover:
        raise SpecError(
            "there is nothing to serve",
            allowed="runs, artifacts, --config, --discover, or MODEL_DIR",
            remedy="loratory serve RUN",
        )
    return spec


def _check_contender(contender: str | None, paths: Sequence[str]) -> None:
    """Raise SpecError where it is not clear of which run a contender is."""
    if contender is not None and len(paths) != 1:
        raise SpecError(
            f"--contender needs one WHERE, and {len(paths)} are given",
            where="--contender",
            allowed="one run",
            remedy="name the contender of each task in a file, and give it with --config: "
            f"tasks: {{NAME: {{path: RUN, contender: {contender}}}}}",
        )


def _parse_named_path(path: str) -> tuple[str, ServedTaskSpec]:
    before, equals, after = path.partition("=")
    if equals and NAME_PATTERN.fullmatch(before) and not Path(path).exists():
        return before, ServedTaskSpec(path=Path(after).expanduser())
    folder = Path(path).expanduser()
    try:
        name = str(read_ladder(folder)["name"])
    except (LoratoryError, KeyError):
        name = name_artifact(folder)
    return name, ServedTaskSpec(path=folder)


def load_keys(spec: ServerSpec) -> ApiKeys:
    """Raises SpecError where the server would be open to others than this machine."""
    keys = ApiKeys.read(spec.keys) if spec.keys else ApiKeys({})
    if spec.keys and not keys:  # whoever names a file of keys does not mean that all may ask
        raise SpecError(
            "this file holds no key, so nobody could use the server",
            where=str(spec.keys),
            remedy=f"loratory keys add NAME --file {spec.keys}; or leave --keys out, on this machine",
        )
    if not keys and spec.host not in LOOPBACK_HOSTS:
        raise SpecError(
            f"other machines can reach {spec.host}, and there are no keys",
            where="host",
            allowed=", ".join(LOOPBACK_HOSTS),
            remedy="loratory keys add NAME --file keys.json, then loratory serve --keys keys.json",
        )
    return keys


@dataclass(frozen=True)
class ArtifactServiceLoader:
    """Reads tasks into one pool of backbones while the server runs."""

    pool: BackbonePool
    spec: ServerSpec
    threads: int
    report: Callable[[str], None]

    def __call__(self, name: str, path: str) -> Service:
        """What is asked of a task by name stays when it is loaded again. Raises LoratoryError."""
        from loratory.serving.engine.precision_selection import quantize_service
        from loratory.serving.warm_up import warm_up

        known = self.spec.tasks.get(name)
        asked = known.model_copy(update={"path": Path(path)}) if known else ServedTaskSpec(path=Path(path))
        service = load_service(name, asked, self.pool)
        if self.spec.precision == "int8" and (why := quantize_service(service, self.threads, self.report)):
            self.report(f"{name} answers in int8: {why}")
        warm_up(service)
        return service


def load_service(name: str, task_spec: ServedTaskSpec, pool: BackbonePool) -> Service:
    """A task with all its stages, verified and in memory. Raises LoratoryError."""
    ladder, own = _read_run(task_spec.path)
    told = {key: getattr(task_spec, key) for key in task_spec.model_fields_set - {"path"}}
    spec = ServedTaskSpec.model_validate({**own, **told, "path": task_spec.path})
    first = spec.contender or (ladder["verdict"]["recommended"] if ladder else None)
    stages = [_load_stage(task_spec.path, contender, pool) for contender in dict.fromkeys((first, *spec.fallback))]
    for stage in stages[1:]:
        if stage.predictor.task != stages[0].predictor.task:
            raise ArtifactError(
                f"{stage.name} and {stages[0].name} have different contracts",
                where=str(task_spec.path),
                remedy="run it again",
            )
    deadline = None if spec.deadline_ms is None else spec.deadline_ms / 1000
    return Service(name, tuple(stages), deadline, task_spec.path if ladder else None, ladder, spec)


def _read_run(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ladder of a run and its `serve:`; both empty where the path is an artifact."""
    if PREDICTOR_FILE in (read_manifest(path) or {"files": ()})["files"] or not (path / LADDER_FILE).is_file():
        return {}, {}
    run = open_run(path)
    run.check("spec.lock.yaml")
    values, _ = load_yaml(path / "spec.lock.yaml")
    return read_ladder_of(run), {key: value for key, value in (values.get("serve") or {}).items() if value is not None}


def _load_stage(path: Path, contender: str | None, pool: BackbonePool) -> FallbackStage:
    artifact = open_artifact(find_fit_folder(path, contender))
    predictor = read_predictor(artifact, pool)
    release = artifact.manifest_digest
    source = PredictorSource(artifact.folder, release) if _runs_apart(artifact, predictor) else None
    return FallbackStage(contender or name_artifact(path), predictor, release, source=source)


def _runs_apart(artifact: Artifact, predictor: Predictor) -> bool:
    """Whether a process without torch can answer in its place: one of our own that needs no backbone, predicts labels
    (which JSON keeps as they are), and does more than look up.
    """
    inner = unwrap_predictor(predictor)
    plain = network_of(predictor) is None and isinstance(predictor.task, Labelled) and not isinstance(inner, Constant)
    return plain and artifact.has(PREDICTOR_FILE) and is_own_module(type(inner).__module__)


def discover_tasks(folder: Path, cache: Path) -> tuple[dict[str, ServedTaskSpec], dict[str, str]]:
    """The router's models as tasks and roles; each is made an artifact below `cache`. Raises ArtifactError."""
    from loratory.importing.import_folder import import_folder
    from loratory.integrations.semantic_router.model_discovery import discover_models

    found = discover_models(folder)
    tasks, roles = {}, {}
    for task, model in found.chosen.items():
        role = ROLE_BY_ROUTER_TASK[task]
        target = cache / f"{model.folder.name}-{_digest_folder(model.folder)}"
        with hold_lock(target.with_name(f"{target.name}-making")):  # of servers that start together, one takes it in
            if not target.is_dir():
                import_folder(model.folder, target)
        tasks[role], roles[role] = ServedTaskSpec(path=target), role
    if not tasks:
        raise ArtifactError(found.reason, where=str(folder), remedy=f"loratory discover {folder} says what is there")
    return tasks, roles


def _digest_folder(folder: Path) -> str:
    """Changes with what any file of the folder holds."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return digest_of([[str(f.relative_to(folder)), hash_file(f)] for f in files])[:12]


def build_server(spec: ServerSpec, keys: ApiKeys, report: Callable[[str], None]) -> Server:
    """A server with everything loaded. Raises LoratoryError."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.attention import set_short_row_limits
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.serving.engine.batch_worker import EngineLimits
    from loratory.serving.engine.inference_engine import Engine
    from loratory.serving.engine.precision_selection import select_precisions
    from loratory.serving.http.server import Server
    from loratory.serving.warm_up import warm_up

    roles: dict[str, str] = {role: name for role, name in spec.roles.items()}
    if spec.discover:
        found, playing = discover_tasks(spec.discover, Path(".loratory") / "discovered")
        spec = spec.model_copy(update={"tasks": {**found, **spec.tasks}})
        roles = {**playing, **roles}
    threads = set_torch_threads(spec.threads)
    machine = hardware_benchmark.load_or_measure("cpu")
    set_short_row_limits(machine.short_training, machine.short_answering)
    pool = TorchBackbonePool(keep=False)
    services = {name: load_service(name, asked, pool) for name, asked in spec.tasks.items()}
    chosen = select_precisions(spec, services.values(), pool, threads, report)
    for service in services.values():
        warm_up(service)
    for one in chosen:
        report(f"{one.backbone} computes in {one.precision}: {one.reason}")
    limits = EngineLimits(spec.limits.batch_tokens, spec.limits.queue_tokens)
    backbones = [{**asdict(one), "backbone": public_base_name(one.backbone)} for one in chosen]
    facts = {"version": __version__, "backbones": backbones, "threads": threads}
    board = ServiceRegistry(services, roles, spec.default)
    # One row has nothing to share, and a team that waits actively for its head would take the event loop's core.
    team = 1 if spec.precision == "int8" else threads
    apart = PredictorProcess() if spec.isolation == "process" else None
    if apart is not None and any(stage.source for service in services.values() for stage in service.stages):
        apart.start()
    return Server(
        spec, board, Engine(limits, team, apart), ArtifactServiceLoader(pool, spec, threads, report), keys, info=facts
    )


def run_server(
    spec: ServerSpec, report: Callable[[str], None], on_ready: Callable[[str, list[str]], None] | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C; `on_ready` gets the URL and the tasks. Raises LoratoryError before it listens."""
    from loratory.serving.app import create_app
    from loratory.serving.http.auth.allowed_hosts import allowed_hosts_for
    from loratory.serving.http.server_process import ServerProcess, bind_socket

    keys = load_keys(spec)
    if keys and hasattr(signal, "SIGHUP"):  # it asks for another look at the keys, and that comes when all is loaded
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    socket = bind_socket(spec.host, spec.port)  # before the models are loaded: a port that is taken is soon told
    server = run_in_new_thread(lambda: build_server(spec, keys, report))
    hosts = allowed_hosts_for(spec.host, spec.hosts)
    app = create_app(server, hosts)
    if hosts.any_address:
        report(f"bound to all addresses: it answers requests for {hosts.description}; add other names under hosts")
    for service in server.registry:
        where = str(service.task_spec.path) if service.task_spec else ""
        server.audit.record("load", {"task": service.name, "path": where, "release": service.release, "key": None})
        names = " -> ".join(stage.name for stage in service.stages)
        due = f", within {service.deadline * 1000:g} ms" if service.deadline else ""
        report(f"{service.name} ({service.task.kind}): {names}{due}")
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    process = ServerProcess(app, server, report)
    if on_ready is not None:
        process.on_listening = lambda url: on_ready(url, [service.name for service in server.registry])
    process.run([socket])
    server.engine.close()
