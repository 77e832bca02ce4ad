"""Runs, the folder of artifacts, slow queries, replay: what is left of queries and writes."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import (
    ConfigurationError,
    CsvSource,
    EngineProfile,
    FusionDeltaEngine,
    ParquetSource,
    QueryError,
    RunManifest,
    SnapshotExpiredError,
    SourceError,
    SqlError,
    StorageProfile,
    TelemetryConfig,
)
from fusiondelta.queries._planned import Planned

pytestmark = pytest.mark.integration

SLOW = TelemetryConfig(
    enabled=True, traces=False, metrics=False, slow_query_threshold=0, slow_query_sampling=1.0
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "artifacts"


@pytest.fixture
def kept(folder):
    with FusionDeltaEngine(artifacts=folder) as engine:
        yield engine


def documents(engine, folder):
    assert engine.flush()
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


class TestRuns:
    def test_reads_and_writes_of_a_run_are_one_manifest(self, engine, uri):
        with engine.run(tags={"job": "nightly"}, tenant="north") as run:
            engine.write_delta(uri, pa.table({"id": range(5)}))
            result = engine.query("SELECT sum(id) AS s FROM t", sources={"t": uri})
            assert result.to_pylist() == [{"s": 10}]
            assert result.run_id == run.run_id
            engine.query("SELECT 1", tags={"step": "2"}).to_table()
        document = run.manifest().to_dict()
        assert (document["kind"], document["status"]) == ("run", "finished")
        assert [item["operation"] for item in document["items"]] == ["append", "SELECT", "SELECT"]
        assert {item["run_id"] for item in document["items"]} == {run.run_id}
        assert {item["tenant"] for item in document["items"]} == {"north"}
        assert document["items"][2]["tags"] == {"job": "nightly", "step": "2"}
        assert [one["version"] for one in document["snapshots"]] == [0, 0]
        commit = engine.open_delta(uri).history()[0]
        assert commit["fusiondelta.run_id"] == run.run_id

    def test_it_is_complete_at_its_end_only(self, engine):
        with engine.run() as run, pytest.raises(QueryError, match="when its `with` block"):
            run.manifest()
        assert run.manifest().to_dict()["items"] == []

    def test_what_failed_and_what_was_not_read_is_in_it(self, engine):
        with engine.run() as run:
            with pytest.raises(SqlError):
                engine.query("SELECT nothing FROM nowhere")
            open_still = engine.query("SELECT 1")
            engine.query("SELECT 2").close()
        items = run.manifest().to_dict()["items"]
        assert [item["status"] for item in items] == ["failed", "planned", "cancelled"]
        assert items[0]["error"]["kind"] == "sql"
        assert run.manifest().status == "failed"
        open_still.close()

    def test_threads_and_tasks_have_their_own(self, engine):
        seen = {}

        def work():
            seen["thread"] = engine.query("SELECT 1").run_id

        async def ask():
            with engine.run("task") as run:
                result = await engine.aquery("SELECT 1")
                async for _ in result:
                    pass
            return run

        with engine.run("main"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            seen["here"] = engine.query("SELECT 1").run_id
        assert seen["here"] == "main"
        assert seen["thread"] != "main"
        run = asyncio.run(ask())
        assert [item["run_id"] for item in run.manifest().to_dict()["items"]] == ["task"]

    def test_one_within_another_is_refused(self, engine):
        with (
            engine.run("outer"),
            pytest.raises(QueryError, match="in run outer"),
            engine.run("inner"),
        ):
            pass
        with engine.run("after"):
            pass

    @pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a" * 129])
    def test_a_name_is_a_files_name(self, engine, name):
        with pytest.raises(ConfigurationError, match="run_id"), engine.run(name):
            pass


class TestArtifacts:
    def test_each_run_leaves_a_manifest(self, kept, folder, uri):
        kept.write_delta(uri, pa.table({"id": [1]}))
        result = kept.query("SELECT * FROM t", sources={"t": uri})
        result.to_table()
        with pytest.raises(SqlError):
            kept.query("SELEC 1")
        with kept.run("together"):
            kept.query("SELECT 1").to_table()
        found = documents(kept, folder)
        assert len(found) == 4
        assert found[result.run_id]["result"]["rows"] == 1
        assert found["together"]["kind"] == "run"
        assert sorted(one["status"] for one in found.values()) == ["failed", *["finished"] * 3]
        loaded = RunManifest.from_file(folder / f"{result.run_id}.json")
        assert loaded.to_dict() == result.manifest().to_dict()

    def test_a_stream_that_others_read_leaves_one(self, kept, folder):
        result = kept.query("SELECT * FROM range(5)")
        run_id = result.run_id
        reader = pa.RecordBatchReader.from_stream(result)
        del result
        assert reader.read_all().num_rows == 5
        del reader
        kept.close()
        found = json.loads((folder / f"{run_id}.json").read_text())
        assert (found["status"], found["result"]["rows"]) == ("finished", 5)

    def test_a_stream_that_others_read_leaves_one_before_its_end_is_told(
        self, kept, folder, monkeypatch
    ):
        """Who tells of it is a thread that may wait for the interpreter yet."""
        monkeypatch.setattr(Planned, "_settle", lambda planned: None)
        result = kept.query("SELECT * FROM range(5)")
        reader = pa.RecordBatchReader.from_stream(result)
        assert reader.read_all().num_rows == 5
        kept.close()
        found = json.loads((folder / f"{result.run_id}.json").read_text())
        assert (found["status"], found["result"]["rows"]) == ("finished", 5)

    def test_a_process_that_ends_without_closing_leaves_them(self, folder):
        code = (
            "import sys, fusiondelta\n"
            "engine = fusiondelta.FusionDeltaEngine(artifacts=sys.argv[1])\n"
            "engine.query('SELECT 1').to_table()\n"
        )
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=120)
        (path,) = folder.glob("*.json")
        assert RunManifest.from_file(path).status == "finished"

    def test_one_that_is_dropped_unread_lets_go(self, kept, folder):
        kept.query("SELECT 1")
        kept.query("SELECT 2").to_table()
        assert len(documents(kept, folder)) == 1

    def test_a_folder_that_takes_nothing_fails_no_query(self, kept, folder, caplog):
        folder.write_text("a file stands here now")
        assert kept.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]
        kept.debug.slow_queries()
        assert "could not be recorded" in caplog.text

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="not a folder"):
            FusionDeltaEngine(artifacts=tmp_path / "file")

    def test_pinned_manifests_keep_their_versions(self, kept, folder, uri):
        for number in range(3):
            kept.write_delta(uri, pa.table({"id": [number]}), mode="overwrite")
        with kept.run("report", pinned=True):
            kept.query("SELECT * FROM t", sources={"t": kept.open_delta(uri, 0)}).to_table()
        assert documents(kept, folder)["report"]["pinned"] is True
        assert 0 in kept._holds.versions(str(kept.open_delta(uri).snapshot.uri))
        (folder / "report.json").unlink()
        assert kept._holds.versions(str(kept.open_delta(uri).snapshot.uri)) == set()
        (folder / "broken.json").write_text('{"pinned": true')
        with pytest.raises(ConfigurationError, match=r"broken\.json"):
            kept._holds.versions(str(uri))


class TestSlowQueries:
    def test_they_leave_manifest_metrics_and_profile(self, folder, uri):
        with FusionDeltaEngine(artifacts=folder, telemetry=SLOW) as engine:
            engine.write_delta(uri, pa.table({"id": range(5)}))
            result = engine.query("SELECT sum(id) FROM t", sources={"t": uri})
            result.to_table()
            (found,) = engine.debug.slow_queries()
            assert found.query_id == result.query_id
            assert found.manifest.to_dict()["plan"]["sql"] == "SELECT sum(id) FROM t"
            assert found.metrics().num_rows == result.metrics().num_rows
            assert found.profile.read_text("utf-8").lower().startswith("<!doctype html>")

    def test_few_a_minute_and_only_the_newest_stay(self, folder):
        config = SLOW.replace(slow_query_rate=4, slow_query_keep=2)
        with FusionDeltaEngine(artifacts=folder, telemetry=config) as engine:
            asked = []
            for number in range(6):
                result = engine.query(f"SELECT {number}")
                result.to_table()
                asked.append(result.query_id)
            found = [slow.query_id for slow in engine.debug.slow_queries()]
        assert found == asked[2:4]

    def test_the_quick_and_those_not_drawn_leave_nothing(self, folder):
        for config in (
            SLOW.replace(slow_query_threshold=3600),
            SLOW.replace(slow_query_sampling=0.0),
            SLOW.replace(enabled=False),
        ):
            with FusionDeltaEngine(artifacts=folder, telemetry=config) as engine:
                engine.query("SELECT 1").to_table()
                assert engine.debug.slow_queries() == ()


class TestReplay:
    @pytest.fixture
    def table(self, engine, uri):
        engine.write_delta(uri, pa.table({"id": range(100), "f": [0.1 * n for n in range(100)]}))
        return uri

    def ask(self, engine, table, **options):
        sql = "SELECT id % $m AS r, sum(f) AS s FROM t GROUP BY 1"
        options = {"param_values": {"m": 7}, "digest": True, **options}
        result = engine.query(sql, sources={"t": table}, **options)
        result.to_table()
        return result.manifest()

    def test_the_same_again(self, engine, table):
        manifest = self.ask(engine, table)
        engine.write_delta(table, pa.table({"id": [1], "f": [5.0]}))
        report = engine.replay(manifest)
        assert report.equal, report.to_text()
        assert report.digest["equal"] is True
        assert (list(report.plan_diff), dict(report.settings_diff)) == ([], {})

    def test_of_a_file_on_an_engine_of_other_settings(self, engine, table, tmp_path):
        manifest = self.ask(engine, table)
        path = manifest.write(tmp_path / "one.json")
        with FusionDeltaEngine(EngineProfile(target_partitions=1, batch_size=3)) as other:
            report = other.replay(path or tmp_path / "one.json")
        assert report.equal
        assert dict(report.settings_diff) == {}

    def test_another_answer_is_seen(self, engine, table):
        document = json.loads(self.ask(engine, table).to_json())
        document["result"]["digest"]["value"] = "0" * 32
        report = engine.replay(RunManifest.from_json(json.dumps(document)))
        assert not report.equal

    def test_parameters_keep_their_types(self, engine):
        values = [dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), decimal.Decimal("1.10"), None]
        result = engine.query("SELECT $1, $2, $3", param_values=values, digest=True)
        result.to_table()
        assert engine.replay(result.manifest()).equal

    def test_files_are_read_again_while_they_are_the_same(self, engine, tmp_path):
        pq.write_table(pa.table({"id": range(5)}), tmp_path / "a.parquet")
        (tmp_path / "b.csv").write_text("id;n\n1;x\n")
        with pa.ipc.new_file(tmp_path / "c.arrow", pa.schema({"id": pa.int64()})) as writer:
            writer.write_table(pa.table({"id": [1, 2]}))
        sources = {
            "a": ParquetSource(tmp_path / "a.parquet", schema=pa.schema({"id": pa.int64()})),
            "b": CsvSource(tmp_path / "b.csv", delimiter=";"),
            "c": tmp_path / "c.arrow",
        }
        sql = "SELECT n FROM a JOIN b USING (id) JOIN c USING (id)"
        result = engine.query(sql, sources=sources, digest=True)
        result.to_table()
        manifest = result.manifest()
        assert engine.replay(manifest).equal
        (tmp_path / "b.csv").write_text("id;n\n1;yy\n")
        with pytest.raises(SourceError, match=r"b\.csv.*changed"):
            engine.replay(manifest)

    def test_an_instant_that_all_were_pinned_to_is_kept(self, engine, table):
        now = dt.datetime.now(dt.timezone.utc)
        manifest = self.ask(engine, table, consistent_at=now)
        assert manifest.to_dict()["query"]["consistent_at"] == now.isoformat()
        engine.write_delta(table, pa.table({"id": [1], "f": [5.0]}))
        assert engine.replay(manifest).equal

    def test_functions_come_along(self, engine, table):
        from datafusion import udf

        def double(values):
            return pa.compute.multiply(values, 2)

        engine.register_udf(udf(double, [pa.int64()], pa.int64(), "immutable", name="double"))
        result = engine.query("SELECT double(id) FROM t", sources={"t": table}, digest=True)
        result.to_table()
        assert engine.replay(result.manifest()).equal

    def test_what_was_in_memory_is_refused(self, engine):
        result = engine.query("SELECT * FROM t", sources={"t": pa.table({"a": [1]})})
        result.to_table()
        with pytest.raises(QueryError, match="'t' cannot be read again"):
            engine.replay(result.manifest())

    def test_a_version_that_is_gone_is_refused(self, engine, table):
        manifest = self.ask(engine, table)
        engine.write_delta(table, pa.table({"id": [1], "f": [5.0]}), mode="overwrite")
        for path in engine.open_delta(table, 0).files()["path"].to_pylist():
            (Path(table) / path).unlink()
        with pytest.raises(SnapshotExpiredError):
            engine.replay(manifest)

    def test_a_write_is_refused(self, engine, uri):
        written = engine.write_delta(uri, pa.table({"id": [1]}))
        with pytest.raises(QueryError, match="it is a write"):
            engine.replay(written.manifest())


class TestDoctor:
    def test_all_is_well_here(self, engine, uri):
        engine.write_delta(uri, pa.table({"id": [1]}))
        report = engine.debug.doctor([uri])
        assert report.ok, str(report)
        assert {"versions", "memory", "spill", "query"} <= {check.name for check in report.checks}
        assert any(check.name.endswith("read_scan") for check in report.checks)

    def test_what_is_not_is_named_with_its_fix(self, tmp_path, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-shown")
        gone = tmp_path / "gone"
        profile = EngineProfile(spill_dir=tmp_path)
        with FusionDeltaEngine(profile, StorageProfile.local()) as engine:
            object.__setattr__(engine.profile, "spill_dir", str(gone))
            report = engine.debug.doctor([str(tmp_path / "nothing")])
        assert not report.ok
        assert report["spill"].status == "fail"
        assert "spill_dir" in report["spill"].fix
        assert "AWS_SECRET_ACCESS_KEY" in report["environment"].detail
        assert "never-shown" not in str(report)


def test_substrait_of_a_plan(engine, uri):
    from datafusion import SessionContext, substrait

    engine.write_delta(uri, pa.table({"id": range(5)}))
    message = engine.debug.substrait("SELECT id FROM t WHERE id > 2", sources={"t": uri})
    plan = substrait.Serde.deserialize_bytes(message)
    ctx = SessionContext()
    ctx.register_record_batches("t", [pa.table({"id": range(5)}).to_batches()])
    logical = substrait.Consumer.from_substrait_plan(ctx, plan)
    assert ctx.create_dataframe_from_logical_plan(logical).to_pydict() == {"id": [3, 4]}
