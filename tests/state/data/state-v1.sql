-- A state file as version 1 of the schema wrote it. It is history: never edit it.
PRAGMA application_id = 1735224421;
PRAGMA user_version = 1;
CREATE TABLE transform (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    born REAL NOT NULL,
    seen REAL NOT NULL,
    floor REAL NOT NULL,
    began REAL NOT NULL,
    watermark REAL,
    bounds TEXT NOT NULL,
    foreign_cells TEXT NOT NULL,
    latest TEXT NOT NULL
);
CREATE TABLE open_run (
    transform INTEGER NOT NULL REFERENCES transform ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    run TEXT NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (transform, run_id)
) WITHOUT ROWID;
CREATE TABLE finished_run (
    transform INTEGER NOT NULL REFERENCES transform ON DELETE CASCADE,
    fingerprint BLOB NOT NULL,
    packed INTEGER NOT NULL,
    PRIMARY KEY (transform, fingerprint)
) WITHOUT ROWID;
CREATE TABLE series (
    transform INTEGER NOT NULL REFERENCES transform ON DELETE CASCADE,
    family TEXT NOT NULL,
    task_type TEXT NOT NULL,
    status TEXT NOT NULL,
    total TEXT,
    served TEXT,
    born REAL,
    PRIMARY KEY (transform, family, task_type, status)
) WITHOUT ROWID;
INSERT INTO transform VALUES (1, 'tfm-a', 'customers', 1790000000.0, 1790000060.0, 1787408000.0, 1789990050.0, 1789999000.0,
  '[60.0, 600.0]', '[["FIND_MATCHES", "PAUSED"]]',
  '{"FIND_MATCHES": {"start": 1789999000.0, "run": 5, "status": "FAILED", "success": null, "failed": 1789999100.0, "timeout": null, "finish": 1789999100.0, "execution": 42.0}}');
INSERT INTO open_run VALUES (1, 'tsk-open', '["tsk-open", "EVALUATION", "RUNNING", 1789998000.0, null, null, null, null]', 0);
INSERT INTO open_run VALUES (1, 'tsk-gone', '["tsk-gone", "EVALUATION", "RUNNING", 1789998000.0, null, null, null, null]', 1);
INSERT INTO finished_run VALUES (1, X'00000000000000000000000000000005', 117309374464000033);
INSERT INTO series VALUES (1, 'finished', 'FIND_MATCHES', 'FAILED', '["count", 7, ["tsk-5", 1.0, 1789999100.0]]', '["count", 5, null]', NULL);
INSERT INTO series VALUES (1, 'execution', 'FIND_MATCHES', 'FAILED', '["histogram", [1, 0, 0], 42.0, [["tsk-5", 42.0, 1789999100.0], null, null]]', NULL, 1789999200.0);
