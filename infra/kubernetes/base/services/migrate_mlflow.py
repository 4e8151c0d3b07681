"""Brings MLflow's database to the schema of the MLflow in this image, before its server starts; an empty one is made.

The server makes an empty database itself but refuses an older one, and `mlflow db upgrade` refuses an empty one and
takes the URL, with its password, as an argument. The names of MLflow's that are used here are private: the lock pins
MLflow's version, and tests/infra/test_databases.py fails where they go.
"""

import os

from mlflow.store.db.utils import (
    _initialize_tables,
    _is_empty_database,
    _upgrade_db,
    create_sqlalchemy_engine_with_retry,
)

engine = create_sqlalchemy_engine_with_retry(os.environ["MLFLOW_BACKEND_STORE_URI"])
(_initialize_tables if _is_empty_database(engine) else _upgrade_db)(engine)
print("the database has the schema of this MLflow")
