"""Studies that outlive their workers: killed at any moment, continued by anybody, the same answer."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import optuna_dashboard
import pytest

from dse import pipeline
from dse.lattice import structures
from dse.storage import open_storage

HYPER = {"s": 9, "e": 8, "p": 2, "h": 2, "f": 16}
WORDS = ["search", "--objective", "latency,memory", *(w for k, v in HYPER.items() for w in (f"--{k}", str(v)))]
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def _worker(url, *words):
    command = [sys.executable, "-c", "from dse.cli import main; main()", *WORDS, "--storage", url, *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _trials(url):
    """Structure -> its trial, of the one study in the storage; {} while there is none."""
    storage = open_storage(url)
    studies = storage.get_all_studies()
    if not studies:
        return {}
    return {t.user_attrs["structure"]: t for t in storage.get_all_trials(studies[0]._study_id)}


def _until(condition, seconds=120):
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def _kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def house():
    return pipeline.prepare(None, "stm32l476", hyper=HYPER)


@pytest.fixture(scope="module")
def answer(house):
    return pipeline.find(house, ("latency", "memory"))


def _same(found, answer):
    assert found.certificate.describe() == "optimal"
    assert found.certificate.value == answer.certificate.value
    assert [p.values(("latency", "memory")) for p in found.front] == [
        p.values(("latency", "memory")) for p in answer.front
    ]


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal:"])
def test_a_killed_search_resumes_to_the_same_answer(house, answer, tmp_path, scheme):
    url = f"{scheme}{tmp_path / 'study'}"
    process = _worker(url)
    _until(lambda: (tmp_path / "study").is_file() and _trials(url))
    _kill(process)
    before = _trials(url)
    assert before
    found = pipeline.find_shared(house, url, ("latency", "memory"), join=True)
    after = _trials(url)
    assert {key: (t.number, t.values) for key, t in before.items()} == {
        key: (after[key].number, after[key].values) for key in before
    }
    assert len(after) == len(structures(house.space)) == found.trials
    _same(found, answer)


def test_a_study_is_not_continued_by_accident(house, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    pipeline.find_shared(house, url)
    with pytest.raises(ValueError, match="--resume"):
        pipeline.find_shared(house, url)


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite:", "nothing", "sqlite:////proc/none/study.db"])
def test_a_storage_that_cannot_be_is_refused(url):
    with pytest.raises(ValueError, match="--storage"):
        open_storage(url)


def test_optuna_dashboard_opens_a_study(house, answer, tmp_path):
    """Its own pages: the list of studies, then every trial with both objectives."""
    url = f"sqlite:///{tmp_path}/study.db"
    pipeline.find_shared(house, url, ("latency", "memory"))

    def get(path):
        request = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "SERVER_NAME": "",
            "SERVER_PORT": "80",
            "QUERY_STRING": "",
        }
        request |= {"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http"}
        found = []
        body = b"".join(app(request, lambda status, *_: found.append(status)))
        assert found == ["200 OK"]
        return json.loads(body)

    app = optuna_dashboard.wsgi(url)
    (study,) = get("/api/studies")["study_summaries"]
    assert study["directions"] == ["minimize", "minimize"]
    trials = get(f"/api/studies/{study['study_id']}")["trials"]
    assert len(trials) == len(structures(house.space))
    assert min(trial["values"][0] for trial in trials if trial["values"]) == pytest.approx(
        answer.best.values(("latency",))[0], rel=1e-6
    )


def test_trials_are_ordinary_optuna_trials(house, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    found = pipeline.find_shared(house, url, ("latency", "memory"))
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    assert study.metric_names == ["latency", "memory"]
    assert all(trial.state.is_finished() and trial.params["form"] in house.models for trial in study.trials)
    assert min(trial.values[0] for trial in study.trials) == found.best.values(("latency",))[0]


@pytest.fixture
def postgres(tmp_path):
    """The address of a private PostgreSQL server that lives as long as the test."""
    if "TLF_POSTGRESQL" not in os.environ:
        pytest.importorskip("psycopg")
    if not SERVERS:
        assert "TLF_POSTGRESQL" not in os.environ, "CI must test with a real PostgreSQL server"
        pytest.skip("no PostgreSQL server installed (apt-get install postgresql)")
    home, data, sockets = SERVERS[-1].parent, tmp_path / "data", tmp_path / "run"
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    data.mkdir(mode=0o700)
    sockets.mkdir()
    if user:
        for folder in (data, sockets):
            shutil.chown(folder, "postgres", "postgres")
        for parent in [tmp_path, *tmp_path.parents][:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)
    initdb = [*user, str(home / "initdb"), "-D", str(data), "-U", "tlf", "-A", "trust", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True)
    server = [*user, str(home / "postgres"), "-D", str(data), "-k", str(sockets), "-c", "listen_addresses="]
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until(lambda: list(sockets.glob(".s.PGSQL.*[0-9]")))
    ready = [str(home / "pg_isready"), "-q", "-h", str(sockets)]
    _until(lambda: subprocess.run(ready, check=False).returncode == 0)
    yield f"postgresql://tlf@/postgres?host={sockets}"
    process.send_signal(signal.SIGINT)
    process.wait()


def test_four_workers_share_a_study_in_postgresql_and_one_is_killed(house, answer, postgres):
    workers = [_worker(postgres, "--worker", "--seed", str(seed)) for seed in range(4)]
    _until(lambda: _trials(postgres))
    _kill(workers[0])
    for worker in workers[1:]:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors
    assert len(_trials(postgres)) == len(structures(house.space))
    _same(pipeline.find_shared(house, postgres, ("latency", "memory"), join=True), answer)
