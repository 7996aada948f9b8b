"""`loratory serve`: runs and artifacts to one process that answers for all of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.locks import held
from loratory.artifacts.manifests import digest_of, file_digest, open_artifact, read_manifest
from loratory.errors import ArtifactError, LoratoryError, SpecError
from loratory.flows.opening import LADDER, fit_folder, ladder_of, open_run, read_ladder, read_predictor
from loratory.flows.specs import parser_of
from loratory.serving.keys import Keys
from loratory.serving.naming import public
from loratory.serving.services import Board, Service, Stage
from loratory.serving.threads import apart
from loratory.specs.frame import NAME, NAMED
from loratory.specs.overrides import overridden
from loratory.specs.reading import load_yaml
from loratory.specs.serve import ServerSpec, TaskSpec

ROLES = {"intent": "intent", "pii": "pii", "jailbreak": "security"}  # the router's folders -> its interface
SWITCH = 0.0005  # seconds: predictors in pure Python hold up the threads that read and answer requests no longer
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def server_spec(config: Path | None, paths: Sequence[str], changes: Sequence[str]) -> ServerSpec:
    """The server's YAML, with what the command line says. Raises SpecError.

    `paths` are runs and artifacts, each with NAME= before it where it should be called otherwise. Without any, and
    without a configuration that names tasks, the environment's MODEL_DIR is served.
    """
    values, lines = load_yaml(config) if config else ({}, {})
    values, changed = overridden(values, changes)
    parser = parser_of(config or Path("server"), lines, changed)
    spec: ServerSpec = parser.model(ServerSpec, values, ())
    if config:  # a path of a task starts from the file that names it
        home = config.parent
        tasks = {n: one.model_copy(update={"path": home / one.path.expanduser()}) for n, one in spec.tasks.items()}
        spec = spec.model_copy(update={"tasks": tasks})
    if not paths and not spec.tasks and not spec.discover and (folder := os.environ.get("MODEL_DIR")):
        paths = [folder]
    named = {**spec.tasks}
    for path in paths:
        name, task = _named(path)
        if name in named:
            raise SpecError(
                f"two tasks are called {name!r}", where=path, remedy=f"name one of them: loratory serve {name}-2={path}"
            )
        named[name] = task
    for name in named:
        if not NAME.fullmatch(name):
            raise SpecError(f"{name!r} is no name", where="tasks", allowed=NAMED)
    spec = spec.model_copy(update={"tasks": named})
    if not named and not spec.discover:
        raise SpecError(
            "there is nothing to serve",
            allowed="runs, artifacts, --config, --discover, or MODEL_DIR",
            remedy="loratory serve RUN",
        )
    return spec


def _named(path: str) -> tuple[str, TaskSpec]:
    before, equals, after = path.partition("=")
    if equals and NAME.fullmatch(before) and not Path(path).exists():
        return before, TaskSpec(path=Path(after).expanduser())
    folder = Path(path).expanduser()
    try:
        name = str(read_ladder(folder)["name"])
    except (LoratoryError, KeyError):
        name = folder.resolve().name
    return name, TaskSpec(path=folder)


def keys_of(spec: ServerSpec) -> Keys:
    """Raises SpecError where the server would be open to others than this machine."""
    keys = Keys.read(spec.keys) if spec.keys else Keys({})
    if spec.keys and not keys:  # whoever names a file of keys does not mean that all may ask
        raise SpecError(
            "there is no key in this file, so nobody could ask",
            where=str(spec.keys),
            remedy=f"loratory keys add NAME --file {spec.keys}; or leave --keys out, on this machine",
        )
    if not keys and spec.host not in LOOPBACK:
        raise SpecError(
            f"{spec.host} can be reached by others, and there are no keys",
            where="host",
            allowed=", ".join(LOOPBACK),
            remedy="loratory keys add NAME --file keys.json, then loratory serve --keys keys.json",
        )
    return keys


@dataclass(frozen=True)
class Loader:
    """Reads tasks into one pool of trunks while the server runs."""

    pool: Any
    spec: ServerSpec
    threads: int
    say: Callable[[str], None]

    def __call__(self, name: str, path: str) -> Service:
        """What is asked of a task by name stays when it is loaded again. Raises LoratoryError."""
        from loratory.flows.precisions import in_int8
        from loratory.serving.warm_up import warm_up

        known = self.spec.tasks.get(name)
        asked = known.model_copy(update={"path": Path(path)}) if known else TaskSpec(path=Path(path))
        service = load_service(name, asked, self.pool)
        if self.spec.precision == "int8" and (why := in_int8(service, self.threads, self.say)):
            self.say(f"{name} answers in int8: {why}")
        warm_up(service)
        return service


def load_service(name: str, asked: TaskSpec, pool: Any) -> Service:
    """A task with all its stages, verified and in memory. Raises LoratoryError."""
    ladder, own = _run(asked.path)
    told = {key: getattr(asked, key) for key in asked.model_fields_set - {"path"}}
    spec = TaskSpec.model_validate({**own, **told, "path": asked.path})
    first = spec.contender or (ladder["verdict"]["recommended"] if ladder else None)
    stages = [_stage(asked.path, contender, pool) for contender in dict.fromkeys((first, *spec.fallback))]
    for stage in stages[1:]:
        if stage.predictor.task != stages[0].predictor.task:
            raise ArtifactError(
                f"{stage.name} and {stages[0].name} have different contracts",
                where=str(asked.path),
                remedy="run it again",
            )
    deadline = None if spec.deadline_ms is None else spec.deadline_ms / 1000
    return Service(name, tuple(stages), deadline, asked.path if ladder else None, ladder, spec)


def _run(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ladder of a run and its `serve:`; both empty where the path is an artifact."""
    if "predictor.json" in (read_manifest(path) or {"files": ()})["files"] or not (path / LADDER).is_file():
        return {}, {}
    run = open_run(path)
    run.check("spec.lock.yaml")
    values, _ = load_yaml(path / "spec.lock.yaml")
    return ladder_of(run), {key: value for key, value in (values.get("serve") or {}).items() if value is not None}


def _stage(path: Path, contender: str | None, pool: Any) -> Stage:
    artifact = open_artifact(fit_folder(path, contender))
    predictor = read_predictor(artifact, pool)
    return Stage(contender or path.resolve().name, predictor, artifact.release)


def discovered(folder: Path, cache: Path) -> tuple[dict[str, TaskSpec], dict[str, str]]:
    """The router's models as tasks and roles; each is made an artifact below `cache`. Raises ArtifactError."""
    from loratory.export.discovered import discover
    from loratory.flows.importing import import_folder

    found = discover(folder)
    tasks, roles = {}, {}
    for task, model in found.chosen.items():
        role = ROLES[task]
        target = cache / f"{model.folder.name}-{_state(model.folder)}"
        with held(target.with_name(f"{target.name}-making")):  # of servers that start together, one takes it in
            if not target.is_dir():
                import_folder(model.folder, target)
        tasks[role], roles[role] = TaskSpec(path=target), role
    if not tasks:
        raise ArtifactError(found.why, where=str(folder), remedy=f"loratory discover {folder} says what is there")
    return tasks, roles


def _state(folder: Path) -> str:
    """Changes with what any file of the folder holds."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return digest_of([[str(f.relative_to(folder)), file_digest(f)] for f in files])[:12]


def build(spec: ServerSpec, keys: Keys, say: Callable[[str], None]) -> Any:
    """A server with everything loaded. Raises LoratoryError."""
    import torch

    from loratory.flows.precisions import precisions
    from loratory.models import probe
    from loratory.models.attention import adopt
    from loratory.models.trunks import Pool
    from loratory.serving.engine import Engine, Limits
    from loratory.serving.server import Server
    from loratory.serving.warm_up import warm_up

    roles: dict[str, str] = {role: name for role, name in spec.roles.items()}
    if spec.discover:
        found, playing = discovered(spec.discover, Path(".loratory") / "discovered")
        spec = spec.model_copy(update={"tasks": {**found, **spec.tasks}})
        roles = {**playing, **roles}
    if spec.threads:
        torch.set_num_threads(spec.threads)
    machine = probe.known("cpu")
    adopt(machine.short_training, machine.short_answering)
    pool = Pool(keep=False)
    services = {name: load_service(name, asked, pool) for name, asked in spec.tasks.items()}
    threads = torch.get_num_threads()
    chosen = precisions(spec, services.values(), pool, threads, say)
    for service in services.values():
        warm_up(service)
    for one in chosen:
        say(f"{one.trunk} computes in {one.precision}: {one.why}")
    limits = Limits(spec.limits.batch_tokens, spec.limits.queue_tokens)
    trunks = [{**asdict(one), "trunk": public(one.trunk)} for one in chosen]
    facts = {"version": __version__, "trunks": trunks, "threads": threads}
    board = Board(services, roles, spec.default)
    # One row has nothing to share, and a team that waits actively for its head would take the event loop's core.
    team = 1 if spec.precision == "int8" else threads
    return Server(spec, board, Engine(limits, team), Loader(pool, spec, threads, say), keys, facts=facts)


def serve(spec: ServerSpec, say: Callable[[str], None]) -> None:
    """Until SIGTERM or Ctrl-C. Raises LoratoryError before anything listens."""
    from loratory.serving.app import make_app
    from loratory.serving.hosts import hosts_of
    from loratory.serving.process import Process, bound

    keys = keys_of(spec)
    if keys and hasattr(signal, "SIGHUP"):  # it asks for another look at the keys, and that comes when all is loaded
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    socket = bound(spec.host, spec.port)  # before the models are loaded: a port that is taken is soon told
    server = apart(lambda: build(spec, keys, say))
    hosts = hosts_of(spec.host, spec.hosts)
    gate = make_app(server, hosts)
    if hosts.addresses:
        say(f"bound to all addresses, it answers for {hosts.about}; list other names under hosts")
    for service in server.board:
        where = str(service.asked.path) if service.asked else ""
        server.audit.note("load", {"task": service.name, "path": where, "release": service.release, "key": None})
        names = " -> ".join(stage.name for stage in service.stages)
        due = f", within {service.deadline * 1000:g} ms" if service.deadline else ""
        say(f"{service.name} ({service.task.kind}): {names}{due}")
    sys.setswitchinterval(SWITCH)
    Process(gate, server, say).run([socket])
    server.engine.close()
