# syntax=docker/dockerfile:1
# Three images: `serve` serves a release, `train` runs a training, `mlflow` is the MLflow server.
# `make build` builds them.
# Layers that change often come last: a change of code rebuilds only these, in seconds.
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

# --- The packages of each image, in a virtual environment without pip -----------------------------
FROM ${PYTHON} AS serve-packages
COPY requirements/serve.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --require-hashes \
        --requirement /requirements/serve.txt \
    # Files that the server never loads: onnxruntime's C library, conversion tools, tests.
    && cd /opt/venv/lib/python3*/site-packages \
    && rm -rf onnxruntime/capi/libonnxruntime.so* onnxruntime/transformers onnxruntime/tools \
        onnxruntime/quantization onnxruntime/datasets numpy/f2py numpy/tests numpy/*/tests

FROM ${PYTHON} AS train-packages
COPY requirements/train.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --require-hashes \
        --requirement /requirements/train.txt

FROM ${PYTHON} AS mlflow-packages
COPY requirements/mlflow-server.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --require-hashes \
        --requirement /requirements/mlflow-server.txt

# --- The MLflow server: docker run IMAGE serve ----------------------------------------------------
# It runs as a user other than root, on a read-only root file system: it writes to /tmp alone.
FROM ${PYTHON} AS mlflow
RUN useradd --system --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mlflow
COPY --from=mlflow-packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /opt/stack
COPY contract ./contract
COPY mlflow_server ./mlflow_server
RUN python -m compileall -q contract mlflow_server
USER mlflow
# Fargate gives a volume the permissions that the folder has in the image.
VOLUME /tmp
ENTRYPOINT ["python", "-m", "mlflow_server"]
CMD ["serve"]
EXPOSE 5000
LABEL org.opencontainers.image.title="sagemaker-mlflow-stack mlflow"

# --- Training: docker run IMAGE train -------------------------------------------------------------
# SageMaker's folders are below /opt/ml: settings and tables in input/data, the release in model.
FROM ${PYTHON} AS train
COPY --from=train-packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/stack
COPY contract ./contract
COPY training ./training
COPY training_job ./training_job
RUN python -m compileall -q contract training training_job
# Python is process 1, which receives SageMaker's SIGTERM.
ENTRYPOINT ["python", "-m", "training_job"]
CMD ["train"]
LABEL org.opencontainers.image.title="sagemaker-mlflow-stack train"

# --- Serving: docker run IMAGE serve --------------------------------------------------------------
# SageMaker requires that the container runs as root. The last stage is the default one.
FROM ${PYTHON} AS serve
COPY --from=serve-packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/stack
COPY contract ./contract
COPY serving ./serving
# Compiled once, not at every start: the file system is read-only at run time.
RUN python -m compileall -q contract serving
ENTRYPOINT ["python", "-m", "serving"]
CMD ["serve"]
EXPOSE 8080
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
    org.opencontainers.image.title="sagemaker-mlflow-stack serve"
