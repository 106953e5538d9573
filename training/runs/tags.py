"""The tags of runs that MLflow itself doesn't define."""

FINGERPRINT_TAG = "training.fingerprint"
HEARTBEAT_TAG = "training.heartbeat"
"""Of a parent run: the machine that trains in it, and its latest heartbeat (seconds since 1970)."""
RESUME_ID_TAG = "training.resume_id"
"""Of a parent run: the name of the first of the jobs that resume one another; empty without job."""
ATTEMPT_TAG = "training.attempt"
"""Of a parent run: a random name for the latest process that started or resumed it.

A job that is started again has the same resume id, and another attempt.
"""
HOST_STATUS_TAG = "training.host."
"""Of a parent run, followed by the name of a host: its state, attempt and heartbeat."""
HOST_TAG = "training.host"
"""Of a child run: the host that fitted and tracked it, if the job has several."""
WINNER_RUN_ID_TAG = "training.winner_run_id"
"""Of a parent run: the run of its best combination."""
WINNER_TAG = "training.winner"
"""Of the best combination's run: "true"."""
DATA_DIGEST_TAG = "data.digest"
"""Of a parent run: SHA-256 of the training table."""
TEST_DIGEST_TAG = "data.test_digest"
