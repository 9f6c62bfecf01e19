# The image of glue-ml-exporter for linux/amd64 and linux/arm64 (docs/install.md). docs/contribute/release.md explains how to renew
# the digest.
#
#   make image                           on python:slim, with a shell
#   make image VARIANT=distroless        only Python, its libraries and the exporter

ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
ARG VARIANT=slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /src

# The environment in the image has no pip. The pip of /builder installs the packages into it.
COPY locks/build.txt locks/runtime.txt locks/
RUN python -m venv /builder \
    && /builder/bin/python -m pip install --require-hashes --only-binary :all: -r locks/build.txt \
    && python -m venv --without-pip /opt/glue-ml-exporter \
    && /builder/bin/python -m pip --python /opt/glue-ml-exporter/bin/python install \
        --require-hashes --only-binary :all: -r locks/runtime.txt

COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /builder/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /builder/bin/python -m pip --python /opt/glue-ml-exporter/bin/python install --no-index --no-deps dist/*.whl

# Botocore has data for 400 services. The exporter calls only Glue and, for its credentials, STS and IAM Identity
# Center. Bytecode is compiled here, because the root is read-only at run time, and does not depend on file times.
RUN find /opt/glue-ml-exporter/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name glue ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/glue-ml-exporter/lib
COPY packaging/image/healthcheck.py /opt/glue-ml-exporter/
RUN install -d -m 0770 /state/glue-ml-exporter


FROM build AS root
COPY packaging/image/minimal_root.py /src/
RUN python minimal_root.py /root-of-image /opt/glue-ml-exporter


FROM scratch AS base-distroless
COPY --from=root /root-of-image /
ENV PATH=/usr/local/bin LANG=C.UTF-8


FROM ${PYTHON_IMAGE} AS base-slim
# An attacker cannot use pip, because it is removed.
RUN rm -rf "$(python -c 'import ensurepip; print(ensurepip.__path__[0])')" \
        "$(python -c 'import pip; print(pip.__path__[0])')"* /usr/local/bin/pip*


# This base is a stage of this file, so it needs no tag.
# hadolint ignore=DL3006
FROM base-${VARIANT}
ARG PYTHON_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="glue-ml-exporter" \
    org.opencontainers.image.description="Prometheus exporter for AWS Glue machine-learning task runs" \
    org.opencontainers.image.source="https://github.com/glue-ml-exporter/glue-ml-exporter" \
    org.opencontainers.image.documentation="https://github.com/glue-ml-exporter/glue-ml-exporter/tree/main/docs" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# The group 0 may write the state, because OpenShift runs an image as an arbitrary user of this group.
COPY --from=build --chown=10001:0 /state /var/lib
COPY --from=build /opt/glue-ml-exporter /opt/glue-ml-exporter

ENV PATH=/opt/glue-ml-exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GLUE_ML_EXPORTER_REVISION=${REVISION} \
    GLUE_ML_EXPORTER_CONFIG_FILE=/etc/glue-ml-exporter/config.yaml
USER 10001:10001
WORKDIR /
EXPOSE 10210
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/opt/glue-ml-exporter/bin/python", "-I", "/opt/glue-ml-exporter/healthcheck.py"]
ENTRYPOINT ["/opt/glue-ml-exporter/bin/glue-ml-exporter"]
